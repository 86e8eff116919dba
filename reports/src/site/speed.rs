//! Speed against the bytes that a token takes: a roofline for memory.

use serde::Serialize;

use super::RunHead;
use super::format::{Figure, Value};
use super::side_by_side::heading;
use crate::plot::{Axis, Plot, Point, Scale, Series, Style, quantity};
use crate::{CellRecord, Metric, RunRecord};

#[derive(Serialize)]
struct View {
    title: &'static str,
    tables: Vec<Table>,
    kernels: Vec<Kernels>,
}

/// The kernels of a run's engines.
#[derive(Serialize)]
struct Kernels {
    title: String,
    run: String,
    link: Option<String>,
    plots: Vec<Figure>,
}

#[derive(Serialize)]
struct Table {
    title: String,
    run: String,
    link: Option<String>,
    plots: Vec<Figure>,
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    engine: String,
    values: Vec<Value>,
}

/// What is known of an engine's speed.
struct Speed {
    engine: String,
    weight_bytes: f64,
    decode: Figures,
    prefill: Figures,
}

/// A figure and its interval.
type Figures = Option<(f64, Option<(f64, f64)>)>;

pub(super) fn view(runs: &[RunHead], present: &[(usize, RunRecord)]) -> impl Serialize + use<> {
    let tables = present
        .iter()
        .filter_map(|(run, record)| table(&runs[*run], record));
    View {
        title: "Speed",
        tables: tables.collect(),
        kernels: present
            .iter()
            .filter_map(|(run, record)| of_kernels(&runs[*run], record))
            .collect(),
    }
}

fn of_kernels(run: &RunHead, record: &RunRecord) -> Option<Kernels> {
    let cells = record.cells.iter().filter(|cell| cell.suite == "kernels");
    let plots: Vec<Figure> = cells
        .filter_map(super::kernels::roofline)
        .map(|plot| {
            Figure::of(
                &plot,
                "lines: what this device was seen to do at most".into(),
            )
        })
        .collect();
    (!plots.is_empty()).then(|| Kernels {
        title: heading(run),
        run: run.when(),
        link: run.link.clone(),
        plots,
    })
}

fn table(run: &RunHead, record: &RunRecord) -> Option<Table> {
    let speeds: Vec<Speed> = (record.cells.iter())
        .filter(|cell| cell.suite == "latency")
        .filter_map(|cell| speed(record, cell))
        .collect();
    if speeds.is_empty() {
        return None;
    }
    let decode = roofline("Decoding", "tokens decoded a second", &speeds, |speed| {
        speed.decode
    });
    let prefill = roofline("Prefill", "tokens of a prompt a second", &speeds, |speed| {
        speed.prefill
    });
    let rows = speeds.iter().map(|speed| {
        let decode = speed.decode.map(|figure| figure.0);
        let read = decode.map(|rate| rate * speed.weight_bytes / 1e9);
        let size = Value {
            text: quantity(speed.weight_bytes, "B"),
            sort: Some(speed.weight_bytes),
            class: "",
        };
        let prefill = speed.prefill.map(|figure| figure.0);
        Row {
            engine: speed.engine.clone(),
            values: vec![
                size,
                Value::number(decode),
                Value::number(read),
                Value::number(prefill),
            ],
        }
    });
    let plots = [
        (
            decode,
            "lines: memory bandwidth; a token cannot be above the machine's",
        ),
        (prefill, "many tokens share one reading of the weights"),
    ];
    let plots = plots.iter().filter(|(plot, _)| !plot.series.is_empty());
    Some(Table {
        title: heading(run),
        run: run.when(),
        link: run.link.clone(),
        plots: plots
            .map(|(plot, note)| Figure::of(plot, (*note).into()))
            .collect(),
        rows: rows.collect(),
    })
}

fn speed(record: &RunRecord, cell: &CellRecord) -> Option<Speed> {
    let model =
        (record.provenance.models.iter()).find(|model| model.sha256 == cell.model_sha256)?;
    let bits = |spec: &str| {
        let cells = record
            .cells
            .iter()
            .filter(|cell| cell.suite == "perplexity");
        let mut metrics = cells
            .filter(|cell| cell.engine.spec == spec)
            .flat_map(|cell| &cell.metrics);
        metrics
            .find(|metric| metric.name.ends_with(".bits_per_weight"))?
            .value
    };
    // The baseline runs the file's own weights unless it is told otherwise.
    let ratio = bits(&cell.engine.spec)
        .zip(bits(&record.provenance.baseline))
        .map_or(1.0, |(own, stored)| own / stored);
    let figure = |metric: &Metric| Some((metric.value?, metric.ci_low.zip(metric.ci_high)));
    let decode = cell
        .metrics
        .iter()
        .find(|metric| metric.name == "latency.decode.decode_tok_per_s");
    let prefills = cell
        .metrics
        .iter()
        .filter(|metric| metric.name.ends_with(".prefill_tok_per_s"));
    let prefill = prefills
        .filter_map(figure)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    Some(Speed {
        engine: cell.title(),
        weight_bytes: model.size_bytes as f64 * ratio,
        decode: decode.and_then(figure),
        prefill,
    })
}

/// Speed against size, both logarithmic, so that a bandwidth is a falling line.
fn roofline(title: &str, label: &str, speeds: &[Speed], of: fn(&Speed) -> Figures) -> Plot {
    let mut series: Vec<Series> = (speeds.iter())
        .filter_map(|speed| {
            let (value, interval) = of(speed)?;
            Some(Series {
                name: speed.engine.clone(),
                style: Style::Dots,
                points: vec![Point {
                    interval,
                    note: quantity(speed.weight_bytes, "B"),
                    ..Point::new(speed.weight_bytes, value)
                }],
            })
        })
        .collect();
    let points = || series.iter().flat_map(|series| &series.points);
    let ends = |get: fn(&Point) -> f64| {
        points()
            .map(get)
            .fold((f64::INFINITY, 0.0_f64), |a, b| (a.0.min(b), a.1.max(b)))
    };
    let ((left, right), (_, highest)) = (ends(|p| p.x), ends(|p| p.y));
    // The decade of bandwidth that the fastest engine is in, and its ends.
    let most = points().map(|p| p.x * p.y).fold(0.0_f64, f64::max);
    if most > 0.0 && highest > 0.0 {
        let (left, right) = (left / 1.3, right * 1.3);
        let power = most.log10().floor();
        for bytes_per_s in [power, power + 1.0].map(|power| 10f64.powf(power)) {
            series.push(Series {
                name: format!("{} GB/s", bytes_per_s / 1e9),
                style: Style::Dashes,
                points: [left, right].map(|x| Point::new(x, bytes_per_s / x)).into(),
            });
        }
    }
    Plot {
        title: title.into(),
        x: Axis::new("weights", "B").scaled(Scale::Log),
        y: Axis::new(label, "tok/s").scaled(Scale::Log),
        series,
        marks: Vec::new(),
        levels: Vec::new(),
    }
}
