//! How large a shift is, and from where on it matters.

use crate::Basis;

/// What a shift is measured by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Effect {
    /// Per cent of the figure.
    Relative,
    /// Percentage points of a share, of which the unit has so many.
    Points(f64),
}

impl Effect {
    pub(crate) fn of(unit: &str) -> Self {
        match unit {
            "%" | "pp" => Effect::Points(1.0),
            "share" | "bool" | "probability" => Effect::Points(100.0),
            _ => Effect::Relative,
        }
    }

    pub(crate) fn unit(self) -> &'static str {
        match self {
            Effect::Relative => "%",
            Effect::Points(_) => "pp",
        }
    }

    /// The size of a shift from `base`; none where there is nothing to take per cent of.
    pub(crate) fn size(self, shift: f64, base: f64) -> Option<f64> {
        let size = match self {
            Effect::Relative if shift == 0.0 => 0.0,
            Effect::Relative => 100.0 * shift / base.abs(),
            Effect::Points(points) => points * shift,
        };
        size.is_finite().then_some(size)
    }

    /// Whether a shift reaches the threshold. Per cent are taken of the smaller figure, so that it
    /// does not matter which of the two came first.
    pub(crate) fn matters(self, shift: f64, base: f64, head: f64, threshold: f64) -> bool {
        match self {
            Effect::Relative => 100.0 * shift.abs() >= threshold * base.abs().min(head.abs()),
            Effect::Points(points) => points * shift.abs() >= threshold,
        }
    }
}

/// Effects that matter unless the user says otherwise, in per cent or points.
pub(crate) struct Threshold;

impl Threshold {
    pub(crate) fn of(basis: Option<&Basis>) -> f64 {
        match basis {
            // A slowdown of 5 % is to be found; a threshold of 5 would miss it half of the time.
            Some(Basis::Machine) => 2.0,
            Some(Basis::Exact) => 0.0,
            Some(Basis::Paired(_) | Basis::Aside) | None => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_told_in_points_and_times_in_per_cent() {
        assert_eq!(Effect::of("share").size(0.02, 0.5), Some(2.0));
        assert_eq!(Effect::of("%").size(0.5, 1.5), Some(0.5));
        assert_eq!(Effect::of("ns").size(5.0, 100.0), Some(5.0));
        assert_eq!(Effect::of("ns").size(5.0, 0.0), None);
        assert!(Effect::of("logits").matters(1.0, 0.0, 1.0, 5.0));
        // Five per cent up, and back.
        assert!(Effect::of("ns").matters(5.0, 100.0, 105.0, 5.0));
        assert!(Effect::of("ns").matters(-5.0, 105.0, 100.0, 5.0));
    }
}
