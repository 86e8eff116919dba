//! Units as people read them: `7.3 ms`, not `7300000 ns`.

/// A larger unit, and how many of the recorded one it holds.
type Step = (&'static str, f64);

const TIME: [Step; 4] = [("ns", 1.0), ("µs", 1e3), ("ms", 1e6), ("s", 1e9)];
const BYTES: [Step; 4] = [
    ("B", 1.0),
    ("KiB", 1024.0),
    ("MiB", 1_048_576.0),
    ("GiB", 1_073_741_824.0),
];

/// How a column of figures is shown.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scale<'a> {
    /// The metric's name, without the unit that it ends with.
    pub(crate) name: &'a str,
    pub(crate) unit: &'a str,
    /// What figures are divided by.
    pub(crate) divisor: f64,
}

impl<'a> Scale<'a> {
    /// The largest unit in which no figure of the column but zero is below one.
    pub(crate) fn new(
        name: &'a str,
        unit: &'a str,
        figures: impl Iterator<Item = Option<f64>>,
    ) -> Self {
        let (steps, suffix) = match unit {
            "ns" => (TIME, "_ns"),
            "B" => (BYTES, "_bytes"),
            _ => {
                return Self {
                    name,
                    unit,
                    divisor: 1.0,
                };
            }
        };
        let sizes = figures
            .flatten()
            .map(f64::abs)
            .filter(|size| size.is_finite() && *size > 0.0);
        let smallest = sizes.reduce(f64::min).unwrap_or(0.0);
        let fits = steps.into_iter().rev().find(|(_, per)| smallest >= *per);
        let (unit, divisor) = fits.unwrap_or(steps[0]);
        Self {
            name: name.strip_suffix(suffix).unwrap_or(name),
            unit,
            divisor,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_grow_with_the_smallest_figure() {
        let scale = |name, unit, figures: &[f64]| {
            let scale = Scale::new(name, unit, figures.iter().map(|&figure| Some(figure)));
            (scale.name.to_owned(), scale.unit.to_owned(), scale.divisor)
        };
        let expected = |name: &str, unit: &str, divisor| (name.into(), unit.into(), divisor);
        assert_eq!(
            scale("itl_p50_ns", "ns", &[7.3e6, 8.1e9]),
            expected("itl_p50", "ms", 1e6)
        );
        assert_eq!(scale("lap_ns", "ns", &[24.0]), expected("lap", "ns", 1.0));
        assert_eq!(
            scale("used_bytes", "B", &[0.0, 1_310_720.0]),
            expected("used", "MiB", 1_048_576.0)
        );
        assert_eq!(scale("used_bytes", "B", &[]), expected("used", "B", 1.0));
        assert_eq!(scale("nmse", "1", &[7e9]), expected("nmse", "1", 1.0));
    }
}
