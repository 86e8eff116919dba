//! The cases with traffic: closed loop, open loop, and several sessions at once.

use engine::Model;

use super::Run;
use super::arrivals::schedule;
use super::asked::{Asked, streams};
use super::extent::sorted;
use super::traffic::{Arrivals, Log, Served, Traffic};
use super::{figures, histogram};
use crate::{Better, Measurement, SuiteError};

const CLOSED: &str = "closed_loop";
const OPEN: &str = "open_loop";
const CONCURRENT: &str = "concurrent";

/// Load on an engine whose rate of requests nobody set, as a share of what it can
/// serve: enough for queues to form, far from a queue that only grows.
const UTILISATION: f64 = 0.5;

/// A duration of a request, and what it is called.
type Duration = (&'static str, fn(&Served) -> u64);

/// All three.
pub(super) fn measure(
    run: &mut Run<'_, '_>,
    model: &dyn Model,
    length: usize,
) -> Result<Vec<Measurement>, SuiteError> {
    let text = run.plan.window(length + run.plan.decode_tokens);
    let (prompt, answer) = text.split_at(length);
    let request = Asked {
        prompt,
        text: &run.text(prompt)?,
        answer,
    };
    let closed = serve(
        run,
        model,
        request,
        Arrivals::Closed(run.plan.extent.most_ns),
    )?;
    let mut all = durations(run, CLOSED, &closed, &[("response", Served::response_ns)])?;
    all.push(throughput(CLOSED, &closed));
    run.step();

    let (open, offered_per_s) = open_loop(run, model, request, &closed)?;
    let parts: [Duration; 4] = [
        ("response", Served::response_ns),
        ("service", Served::service_ns),
        ("queue", Served::queue_ns),
        ("ttft", Served::ttft_ns),
    ];
    all.extend(durations(run, OPEN, &open, &parts)?);
    let n = open.served.len() as u64;
    let offered = ("offered_per_s", "1/s", Better::Equal);
    let (metric, unit, better) = offered;
    all.push(Measurement::new(
        OPEN,
        metric,
        unit,
        better,
        offered_per_s,
        n,
    ));
    all.push(throughput(OPEN, &open));
    let late_ns: Vec<f64> = open.late_ns.iter().map(|&ns| ns as f64).collect();
    all.push(figures::middle(OPEN, "wake_up_p50_ns", &sorted(&late_ns)));
    run.step();

    all.extend(concurrent(run, model, request)?);
    run.step();
    Ok(all)
}

fn serve(
    run: &mut Run<'_, '_>,
    model: &dyn Model,
    asked: Asked<'_>,
    arrivals: Arrivals,
) -> Result<Log, SuiteError> {
    let traffic = Traffic {
        clock: run.clock,
        arrivals,
        asked,
    };
    // A server has room for several at once; its users do not wait for each other.
    let together = streams(model) && matches!(traffic.arrivals, Arrivals::Open(_));
    match model.shared().filter(|_| together) {
        None => Ok(traffic.serve(model, &mut || run.alive())?),
        Some(shared) => {
            let clients = run.plan.concurrency;
            Ok(traffic.serve_on_threads(shared, clients, &mut || run.alive())?)
        }
    }
}

fn open_loop(
    run: &mut Run<'_, '_>,
    model: &dyn Model,
    request: Asked<'_>,
    closed: &Log,
) -> Result<(Log, f64), SuiteError> {
    let plan = run.plan;
    let rate_per_s = match plan.rate_per_s {
        Some(rate) => rate,
        None => UTILISATION * closed.served.len() as f64 / closed.span_s(),
    };
    let schedule = schedule(plan.process, rate_per_s, plan.extent.most_ns, plan.seed);
    let log = serve(run, model, request, Arrivals::Open(schedule))?;
    Ok((log, rate_per_s))
}

fn concurrent(
    run: &mut Run<'_, '_>,
    model: &dyn Model,
    asked: Asked<'_>,
) -> Result<Vec<Measurement>, SuiteError> {
    let sessions = run.plan.concurrency;
    let Some(shared) = model.shared() else {
        let why = "the engine's sessions have to take turns on one thread";
        let (unit, better) = ("tok/s", Better::Higher);
        let metric = "tok_per_s";
        return Ok(vec![Measurement::withheld(
            CONCURRENT, metric, unit, better, 0, why,
        )]);
    };
    let traffic = Traffic {
        clock: run.clock,
        arrivals: Arrivals::Closed(run.plan.extent.most_ns),
        asked,
    };
    let log = traffic.serve_on_threads(shared, sessions, &mut || run.alive())?;
    let parts: [Duration; 2] = [("response", Served::response_ns), ("ttft", Served::ttft_ns)];
    let mut all = durations(run, CONCURRENT, &log, &parts)?;
    let itl = log.itl_ns.iter().map(|&ns| ns as f64);
    run.samples(CONCURRENT, "itl_ns", 0.., itl.clone());
    all.extend(figures::percentiles(
        CONCURRENT,
        "itl",
        &sorted(&itl.collect::<Vec<_>>()),
    ));
    all.push(throughput(CONCURRENT, &log));
    let tokens = (log.served.len() * (1 + asked.answer.len())) as f64;
    let (unit, n) = ("tok/s", log.served.len() as u64);
    let per_s = tokens / log.span_s();
    all.push(Measurement::new(
        CONCURRENT,
        "tok_per_s",
        unit,
        Better::Higher,
        per_s,
        n,
    ));
    let (unit, value) = ("sessions", sessions as f64);
    all.push(Measurement::new(
        CONCURRENT,
        "sessions",
        unit,
        Better::Equal,
        value,
        1,
    ));
    Ok(all)
}

/// Samples, percentiles and (of the responses) a histogram.
fn durations(
    run: &mut Run<'_, '_>,
    case: &'static str,
    log: &Log,
    parts: &[Duration],
) -> Result<Vec<Measurement>, SuiteError> {
    let mut all = Vec::new();
    for (what, duration) in parts {
        let ns: Vec<u64> = log.served.iter().map(duration).collect();
        let values: Vec<f64> = ns.iter().map(|&ns| ns as f64).collect();
        run.samples(case, &format!("{what}_ns"), 0.., values.iter().copied());
        all.extend(figures::percentiles(case, what, &sorted(&values)));
        if *what == "response" {
            histogram::write(&run.artifact(&format!("{case}.response.hgrm")), &ns)?;
        }
    }
    Ok(all)
}

fn throughput(case: &'static str, log: &Log) -> Measurement {
    let n = log.served.len();
    let per_s = n as f64 / log.span_s();
    Measurement::new(
        case,
        "requests_per_s",
        "1/s",
        Better::Higher,
        per_s,
        n as u64,
    )
}
