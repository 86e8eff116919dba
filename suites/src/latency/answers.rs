//! Time to first token, prefill and decode: one request after the other.

use engine::{EngineError, Model, TokenId, Transport};
use stats::median;

use super::Run;
use super::asked::Asked;
use super::extent::{Watch, relative_half_width, sorted};
use super::laps::Laps;
use super::warm_up::{self, Start};
use super::{figures, histogram, network};
use crate::{Better, Measurement, SuiteError};

/// The case of inter-token latencies.
pub(super) const DECODE: &str = "decode";

/// Requests of one kind, in order.
#[derive(Default)]
struct Requests {
    session_ns: Vec<f64>,
    ttft_ns: Vec<f64>,
    /// Time per output token of each request: the mean of its inter-token latencies.
    tpot_ns: Vec<f64>,
    /// Inter-token latencies, request after request.
    itl_ns: Vec<u64>,
    /// What the engine took of `ttft_ns` by its own clock; nothing if it has none.
    computed_ttft_ns: Vec<f64>,
    /// The same of `itl_ns`.
    computed_itl_ns: Vec<u64>,
    /// The way to an engine that is elsewhere.
    ways: Vec<Transport>,
    elapsed_ns: u64,
}

/// What the baseline leaves for the others, and what the overhead is held against.
pub(super) struct Steady {
    pub(super) ttft_ns: Vec<f64>,
    pub(super) tpot_ns: Vec<f64>,
    pub(super) itl_p50_ns: Option<f64>,
}

/// Requests with prompts of `length` tokens and no answer.
pub(super) fn prompt(
    run: &mut Run<'_, '_>,
    model: &dyn Model,
    length: usize,
) -> Result<Vec<Measurement>, SuiteError> {
    let text = run.plan.window(length);
    let requests = Requests::make(run, model, &text, &[])?;
    Ok(requests.prompt_figures(run, length))
}

/// Requests with prompts of `length` tokens and answers.
pub(super) fn answer(
    run: &mut Run<'_, '_>,
    model: &dyn Model,
    length: usize,
) -> Result<(Vec<Measurement>, Steady), SuiteError> {
    let text = run.plan.window(length + run.plan.decode_tokens);
    let (prompt, answer) = text.split_at(length);
    let requests = Requests::make(run, model, prompt, answer)?;
    let mut all = requests.prompt_figures(run, length);
    for metric in ["ttft_p50_ns", "prefill_tok_per_s"] {
        figures::headline(&mut all, metric);
    }
    let session_ns = &requests.session_ns;
    if !session_ns.is_empty() {
        run.samples(
            "session",
            "session_open_ns",
            0..,
            session_ns.iter().copied(),
        );
        all.push(figures::middle(
            "session",
            "session_open_p50_ns",
            &sorted(session_ns),
        ));
    }
    all.extend(network::measure(run, &requests.ways));
    let (decode, steady) = requests.decode_figures(run, answer.len())?;
    all.extend(decode);
    Ok((all, steady))
}

impl Requests {
    /// Asks until the figures are known: the time per output token, or to the first
    /// token where there is no answer.
    fn make(
        run: &mut Run<'_, '_>,
        model: &dyn Model,
        prompt: &[TokenId],
        answer: &[TokenId],
    ) -> Result<Self, EngineError> {
        let mut made = Self::default();
        let mut watch = Watch::new(run.clock, run.plan.extent);
        let text = run.text(prompt)?;
        let asked = Asked {
            prompt,
            text: &text,
            answer,
        };
        let mut laps = Laps::new(run.clock, 1 + answer.len());
        let per_request = answer.len().max(1);
        loop {
            let series = match answer.is_empty() {
                true => &made.ttft_ns,
                false => &made.tpot_ns,
            };
            // Of the later half, as the warm-up may take up to that much.
            let enough = series.len() / 2 * per_request >= run.plan.queries;
            if !watch.goes_on(series, enough) {
                break;
            }
            let around = asked.make(model, &mut laps)?;
            made.session_ns
                .extend(around.opening_ns.map(|ns| ns as f64));
            made.ways.extend(around.transport);
            made.push(&laps);
            run.alive();
        }
        made.elapsed_ns = watch.elapsed_ns();
        Ok(made)
    }

    fn push(&mut self, laps: &Laps<'_>) {
        let Some((&first, others)) = laps.laps_ns().split_first() else {
            return;
        };
        if let Some((&first, others)) = laps.computed_ns().split_first() {
            self.computed_ttft_ns.push(first as f64);
            self.computed_itl_ns.extend(others);
        }
        self.ttft_ns.push(first as f64);
        self.itl_ns.extend(others);
        if !others.is_empty() {
            let sum = others.iter().sum::<u64>();
            self.tpot_ns.push(sum as f64 / others.len() as f64);
        }
    }

    fn prompt_figures(&self, run: &mut Run<'_, '_>, length: usize) -> Vec<Measurement> {
        let case = format!("prompt_{length}");
        run.samples(&case, "ttft_ns", 0.., self.ttft_ns.iter().copied());
        let start = warm_up::detect(&self.ttft_ns);
        let steady = sorted(&self.ttft_ns[start.repetitions..]);
        let mut all = figures::percentiles(&case, "ttft", &steady);
        all.push(figures::undisturbed(&case, "ttft", &steady));
        all.push(figures::rate(
            &case,
            "prefill_tok_per_s",
            "tok/s",
            length as f64,
            &steady,
        ));
        if self.computed_ttft_ns.len() == self.ttft_ns.len() {
            let computed = sorted(&self.computed_ttft_ns[start.repetitions..]);
            all.push(figures::middle(&case, "engine_ttft_p50_ns", &computed));
        }
        all.push(warm_up_figure(&case, start, self.ttft_ns.len()));
        all
    }

    fn decode_figures(
        &self,
        run: &mut Run<'_, '_>,
        answer: usize,
    ) -> Result<(Vec<Measurement>, Steady), SuiteError> {
        let itl = self.itl_ns.iter().map(|&ns| ns as f64);
        run.samples(DECODE, "itl_ns", 0.., itl.clone());
        run.samples(DECODE, "tpot_ns", 0.., self.tpot_ns.iter().copied());
        let start = warm_up::detect(&self.tpot_ns);
        let tpot_ns = self.tpot_ns[start.repetitions..].to_vec();
        let skipped = start.repetitions * answer;
        let steady = sorted(&itl.skip(skipped).collect::<Vec<_>>());
        histogram::write(&run.artifact("decode.itl.hgrm"), &self.itl_ns[skipped..])?;

        let mut all = figures::percentiles(DECODE, "itl", &steady);
        all.push(figures::undisturbed(DECODE, "itl", &steady));
        all.extend(figures::outliers(DECODE, "itl", &steady));
        all.extend(self.transport_figures(run, skipped));
        let by_request = sorted(&tpot_ns);
        all.push(figures::middle(DECODE, "tpot_ns", &by_request));
        let unit = "tok/s";
        all.push(figures::rate(
            DECODE,
            "decode_tok_per_s",
            unit,
            1.0,
            &by_request,
        ));
        for metric in ["itl_p50_ns", "itl_p99_ns", "decode_tok_per_s"] {
            figures::headline(&mut all, metric);
        }
        all.push(warm_up_figure(DECODE, start, self.tpot_ns.len()));
        let shortfalls = self.shortfalls(run, start, &by_request, steady.len());
        all.push(figures::validity(DECODE, &shortfalls, steady.len()));
        let ttft = warm_up::detect(&self.ttft_ns).repetitions;
        let steady = Steady {
            ttft_ns: self.ttft_ns[ttft..].to_vec(),
            tpot_ns,
            itl_p50_ns: median(&steady).ok(),
        };
        Ok((all, steady))
    }

    /// Of an engine with a clock of its own: what it took for a token, and what of the
    /// inter-token latency was spent on the way to it and back.
    fn transport_figures(&self, run: &mut Run<'_, '_>, skipped: usize) -> Vec<Measurement> {
        if self.computed_itl_ns.is_empty() || self.computed_itl_ns.len() != self.itl_ns.len() {
            return Vec::new();
        }
        let computed = self.computed_itl_ns.iter().map(|&ns| ns as f64);
        run.samples(DECODE, "engine_itl_ns", 0.., computed.clone());
        let waited = self.itl_ns.iter().zip(&self.computed_itl_ns);
        let transport = waited.map(|(&waited, &computed)| waited.saturating_sub(computed) as f64);
        let middle = |metric: &str, values: Vec<f64>| {
            figures::middle(DECODE, metric, &sorted(&values[skipped..]))
        };
        vec![
            middle("engine_itl_p50_ns", computed.collect()),
            middle("transport_p50_ns", transport.collect()),
        ]
    }

    /// What the decoding lacks to be a valid measurement.
    fn shortfalls(
        &self,
        run: &Run<'_, '_>,
        start: Start,
        tpot_ns: &[f64],
        tokens: usize,
    ) -> Vec<String> {
        let plan = run.plan;
        let mut shortfalls = Vec::new();
        if self.elapsed_ns < plan.extent.least_ns {
            shortfalls.push(format!(
                "{:.3} s measured, less than duration_s={:.3}",
                self.elapsed_ns as f64 / 1e9,
                plan.extent.least_ns as f64 / 1e9
            ));
        }
        if tokens < plan.queries {
            shortfalls.push(format!(
                "{tokens} tokens after the warm-up, but p{} needs {} with one of them over it, \
                 at 99 % confidence",
                plan.percentile, plan.queries
            ));
        }
        match relative_half_width(tpot_ns) {
            None => shortfalls.push("too few requests for an interval".into()),
            Some(width) if width > plan.extent.target => shortfalls.push(format!(
                "tpot_ns is known to ±{:.2} %, not to target_ci_pct={}",
                100.0 * width,
                100.0 * plan.extent.target
            )),
            Some(_) => {}
        }
        if start.settled == Some(false) {
            shortfalls.push("times still changed in the second half".into());
        }
        if start.settled.is_none() {
            shortfalls.push("too few requests to tell whether the warm-up was over".into());
        }
        shortfalls
    }
}

fn warm_up_figure(case: &str, start: Start, requests: usize) -> Measurement {
    let why = match start.settled {
        Some(true) => None,
        Some(false) => Some("times still changed in the second half; the first is left out"),
        None => Some("too few requests to test for a warm-up; the first is left out"),
    };
    Measurement {
        why: why.map(String::from),
        ..Measurement::new(
            case.to_owned(),
            "warm_up_requests",
            "requests",
            Better::Lower,
            start.repetitions as f64,
            requests as u64,
        )
        .aside()
    }
}
