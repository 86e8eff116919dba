//! Which plots a suite has.

use super::curves::Curves;
use super::input::Samples;
use crate::RunRecord;
use crate::plot::{Axis, Plot, Point, Scale, Series, Style};

/// Fewest samples that make a distribution worth a look.
const FEWEST: usize = 6;

/// The plots of a suite, each with a remark; none for what was not sampled.
pub(super) fn plots(
    record: &RunRecord,
    samples: &Samples,
    suite: &str,
) -> Vec<(Plot, &'static str)> {
    let run = Run {
        record,
        samples,
        suite,
    };
    let mut plots = match suite {
        "latency" => run.latency(),
        "kv" => run.kv(),
        "memory" => run.memory(),
        "soak" => run.soak(),
        "perplexity" => run.perplexity(),
        "parity" => run.parity(),
        "embedding" => run.embedding(),
        _ => Vec::new(),
    };
    plots.retain(|(plot, _)| plot.series.iter().any(|series| !series.points.is_empty()));
    plots
}

struct Run<'a> {
    record: &'a RunRecord,
    samples: &'a Samples,
    suite: &'a str,
}

fn plot(title: &str, x: Axis, y: Axis, series: Vec<Series>) -> Plot {
    Plot {
        title: title.into(),
        x,
        y,
        series,
        marks: Vec::new(),
        levels: Vec::new(),
    }
}

fn share() -> Axis {
    Axis::new("share of samples", "").scaled(Scale::FromZero)
}

impl Run<'_> {
    fn curves(&self, case: &str, metric: &str) -> Curves<'_> {
        Curves::new(self.record, self.samples, self.suite, case, metric)
    }

    /// A whole number among the settings of the suite.
    fn setting(&self, key: &str) -> Option<u64> {
        let settings = self.record.provenance.settings.get(self.suite)?;
        settings.get(key)?.parse().ok().filter(|number| *number > 0)
    }

    fn latency(&self) -> Vec<(Plot, &'static str)> {
        let time = |label: &str| Axis::new(label, "ns").scaled(Scale::Log);
        let mut plots = Vec::new();
        let tokens = self.curves("decode", "itl_ns");
        if tokens.most() >= FEWEST {
            let x = time("time between tokens");
            let series = tokens.distribution();
            let remark = "all samples, warm-up included";
            plots.push((
                plot(
                    "Time between tokens, distribution",
                    x.clone(),
                    share(),
                    series,
                ),
                remark,
            ));
            let series = tokens.histogram();
            plots.push((
                plot("Time between tokens, histogram", x, share(), series),
                remark,
            ));
        }
        let named = [
            ("Time to first token", "ttft_ns", "time to first token"),
            (
                "Response in the open loop",
                "response_ns",
                "from the intended start",
            ),
        ];
        let mut prompts: Vec<&str> = (self.samples.values().flatten())
            .filter_map(|sample| {
                sample
                    .case
                    .starts_with("prompt_")
                    .then_some(sample.case.as_str())
            })
            .collect();
        prompts.sort_by_key(|case| (case.len(), *case));
        prompts.dedup();
        let cases = prompts.into_iter().map(|case| (case, named[0]));
        for (case, (title, metric, label)) in cases.chain([("open_loop", named[1])]) {
            let curves = self.curves(case, metric);
            if curves.most() >= FEWEST {
                let title = match case.strip_prefix("prompt_") {
                    Some(tokens) => format!("{title}, {tokens} tokens"),
                    None => title.into(),
                };
                plots.push((
                    plot(&title, time(label), share(), curves.distribution()),
                    "share of requests up to a time",
                ));
            }
        }
        let series = self.curves("context", "itl_ns").medians(16);
        let y = Axis::new("time between tokens", "ns").scaled(Scale::FromZero);
        let x = Axis::new("context", "tokens");
        plots.push((
            plot("Time between tokens against context", x, y, series),
            "medians of 16 neighbouring positions",
        ));
        plots
    }

    fn kv(&self) -> Vec<(Plot, &'static str)> {
        let plot = |title, metric| {
            let bytes = Axis::new("KV cache", "B").scaled(Scale::FromZero);
            let series = self.curves("growth", metric).by_index(Style::Line);
            plot(title, Axis::new("context", "tokens"), bytes, series)
        };
        vec![
            (
                plot("KV cache resident against context", "resident_bytes"),
                "pages found in physical memory",
            ),
            (
                plot("KV cache in use against context", "used_bytes"),
                "by the engine's word",
            ),
        ]
    }

    fn memory(&self) -> Vec<(Plot, &'static str)> {
        let bytes = |label| Axis::new(label, "B").scaled(Scale::FromZero);
        let microseconds = |mut series: Vec<Series>| {
            for point in series.iter_mut().flat_map(|series| &mut series.points) {
                point.x *= 1e3;
            }
            series
        };
        let time = || Axis::new("time", "ns");
        let rss = |case| microseconds(self.curves(case, "rss_bytes").by_index(Style::Line));
        let committed = |case| self.curves(case, "committed_bytes").by_index(Style::Line);
        vec![
            (
                plot(
                    "Memory while the model opens",
                    time(),
                    bytes("resident set"),
                    rss("load"),
                ),
                "sampled every millisecond",
            ),
            (
                plot(
                    "Memory against tokens decoded",
                    Axis::new("tokens", ""),
                    bytes("committed"),
                    committed("decode"),
                ),
                "",
            ),
            (
                plot(
                    "Memory against open sessions",
                    Axis::new("sessions", ""),
                    bytes("committed"),
                    committed("sessions"),
                ),
                "",
            ),
        ]
    }

    fn soak(&self) -> Vec<(Plot, &'static str)> {
        let cycle = || Axis::new("cycle", "");
        let series = |metric| self.curves("cycles", metric).by_index(Style::Line);
        let bytes = Axis::new("committed", "B");
        let time = Axis::new("time a token", "ns").scaled(Scale::FromZero);
        vec![
            (
                plot(
                    "Memory over cycles",
                    cycle(),
                    bytes,
                    series("committed_bytes"),
                ),
                "a leak rises without end",
            ),
            (
                plot(
                    "Decode time over cycles",
                    cycle(),
                    time,
                    series("decode_ns"),
                ),
                "mean of a cycle",
            ),
        ]
    }

    fn perplexity(&self) -> Vec<(Plot, &'static str)> {
        let window = self.setting("ctx").unwrap_or(u64::MAX);
        let case = self.case().unwrap_or_default();
        let position = || Axis::new("position in the window", "tokens");
        let cost = self.cost(&case);
        let kld = self.curves(&case, "kld").by_position(window);
        let nll = self.curves(&case, "nll").by_position(window);
        let remark = "mean over windows, with its interval of 95 %";
        vec![
            (cost, "against the baseline, with its interval of 95 %"),
            (
                plot(
                    "KL divergence by position",
                    position(),
                    Axis::new("KL divergence", "nat").scaled(Scale::Log),
                    kld,
                ),
                remark,
            ),
            (
                plot(
                    "Negative log-likelihood by position",
                    position(),
                    Axis::new("NLL", "nat"),
                    nll,
                ),
                remark,
            ),
        ]
    }

    fn parity(&self) -> Vec<(Plot, &'static str)> {
        let window = self.setting("ctx").unwrap_or(u64::MAX);
        let series = self.curves("teacher_forced", "kl").by_position(window);
        let x = Axis::new("position in the window", "tokens");
        let y = Axis::new("KL divergence", "nat").scaled(Scale::Log);
        vec![(
            plot("KL divergence by position", x, y, series),
            "mean over windows, with its interval of 95 %",
        )]
    }

    fn embedding(&self) -> Vec<(Plot, &'static str)> {
        let series = self.curves("mean", "cosine").distribution();
        let x = Axis::new("cosine to the baseline's vector", "");
        vec![(
            plot("Cosines, distribution", x, share(), series),
            "share of texts up to a cosine",
        )]
    }

    /// The case that the suite's first metric belongs to, e.g. `llama_cpp`.
    fn case(&self) -> Option<String> {
        let mut cells = self
            .record
            .cells
            .iter()
            .filter(|cell| cell.suite == self.suite);
        let name = cells.find_map(|cell| Some(&cell.metrics.first()?.name))?;
        name.split('.').nth(1).map(String::from)
    }

    /// Perplexity's increase against the size of weights: what a compression costs and saves.
    fn cost(&self, case: &str) -> Plot {
        let cells = self
            .record
            .cells
            .iter()
            .filter(|cell| cell.suite == self.suite);
        let series = cells.filter_map(|cell| {
            let metric = |name: &str| {
                let name = format!("{}.{case}.{name}", self.suite);
                cell.metrics.iter().find(|metric| metric.name == name)
            };
            let delta = metric("delta_pct")?;
            Some(Series {
                name: cell.title(),
                style: Style::Dots,
                points: vec![Point {
                    interval: delta.ci_low.zip(delta.ci_high),
                    ..Point::new(metric("bits_per_weight")?.value?, delta.value?)
                }],
            })
        });
        let x = Axis::new("bits a weight", "").scaled(Scale::FromZero);
        let y = Axis::new("perplexity above the baseline's", "%");
        plot(
            "Cost in perplexity against bits a weight",
            x,
            y,
            series.collect(),
        )
    }
}
