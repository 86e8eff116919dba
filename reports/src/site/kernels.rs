//! Kernels under the roofs of their device (Williams, Waterman and Patterson, *Roofline*, 2009).

use std::collections::BTreeMap;

use crate::plot::{Axis, Plot, Point, Scale, Series, Style};
use crate::{CellRecord, Metric};

/// How far a kernel gets.
#[derive(Clone, Copy, Debug, Default)]
struct Rates<'a> {
    gflop_per_s: Option<&'a Metric>,
    gb_per_s: Option<&'a Metric>,
}

/// The kernels that `cell` has timed: operations a second over operations a byte, both
/// logarithmic.
pub(super) fn roofline(cell: &CellRecord) -> Option<Plot> {
    let mut rates: BTreeMap<&str, Rates<'_>> = BTreeMap::new();
    for metric in &cell.metrics {
        let Some((case, kind)) = metric
            .name
            .strip_prefix("kernels.")
            .and_then(|name| name.rsplit_once('.'))
        else {
            continue;
        };
        match kind {
            "gflop_per_s" => rates.entry(case).or_default().gflop_per_s = Some(metric),
            "gb_per_s" => rates.entry(case).or_default().gb_per_s = Some(metric),
            _ => {}
        }
    }
    let value = |metric: Option<&Metric>| metric?.value.filter(|value| *value > 0.0);
    let (roofs, kernels): (Vec<_>, Vec<_>) =
        (rates.iter()).partition(|(case, _)| case.starts_with("roof."));
    let points = kernels.iter().filter_map(|(case, rates)| {
        let (flop, bytes) = (value(rates.gflop_per_s)?, value(rates.gb_per_s)?);
        let interval = rates.gflop_per_s.and_then(|m| m.ci_low.zip(m.ci_high));
        let point = Point {
            interval,
            note: (**case).into(),
            ..Point::new(flop / bytes, flop)
        };
        Some((case.split('.').next().unwrap_or(case), point))
    });
    // A series a kind of kernel, its formats on it.
    let mut kinds: BTreeMap<&str, Vec<Point>> = BTreeMap::new();
    for (kind, point) in points {
        kinds.entry(kind).or_default().push(point);
    }
    let intensities = kinds.values().flatten().map(|point| point.x);
    let (left, right) = intensities.fold((f64::INFINITY, 0.0_f64), |(left, right), x| {
        (left.min(x), right.max(x))
    });
    if kinds.is_empty() {
        return None;
    }
    let mut series: Vec<Series> = kinds
        .into_iter()
        .map(|(kind, points)| Series {
            name: kind.into(),
            style: Style::Dots,
            points,
        })
        .collect();
    let bandwidth = roofs.iter().filter_map(|(_, rates)| value(rates.gb_per_s));
    let bandwidth = bandwidth.fold(0.0, f64::max);
    if bandwidth > 0.0 {
        let (left, right) = (left / 1.5, right * 1.5);
        for (case, rates) in &roofs {
            let Some(flop) = value(rates.gflop_per_s) else {
                continue;
            };
            let ridge = flop / bandwidth;
            let corners = [left, ridge.clamp(left, right), right];
            series.push(Series {
                name: case.trim_start_matches("roof.").into(),
                style: Style::Dashes,
                points: corners
                    .map(|x| Point::new(x, flop.min(bandwidth * x)))
                    .into(),
            });
        }
    }
    Some(Plot {
        title: format!("Kernels of {}", cell.title()),
        x: Axis::new("operations a byte", "FLOP/B").scaled(Scale::Log),
        y: Axis::new("operations a second", "GFLOP/s").scaled(Scale::Log),
        series,
        marks: Vec::new(),
        levels: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::fixtures;

    #[test]
    fn kernels_stand_under_bent_roofs() {
        let mut cell = fixtures::record().cells[0].clone();
        let metric = |name: &str, value| Metric {
            name: format!("kernels.{name}"),
            value: Some(value),
            ..cell.metrics[0].clone()
        };
        let metrics = [
            metric("matvec.q4_0.gflop_per_s", 20.0),
            metric("matvec.q4_0.gb_per_s", 10.0),
            metric("gemm.f16.gflop_per_s", 300.0),
            metric("gemm.f16.gb_per_s", 3.0),
            metric("stream.gb_per_s", 15.0),
            metric("roof.copy.gb_per_s", 20.0),
            metric("roof.multiply_add.f32.gflop_per_s", 400.0),
        ];
        cell.metrics = metrics.into();
        let plot = roofline(&cell).unwrap();
        let names: Vec<&str> = plot.series.iter().map(|series| &*series.name).collect();
        assert_eq!(names, ["gemm", "matvec", "multiply_add.f32"]);
        let at = |series: usize| -> Vec<(f64, f64)> {
            let points = plot.series[series].points.iter();
            points.map(|point| (point.x, point.y)).collect()
        };
        assert_eq!(at(0), [(100.0, 300.0)]);
        assert_eq!(at(1), [(2.0, 20.0)]);
        // From the bandwidth's slope to the processors' height, at 20 operations a byte.
        let roof = at(2);
        assert!((roof[0].1 - 20.0 * 2.0 / 1.5).abs() < 1e-9);
        assert_eq!(roof[1], (20.0, 400.0));
        assert_eq!(roof[2].1, 400.0);
        assert!(roofline(&fixtures::record().cells[0]).is_none());
    }
}
