//! Axes: their range, their ticks, their units.

use jiff::Timestamp;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

use crate::render::number;

/// What an axis measures.
///
/// ```
/// use harness_reports::plot::{Axis, Scale};
///
/// let memory = Axis::new("peak_rss_bytes", "B").scaled(Scale::FromZero);
/// assert_eq!((memory.label.as_str(), memory.unit.as_str()), ("peak_rss_bytes", "B"));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// The quantity.
    pub label: String,
    /// Its unit as records have it. Nanoseconds and bytes are shown in the multiple that
    /// suits their size.
    pub unit: String,
    /// How values map to places.
    pub scale: Scale,
}

/// How values map to places.
///
/// ```
/// use harness_reports::plot::{Axis, Plot, Point, Scale, Series, Style};
///
/// let shows_zero = |scale| {
///     let points = vec![Point::new(0.0, 20.0), Point::new(1.0, 97.0)];
///     let plot = Plot {
///         title: "Decoding".into(),
///         x: Axis::new("engine", ""),
///         y: Axis::new("decode", "tok/s").scaled(scale),
///         series: vec![Series { name: "tg128".into(), style: Style::Dots, points }],
///         marks: Vec::new(),
///         levels: Vec::new(),
///     };
///     plot.draw().svg.contains("\n0\n</text>")
/// };
/// let scales = [Scale::FromZero, Scale::Linear, Scale::Log];
/// assert_eq!(scales.map(shows_zero), [true, false, false]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Evenly.
    Linear,
    /// Evenly, from zero.
    FromZero,
    /// By logarithm; values that are not positive cannot be shown.
    Log,
    /// Seconds since 1970, UTC.
    Time,
}

impl Axis {
    /// An axis that maps evenly.
    ///
    /// ```
    /// use harness_reports::plot::{Axis, Scale};
    ///
    /// assert_eq!(Axis::new("layer", "").scale, Scale::Linear);
    /// ```
    #[must_use]
    pub fn new(label: &str, unit: &str) -> Self {
        Self {
            label: label.into(),
            unit: unit.into(),
            scale: Scale::Linear,
        }
    }

    /// The same with another scale.
    ///
    /// ```
    /// use harness_reports::plot::{Axis, Scale};
    ///
    /// let when = Axis::new("started", "").scaled(Scale::Time);
    /// assert_eq!((when.label.as_str(), when.scale), ("started", Scale::Time));
    /// ```
    #[must_use]
    pub fn scaled(self, scale: Scale) -> Self {
        Self { scale, ..self }
    }

    /// Whether the axis has a place for `value`.
    pub(super) fn admits(&self, value: f64) -> bool {
        value.is_finite() && (self.scale != Scale::Log || value > 0.0)
    }
}

/// `(factor, unit)`: how many of the record's unit make one of the unit to show.
pub(crate) fn display_unit(unit: &str, largest: f64) -> (f64, &str) {
    let steps: &[(f64, &str)] = match unit {
        "ns" => &[(1e9, "s"), (1e6, "ms"), (1e3, "µs")],
        "B" => &[
            (1_073_741_824.0, "GiB"),
            (1_048_576.0, "MiB"),
            (1024.0, "KiB"),
        ],
        _ => &[],
    };
    let step = steps.iter().find(|(size, _)| largest >= *size);
    let unit = if unit == "1" { "" } else { unit };
    step.copied().unwrap_or((1.0, unit))
}

/// `value` in the unit that suits its size.
pub(crate) fn quantity(value: f64, unit: &str) -> String {
    let (factor, unit) = display_unit(unit, value.abs());
    let value = number(value / factor);
    match unit {
        "" | "bool" => value,
        unit => format!("{value} {unit}"),
    }
}

/// An axis that knows its range.
#[derive(Clone, Debug)]
pub(super) struct Range {
    low: f64,
    high: f64,
    scale: Scale,
    ticks: Vec<f64>,
    step: f64,
}

impl Range {
    /// A range around `values`, which are in display units.
    pub(super) fn around(scale: Scale, values: impl Iterator<Item = f64>) -> Self {
        let (mut low, mut high) = values
            .fold((f64::INFINITY, f64::NEG_INFINITY), |range, value| {
                (range.0.min(value), range.1.max(value))
            });
        if low > high {
            // Nothing to show; a logarithm has no place for zero.
            (low, high) = (if scale == Scale::Log { 0.1 } else { 0.0 }, 1.0);
        }
        match scale {
            Scale::Log => {
                let room = (high / low).powf(0.05).max(1.1);
                (low, high) = (low / room, high * room);
            }
            Scale::FromZero if low >= 0.0 && high > 0.0 => (low, high) = (0.0, high * 1.06),
            Scale::Linear | Scale::FromZero | Scale::Time => {
                let least = match scale {
                    Scale::Time => 60.0,
                    _ if high == 0.0 && low == 0.0 => 1.0,
                    _ => high.abs().max(low.abs()) * 1e-3,
                };
                let room = ((high - low) * 0.05).max(least / 2.0);
                (low, high) = (low - room, high + room);
            }
        }
        let (ticks, step) = match scale {
            Scale::Log => (decades(low, high), 0.0),
            Scale::Time => every(low, high, time_step(high - low)),
            Scale::Linear | Scale::FromZero => every(low, high, step(high - low)),
        };
        Self {
            low,
            high,
            scale,
            ticks,
            step,
        }
    }

    fn text(&self, value: f64) -> String {
        match self.scale {
            Scale::Log if !(1e-3..1e5).contains(&value) => format!("{value:.0e}"),
            Scale::Log => format!("{value}"),
            Scale::Time => {
                let format = if self.step < 86400.0 {
                    "%d %b %H:%M"
                } else if self.step < 300.0 * 86400.0 {
                    "%d %b %y"
                } else {
                    "%Y"
                };
                Timestamp::from_second(value as i64)
                    .map_or(String::new(), |time| time.strftime(format).to_string())
            }
            Scale::Linear | Scale::FromZero => {
                let size = self.low.abs().max(self.high.abs());
                if size >= 1e6 || (size > 0.0 && size < 1e-3) {
                    return if value == 0.0 {
                        "0".into()
                    } else {
                        number(value)
                    };
                }
                let decimals = (-self.step.log10().floor()).clamp(0.0, 9.0) as usize;
                // No negative zero.
                format!("{:.decimals$}", value + 0.0)
            }
        }
    }
}

/// A step of 1, 2 or 5 that puts about five ticks into `span`.
fn step(span: f64) -> f64 {
    let raw = span / 5.0;
    let power = 10f64.powf(raw.log10().floor());
    let nice = [1.0, 2.0, 5.0].into_iter().find(|nice| nice * power >= raw);
    nice.unwrap_or(10.0) * power
}

/// Seconds between ticks of time.
fn time_step(span: f64) -> f64 {
    const DAY: f64 = 86400.0;
    let steps = [60.0, 300.0, 900.0, 3600.0, 14400.0, 43200.0];
    let days = [1.0, 2.0, 7.0, 14.0, 28.0, 42.0, 91.0, 182.0, 365.25];
    let days = days.into_iter().map(|days| days * DAY);
    let fits = |step: &f64| span / step <= 3.5;
    (steps.into_iter().chain(days).find(fits)).unwrap_or((span / (3.0 * DAY)).ceil() * DAY)
}

fn every(low: f64, high: f64, step: f64) -> (Vec<f64>, f64) {
    let first = (low / step).ceil() as i64;
    let last = (high / step).floor() as i64;
    let ticks = (first..=last).map(|tick| tick as f64 * step).collect();
    (ticks, step)
}

/// Powers of ten, and 2 and 5 times those if there are few.
fn decades(low: f64, high: f64) -> Vec<f64> {
    let powers = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let span = high.log10() - low.log10();
    let heads: &[f64] = match span {
        span if span < 2.5 => &[1.0, 2.0, 5.0],
        _ => &[1.0],
    };
    let every = (span / 6.0).ceil().max(1.0) as i32;
    let ticks = powers
        .filter(|power| power.rem_euclid(every) == 0)
        .flat_map(|power| {
            // Division gives 0.2 where a product gives 0.2 and some bits.
            heads.iter().map(move |head| match power {
                0.. => head * 10f64.powi(power),
                _ => head / 10f64.powi(-power),
            })
        });
    ticks.filter(|tick| (low..=high).contains(tick)).collect()
}

impl Ranged for Range {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let part = match self.scale {
            Scale::Log => (value / self.low).ln() / (self.high / self.low).ln(),
            _ => (value - self.low) / (self.high - self.low),
        };
        limit.0 + (f64::from(limit.1 - limit.0) * part).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        // All ticks are equal; there are no light ones between.
        match hint.weight().allow_light_points() {
            true => Vec::new(),
            false => self.ticks.clone(),
        }
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.low..self.high
    }
}

impl ValueFormatter<f64> for Range {
    fn format_ext(&self, value: &f64) -> String {
        self.text(*value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: Scale, values: &[f64]) -> Vec<String> {
        let range = Range::around(scale, values.iter().copied());
        range.ticks.iter().map(|tick| range.text(*tick)).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(labels(Scale::FromZero, &[3.0, 97.0]), ["0", "50", "100"]);
        assert_eq!(
            labels(Scale::Linear, &[0.11, 0.19]),
            ["0.12", "0.14", "0.16", "0.18"]
        );
        assert_eq!(
            labels(Scale::Log, &[0.002, 40.0]),
            ["0.01", "0.1", "1", "10"]
        );
        assert_eq!(labels(Scale::Log, &[2.0, 30.0]), ["2", "5", "10", "20"]);
        let days = [0.0, 3.0 * 86400.0];
        assert_eq!(labels(Scale::Time, &days)[0], "01 Jan 70");
    }

    #[test]
    fn a_single_value_has_room_around_it() {
        for scale in [Scale::Linear, Scale::FromZero, Scale::Log, Scale::Time] {
            for value in [1.0, 1e-9, 1e12] {
                let range = Range::around(scale, std::iter::once(value));
                assert!(range.low < value && value < range.high, "{scale:?} {value}");
                assert!(range.ticks.len() < 30);
            }
        }
        assert!(Range::around(Scale::Linear, std::iter::once(0.0)).low < 0.0);
        for scale in [Scale::Linear, Scale::FromZero, Scale::Log, Scale::Time] {
            assert!((1..9).contains(&labels(scale, &[]).len()), "{scale:?}");
        }
    }

    #[test]
    fn units_suit_the_size() {
        assert_eq!(quantity(1_264_415_690.0, "ns"), "1.264 s");
        assert_eq!(quantity(5_242_880.0, "B"), "5 MiB");
        assert_eq!(quantity(0.5, "1"), "0.5000");
    }
}
