//! Whether a written answer is the expected one.

use std::str::FromStr;
use std::sync::LazyLock;

use regex::Regex;
use serde::Deserialize;

/// What both the answer and the expected text are put through before they are
/// compared, in the order of the fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Normalization {
    case: bool,
    punctuation: bool,
    whitespace: bool,
}

/// One part of a [`Normalization`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Step {
    /// All in lower case, as Unicode has it.
    Case,
    /// Without ASCII punctuation and symbols, and Unicode's punctuation (`\p{P}`).
    Punctuation,
    /// One space for any run of white space, none at the ends.
    Whitespace,
}

impl Normalization {
    pub(crate) fn apply(self, text: &str) -> String {
        let mut text = text.to_owned();
        if self.case {
            text = text.to_lowercase();
        }
        if self.punctuation {
            text = PUNCTUATION.replace_all(&text, "").into_owned();
        }
        if self.whitespace {
            text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        }
        text
    }
}

#[allow(clippy::expect_used)] // It is constant, and the tests compile it.
static PUNCTUATION: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"[[:punct:]\p{P}]").expect("a valid pattern"));

impl From<Vec<Step>> for Normalization {
    fn from(steps: Vec<Step>) -> Self {
        Self {
            case: steps.contains(&Step::Case),
            punctuation: steps.contains(&Step::Punctuation),
            whitespace: steps.contains(&Step::Whitespace),
        }
    }
}

impl FromStr for Normalization {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" {
            return Ok(Self::default());
        }
        let steps: Option<Vec<Step>> = text
            .split(',')
            .map(|name| match name.trim() {
                "case" => Some(Step::Case),
                "punctuation" => Some(Step::Punctuation),
                "whitespace" => Some(Step::Whitespace),
                _ => None,
            })
            .collect();
        steps
            .map(Self::from)
            .ok_or("use none, or some of case, punctuation, whitespace with commas between them")
    }
}

/// What is expected of an answer.
#[derive(Clone, Debug)]
pub(crate) enum Expected {
    /// To be one of these texts.
    Exact(Vec<String>),
    /// To hold one of these texts.
    Contains(Vec<String>),
    /// To hold a match.
    Regex(Regex),
}

/// Tells right answers from wrong ones.
#[derive(Clone, Debug)]
pub(crate) struct Judge {
    /// Texts are normalized.
    expected: Expected,
    normalization: Normalization,
}

impl Judge {
    /// # Errors
    /// When nothing is left of an expected text, so that everything would do.
    pub(crate) fn new(
        mut expected: Expected,
        normalization: Normalization,
    ) -> Result<Self, String> {
        if let Expected::Exact(texts) | Expected::Contains(texts) = &mut expected {
            for text in texts {
                let normalized = normalization.apply(text);
                if normalized.is_empty() {
                    return Err(format!(
                        "nothing is left of the expected text {text:?} when it is normalized"
                    ));
                }
                *text = normalized;
            }
        }
        Ok(Self {
            expected,
            normalization,
        })
    }

    pub(crate) fn accepts(&self, answer: &str) -> bool {
        let normalized = || self.normalization.apply(answer);
        match &self.expected {
            Expected::Exact(texts) => texts.contains(&normalized()),
            Expected::Contains(texts) => {
                let answer = normalized();
                texts.iter().any(|text| answer.contains(text))
            }
            Expected::Regex(pattern) => pattern.is_match(answer),
        }
    }

    /// The answer as far as it counts, for telling whether two are the same.
    pub(crate) fn essence(&self, answer: &str) -> String {
        match self.expected {
            Expected::Regex(_) => answer.into(),
            Expected::Exact(_) | Expected::Contains(_) => self.normalization.apply(answer),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn judge(expected: Expected, normalization: &str) -> Judge {
        Judge::new(expected, normalization.parse().unwrap()).unwrap()
    }

    #[test]
    fn normalization_is_what_is_asked_for_and_no_more() {
        let text = "  “Yes”,\tsaid\u{a0}HE – 5 £! ";
        for (steps, expected) in [
            ("none", text),
            ("case", "  “yes”,\tsaid\u{a0}he – 5 £! "),
            ("punctuation", "  Yes\tsaid\u{a0}HE  5 £ "),
            ("whitespace", "“Yes”, said HE – 5 £!"),
            ("case,punctuation,whitespace", "yes said he 5 £"),
        ] {
            let normalization: Normalization = steps.parse().unwrap();
            assert_eq!(normalization.apply(text), expected, "{steps}");
        }
        assert!("caps".parse::<Normalization>().is_err());
        assert!("".parse::<Normalization>().is_err());
    }

    #[test]
    fn answers_are_judged() {
        let exact = Expected::Exact(vec!["Paris".into(), "City of Light".into()]);
        let literal = judge(exact.clone(), "none");
        assert!(literal.accepts("Paris") && !literal.accepts(" paris."));
        let loose = judge(exact, "case,punctuation,whitespace");
        assert!(loose.accepts(" paris.") && !loose.accepts("city"));
        assert!(loose.accepts("CITY  of\nlight") && !loose.accepts("Paris, France"));
        let contains = judge(Expected::Contains(vec!["Paris".into()]), "whitespace");
        assert!(contains.accepts("It is Paris, France") && !contains.accepts("paris"));
        let regex = judge(Expected::Regex(Regex::new(r"^\s*pass\b").unwrap()), "case");
        assert!(regex.accepts("\n pass by") && !regex.accepts("passed"));
    }

    #[test]
    fn an_expectation_that_anything_meets_is_refused() {
        let dots = Expected::Contains(vec!["...".into()]);
        assert!(Judge::new(dots, "punctuation".parse().unwrap()).is_err());
        assert!(
            Judge::new(
                Expected::Exact(vec![String::new()]),
                Normalization::default()
            )
            .is_err()
        );
    }

    proptest! {
        #[test]
        fn normalizing_twice_changes_nothing(text in any::<String>()) {
            // Lower case is left out: of a few letters there is a lower case still.
            for steps in ["punctuation", "whitespace", "punctuation,whitespace"] {
                let normalization: Normalization = steps.parse().unwrap();
                let once = normalization.apply(&text);
                prop_assert_eq!(normalization.apply(&once), once);
            }
        }

        #[test]
        fn a_text_is_accepted_as_itself(text in ".*[a-z]") {
            for steps in ["none", "case", "case,punctuation,whitespace"] {
                prop_assert!(judge(Expected::Exact(vec![text.clone()]), steps).accepts(&text));
                prop_assert!(judge(Expected::Contains(vec![text.clone()]), steps).accepts(&text));
            }
        }
    }
}
