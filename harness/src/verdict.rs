//! From measurements to verdicts.

use std::fmt;
use std::str::FromStr;

use anyhow::{Error, anyhow};
use reports::{Basis, Better, Blocks, Metric, Paired, Statistic, Verdict};
use suites::{Comparison, Gate, Label, Measurement};

/// A gate set by the user.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct UserGate {
    /// `suite.metric` or `suite.case.metric`.
    metric: String,
    comparison: Comparison,
    bound: f64,
}

impl FromStr for UserGate {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || anyhow!("gate `{text}`: expected e.g. \"parity.kl_mean <= 0.01\"");
        let (metric, comparison, bound) = [
            ("<=", Comparison::AtMost),
            (">=", Comparison::AtLeast),
            ("==", Comparison::Exactly),
        ]
        .into_iter()
        .find_map(|(sign, comparison)| {
            text.split_once(sign)
                .map(|(metric, bound)| (metric.trim(), comparison, bound.trim()))
        })
        .ok_or_else(wrong)?;
        let bound: f64 = bound.parse().map_err(|_| wrong())?;
        if bound.is_nan() || !(1..=2).contains(&metric.matches('.').count()) {
            return Err(wrong());
        }
        let suite = metric.split('.').next().unwrap_or_default();
        crate::config::find_suite(suite).map_err(|error| anyhow!("gate `{text}`: {error}"))?;
        Ok(Self {
            metric: metric.into(),
            comparison,
            bound,
        })
    }
}

impl fmt::Display for UserGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.metric, self.comparison, self.bound)
    }
}

impl UserGate {
    /// The suite that this gate speaks of.
    pub(crate) fn suite(&self) -> &str {
        self.metric.split('.').next().unwrap_or_default()
    }

    /// Whether this gate speaks of the metric `suite.case.metric`.
    pub(crate) fn concerns(&self, name: &str) -> bool {
        if self.metric == name {
            return true;
        }
        let mut parts = name.split('.');
        let (suite, _, metric) = (parts.next(), parts.next(), parts.next());
        self.metric.split_once('.') == suite.zip(metric)
    }
}

/// Judges `measurement` of `suite`: by the last gate of the user that concerns
/// it, else by the suite's own.
pub(crate) fn judge(suite: &str, measurement: Measurement, gates: &[UserGate]) -> Metric {
    let name = format!("{suite}.{}.{}", measurement.case, measurement.metric);
    let basis = measurement
        .basis
        .or_else(|| suites::find(suite).and_then(|suite| suite.basis()));
    let demanded = gates
        .iter()
        .rev()
        .find(|gate| gate.concerns(&name))
        .map(|gate| Gate {
            comparison: gate.comparison,
            bound: gate.bound,
            because: "set by the user".into(),
        });
    // What a user demands and cannot be had has not passed.
    let gate = demanded.or(measurement.gate);
    let verdict = match &gate {
        None if measurement.value.is_nan() && measurement.why.is_some() => Verdict::Skip,
        None => Verdict::Info,
        Some(gate) if gate.admits(measurement.value) => Verdict::Pass,
        Some(_) => Verdict::Fail,
    };
    Metric {
        name,
        unit: measurement.unit.into_owned(),
        better: match measurement.better {
            suites::Better::Lower => Better::Lower,
            suites::Better::Higher => Better::Higher,
            suites::Better::Equal => Better::Equal,
        },
        value: measurement.value.is_finite().then_some(measurement.value),
        n: measurement.n,
        ci_low: measurement.interval.map(|interval| interval.low),
        ci_high: measurement.interval.map(|interval| interval.high),
        confidence: measurement.interval.map(|interval| interval.confidence),
        gate: gate.as_ref().map(|gate| {
            format!(
                "{} {}",
                gate.comparison,
                reports::render::number(gate.bound)
            )
        }),
        verdict,
        why: measurement.why.or(gate.map(|gate| gate.because)),
        headline: measurement.headline,
        ranks: measurement.ranks,
        basis: basis.map(recorded),
    }
}

/// A suite's word on how a figure may be compared, as records have it.
pub(crate) fn recorded(basis: suites::Basis) -> Basis {
    match basis {
        suites::Basis::Machine => Basis::Machine,
        suites::Basis::Exact => Basis::Exact,
        suites::Basis::Aside => Basis::Aside,
        suites::Basis::Paired(paired) => Basis::Paired(Paired {
            samples: paired.samples.into_owned(),
            cases: paired.cases.into_iter().map(Label::into_owned).collect(),
            statistic: match paired.statistic {
                suites::Statistic::Mean => Statistic::Mean,
                suites::Statistic::ExpMean => Statistic::ExpMean,
                suites::Statistic::Share => Statistic::Share,
            },
            blocks: match paired.blocks {
                suites::Blocks::Length(length) => Blocks::Length(length),
                suites::Blocks::StartOf(metric) => Blocks::StartOf(metric.into_owned()),
            },
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measurement(value: f64) -> Measurement {
        Measurement {
            gate: Some(Gate {
                comparison: Comparison::AtMost,
                bound: 1.0,
                because: "derived".into(),
            }),
            ..Measurement::new(
                "teacher_forced",
                "kl_mean",
                "nat",
                suites::Better::Lower,
                value,
                1,
            )
        }
    }

    #[test]
    fn the_users_gate_stands_above_the_suites() {
        let strict: UserGate = "parity.kl_mean <= 0.1".parse().unwrap();
        assert_eq!(
            judge("parity", measurement(0.5), &[]).verdict,
            Verdict::Pass
        );
        let judged = judge("parity", measurement(0.5), &[strict]);
        assert_eq!(judged.verdict, Verdict::Fail);
        assert_eq!(judged.gate.as_deref(), Some("<= 0.1000"));
    }

    #[test]
    fn a_gate_may_name_the_case() {
        let other: UserGate = "parity.prefill_decode.kl_mean <= 0.1".parse().unwrap();
        assert!(!other.concerns("parity.teacher_forced.kl_mean"));
        let same: UserGate = "parity.teacher_forced.kl_mean<=0.1".parse().unwrap();
        assert!(same.concerns("parity.teacher_forced.kl_mean"));
    }

    #[test]
    fn nan_is_undefined_and_fails() {
        let judged = judge("parity", measurement(f64::NAN), &[]);
        assert_eq!((judged.value, judged.verdict), (None, Verdict::Fail));
    }

    #[test]
    fn a_withheld_figure_is_skipped_with_its_reason_but_passes_no_gate() {
        let withheld = || {
            Measurement::withheld(
                "decode",
                "itl_p99_ns",
                "ns",
                suites::Better::Lower,
                9,
                "9 samples are too few",
            )
        };
        let judged = judge("latency", withheld(), &[]);
        assert_eq!((judged.value, judged.verdict), (None, Verdict::Skip));
        assert_eq!(judged.why.as_deref(), Some("9 samples are too few"));
        let gate: UserGate = "latency.itl_p99_ns <= 1e9".parse().unwrap();
        let judged = judge("latency", withheld(), &[gate]);
        assert_eq!(judged.verdict, Verdict::Fail);
        assert_eq!(judged.why.as_deref(), Some("9 samples are too few"));
    }

    #[test]
    fn malformed_gates_are_refused() {
        for text in [
            "",
            "parity.kl_mean",
            "parity.kl_mean < 1",
            "kl <= 1",
            "parity.kl <= x",
            "partiy.kl <= 1",
        ] {
            assert!(text.parse::<UserGate>().is_err(), "{text}");
        }
    }
}
