//! What the inputs and outputs of a function are called.

use engine::{EngineError, EngineOptions, OptionHelp};

use crate::error::PackageError;
use crate::spec::Specification;

/// Options that say it where the names do not.
pub(crate) const OPTIONS: [OptionHelp; 7] = [
    OptionHelp {
        key: "ids",
        default: "by name and type",
        help: "input that takes token ids, [1, tokens]",
    },
    OptionHelp {
        key: "position",
        default: "by name and type",
        help: "input that takes the place of the first of them in the context, [1]",
    },
    OptionHelp {
        key: "positions",
        default: "by name and type",
        help: "input that takes the place of each of them, [tokens] or [1, tokens]",
    },
    OptionHelp {
        key: "mask",
        default: "by name and type",
        help: "input that takes 0 where a token may look and -inf elsewhere, [.., tokens, places]",
    },
    OptionHelp {
        key: "logits",
        default: "by name",
        help: "output that answers logits, or the beginning of the names of those that answer \
               parts of the vocabulary (NAME1, NAME2 …)",
    },
    OptionHelp {
        key: "context",
        default: "what the package tells",
        help: "tokens that the states hold",
    },
    OptionHelp {
        key: "heads",
        default: "what the package tells",
        help: "query heads, which no shape in a package tells",
    },
];

/// The user's word on names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    pub(crate) ids: Option<String>,
    pub(crate) position: Option<String>,
    pub(crate) positions: Option<String>,
    pub(crate) mask: Option<String>,
    pub(crate) logits: Option<String>,
    pub(crate) context: Option<usize>,
    pub(crate) heads: Option<usize>,
}

impl Names {
    /// Reads them from an engine's options.
    ///
    /// # Errors
    /// `InvalidInput` for sizes that are none.
    pub(crate) fn read(options: &EngineOptions) -> Result<Self, EngineError> {
        let text = |key: &str| options.get(key).map(String::from);
        let size = |key: &str| match options.get(key) {
            None => Ok(None),
            Some(text) => match text.parse() {
                Ok(size) if (1..=1 << 24).contains(&size) => Ok(Some(size)),
                _ => Err(EngineError::invalid(format!(
                    "engine option `{key}={text}`: write a size from 1 to 16777216"
                ))),
            },
        };
        Ok(Self {
            ids: text("ids"),
            position: text("position"),
            positions: text("positions"),
            mask: text("mask"),
            logits: text("logits"),
            context: size("context")?,
            heads: size("heads")?,
        })
    }
}

impl Names {
    /// Refuses names that no function of `specification` has.
    ///
    /// # Errors
    /// [`PackageError::Specification`].
    pub(crate) fn exist_in(&self, specification: &Specification) -> Result<(), PackageError> {
        let described = || specification.functions.iter();
        let inputs: Vec<&str> = described()
            .flat_map(|function| &function.inputs)
            .map(|input| input.name.as_str())
            .collect();
        let outputs: Vec<&str> = described()
            .flat_map(|function| &function.outputs)
            .map(|output| output.name.as_str())
            .collect();
        for (key, name) in [
            ("ids", &self.ids),
            ("position", &self.position),
            ("positions", &self.positions),
            ("mask", &self.mask),
        ] {
            if let Some(name) = name.as_deref().filter(|name| !inputs.contains(name)) {
                let inputs = inputs.join(", ");
                return Err(PackageError::Specification(format!(
                    "{key}={name}: no function has such an input; there is {inputs}"
                )));
            }
        }
        match self.logits.as_deref() {
            Some(name) if logits_of(name, &outputs).is_empty() => {
                let outputs = outputs.join(", ");
                Err(PackageError::Specification(format!(
                    "logits={name}: no function has such an output; there is {outputs}"
                )))
            }
            _ => Ok(()),
        }
    }
}

/// What an input is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Ids,
    Position,
    Positions,
    Mask,
}

/// What converters call their inputs: this project's, Apple's examples (`inputIds`,
/// `causalMask`), ANEMLL (`input_ids`, `position_ids`, `current_pos`, `causal_mask`).
pub(crate) fn role_of(name: &str) -> Option<Role> {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    Some(match plain.to_ascii_lowercase().as_str() {
        "tokens" | "ids" | "inputids" | "tokenids" => Role::Ids,
        "position" | "currentpos" | "currentposition" | "startpos" | "pos" => Role::Position,
        "positionids" | "positions" => Role::Positions,
        "causalmask" | "mask" | "attentionmask" | "fullattentionmask" => Role::Mask,
        _ => return None,
    })
}

/// Outputs of `known` that answer logits: the one of that name, or its numbered parts in
/// order.
pub(crate) fn logits_of<'a>(name: &str, known: &[&'a str]) -> Vec<&'a str> {
    if let Some(whole) = known.iter().find(|known| **known == name) {
        return vec![whole];
    }
    let number = |known: &&'a str| Some((known.strip_prefix(name)?.parse::<u32>().ok()?, *known));
    let mut parts: Vec<_> = known.iter().filter_map(number).collect();
    parts.sort_unstable();
    parts.into_iter().map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbered_parts_are_in_order() {
        let known = ["logits10", "logits2", "logits1", "logits_x", "other"];
        assert_eq!(
            logits_of("logits", &known),
            ["logits1", "logits2", "logits10"]
        );
        assert_eq!(logits_of("other", &known), ["other"]);
        assert!(logits_of("none", &known).is_empty());
    }
}
