//! Many tests at once.

use serde::{Deserialize, Serialize};
use stats::{benjamini_hochberg, holm};

use super::Options;
use super::evidence::{self, Finding};

/// How p-values are adjusted for their number.
///
/// ```
/// use harness_reports::StoredRun;
/// use harness_reports::compare::{Adjust, Options, compare};
///
/// let base = StoredRun::open("tests/run".as_ref())?;
/// let mut head = base.clone();
/// for sample in head.samples.values_mut().flatten() {
///     // Some tokens a little less likely, others more.
///     sample.value += 0.01 * (sample.index as f64).sin();
/// }
/// let p_values = |adjust| {
///     let options = Options { adjust, ..Options::default() };
///     let comparison = compare(&[base.clone()], &[head.clone()], options);
///     comparison.map(|comparison| (comparison.rows[0].p, comparison.rows[0].p_adjusted))
/// };
/// let (p, unadjusted) = p_values(Adjust::None)?;
/// let (_, adjusted) = p_values(Adjust::Holm)?;
/// assert_eq!(unadjusted, p);
/// assert!(adjusted >= p);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Adjust {
    /// No false alarm among all figures, but with probability alpha: figures of runs made in turn
    /// jointly (Westfall and Young), all others by Holm's procedure; where there are both, each
    /// kind has half of alpha.
    Holm,
    /// A share alpha of false alarms among all alarms (Benjamini and Hochberg).
    Bh,
    /// Not at all: each figure has its own false alarms.
    None,
}

impl Adjust {
    /// The name used in every format.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Adjust::Holm => "holm",
            Adjust::Bh => "bh",
            Adjust::None => "none",
        }
    }

    /// The level that the smallest of `tests` p-values has to meet.
    pub(super) fn level(self, alpha: f64, tests: usize) -> f64 {
        match self {
            Adjust::None => alpha,
            Adjust::Holm | Adjust::Bh => alpha / tests.max(1) as f64,
        }
    }

    fn apply(self, p_values: &[f64]) -> Vec<f64> {
        let adjusted = match self {
            Adjust::Holm => holm(p_values),
            Adjust::Bh => benjamini_hochberg(p_values),
            Adjust::None => return p_values.to_vec(),
        };
        // Tests give p-values between 0 and 1.
        adjusted.unwrap_or_else(|_| vec![1.0; p_values.len()])
    }
}

/// Adjusts the p-values of all findings, each of which belongs to one of `families`.
pub(super) fn adjust(
    findings: &[Result<Finding, String>],
    how: Adjust,
    families: f64,
) -> Vec<Option<f64>> {
    let joint = |finding: &Finding| finding.p_joint.filter(|_| how == Adjust::Holm);
    let alone = |finding: &Finding| finding.p.filter(|_| joint(finding).is_none());
    let p_values: Vec<f64> = findings.iter().flatten().filter_map(alone).collect();
    let mut adjusted = how.apply(&p_values).into_iter();
    findings
        .iter()
        .map(|finding| {
            let finding = finding.as_ref().ok()?;
            let p = match alone(finding) {
                Some(_) => adjusted.next(),
                None => joint(finding),
            };
            p.map(|p| (families * p).min(1.0))
        })
        .collect()
}

/// A test of so few runs that not even the clearest difference could be significant is no test:
/// it is left out, and the others need not be adjusted for it (R. E. Tarone, Biometrics 46, 1990).
pub(super) fn leave_out_hopeless(findings: &mut [Result<Finding, String>], options: Options) {
    let tests = (findings.iter().flatten())
        .filter(|finding| finding.p.is_some())
        .count();
    let level = options.adjust.level(options.alpha, tests);
    for finding in findings {
        if let Ok(Finding {
            runs: Some((base, head)),
            ..
        }) = *finding
            && evidence::least_p(base, head) > level
        {
            let needed = (2..1_000).find(|&n| evidence::least_p(n, n) <= level);
            let needed = needed.map_or(String::from("more"), |n| n.to_string());
            *finding = Err(format!(
                "{base} against {head} runs cannot tell a change from what differs from run to \
                 run, not among {tests} tests; {needed} runs a side can"
            ));
        }
    }
}
