//! What a function wants to be told, and how its answer is read.

use engine::TokenId;

use crate::error::PackageError;
use crate::lengths::Lengths;
use crate::names::{Names, Role, logits_of, role_of};
use crate::program::Function;
use crate::spec::{Feature, FunctionDescription, Shapes};
use crate::tensor::{DataType, Tensor, elements};

/// Name of the output that the converter gives to final hidden states.
const HIDDEN: &str = "hidden_states";

/// A function of a language model.
#[derive(Clone, Debug)]
pub(crate) struct Signature {
    pub(crate) lengths: Lengths,
    pub(crate) answer: Answer,
    /// Outputs whose rows, side by side, are the answer.
    pub(crate) outputs: Vec<String>,
    /// Widths of the masks it takes, if it takes one.
    pub(crate) widths: Option<Widths>,
    inputs: Vec<Input>,
}

/// What a function answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Logits,
    HiddenStates,
}

#[derive(Clone, Debug)]
struct Input {
    name: String,
    role: Role,
    rank: usize,
    dtype: DataType,
}

/// How many places of the context a mask covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Widths {
    /// As many as there are tokens in the context, at most so many. The function takes
    /// the place of its tokens from it.
    End(usize),
    /// Always so many.
    All(usize),
}

impl Signature {
    /// What `description` says of the function `name`; `None` when it is none of a language
    /// model, or not one that takes token ids.
    ///
    /// # Errors
    /// When an input's part cannot be told, or the user's names are not there.
    pub(crate) fn of(
        description: &FunctionDescription,
        function: &Function,
        names: &Names,
    ) -> Result<Option<Self>, PackageError> {
        let fault = |problem: String| {
            PackageError::program(format!("function `{}`", description.name), problem)
        };
        let known: Vec<&str> = function.outputs.iter().map(String::as_str).collect();
        let logits = logits_of(names.logits.as_deref().unwrap_or("logits"), &known);
        let (answer, outputs) = match (logits.is_empty(), known.contains(&HIDDEN)) {
            (false, _) => (Answer::Logits, logits),
            (true, true) => (Answer::HiddenStates, vec![HIDDEN]),
            (true, false) => return Ok(None),
        };
        let mut inputs = Vec::new();
        for feature in &description.inputs {
            let role = names.given(feature).or_else(|| role_of(&feature.name));
            let role = role.or_else(|| guess(feature, &description.inputs));
            let Some(role) = role else {
                return Err(fault(format!(
                    "what its input `{}` is for is not known; name inputs by ids=, position=, \
                     positions= and mask=",
                    feature.name
                )));
            };
            // A place for each token, where there is more than one.
            let role = match role {
                Role::Positions if feature.rank() == 0 => Role::Position,
                role => role,
            };
            inputs.push(Input {
                name: feature.name.clone(),
                role,
                rank: feature.rank(),
                dtype: feature.dtype.unwrap_or(DataType::Int32),
            });
        }
        let of_role = |role: Role| {
            let mut all = inputs.iter().filter(move |input| input.role == role);
            (all.next(), all.next())
        };
        for role in [Role::Ids, Role::Position, Role::Positions, Role::Mask] {
            if let (Some(one), Some(other)) = of_role(role) {
                return Err(fault(format!(
                    "its inputs `{}` and `{}` seem to be for the same ({role:?}); name them by \
                     options",
                    one.name, other.name
                )));
            }
        }
        let feature = |input: &Input| description.inputs.iter().find(|f| f.name == input.name);
        let ids = of_role(Role::Ids).0.and_then(feature);
        let Some(lengths) = ids.and_then(Lengths::of) else {
            return Err(fault(
                "has no input of token ids, [1, tokens]; name it by ids=".into(),
            ));
        };
        let widths = match of_role(Role::Mask).0 {
            None => None,
            Some(input) if !input.dtype.is_float() || input.rank < 2 => {
                let problem = format!("its mask `{}` is none of numbers to be added", input.name);
                return Err(fault(problem));
            }
            Some(input) => {
                let widths = feature(input).and_then(Lengths::of);
                let widths = widths.ok_or_else(|| fault("its mask is empty".into()))?;
                let widths = Widths::from(widths);
                if let (Widths::All(width), Some(rows)) = (&widths, lengths.longest()) {
                    elements(&[rows, *width]).map_err(fault)?;
                }
                Some(widths)
            }
        };
        Ok(Some(Self {
            lengths,
            answer,
            outputs: outputs.into_iter().map(String::from).collect(),
            widths,
            inputs,
        }))
    }

    /// Whether it is told where its tokens stand, so that what stands behind them in the
    /// states does not matter. Else it counts by itself, and cannot go back.
    pub(crate) fn rewinds(&self) -> bool {
        let ends = matches!(self.widths, Some(Widths::End(_)));
        let told = |input: &Input| matches!(input.role, Role::Position | Role::Positions);
        ends || self.inputs.iter().any(told)
    }

    /// Inputs for `tokens` from `position` on.
    pub(crate) fn inputs(&self, tokens: &[TokenId], position: usize) -> Vec<(&str, Tensor)> {
        let value = |input: &Input| match input.role {
            Role::Ids => numbers(input, tokens.iter().map(|&id| id as i32).collect()),
            Role::Position => numbers(input, vec![position as i32]),
            Role::Positions => {
                let places = position..position + tokens.len();
                numbers(input, places.map(|place| place as i32).collect())
            }
            Role::Mask => self.mask(input, tokens.len(), position),
        };
        let inputs = self.inputs.iter();
        inputs.map(|i| (i.name.as_str(), value(i))).collect()
    }

    fn mask(&self, input: &Input, tokens: usize, position: usize) -> Tensor {
        let width = match &self.widths {
            Some(Widths::All(width)) => *width,
            _ => position + tokens,
        };
        let row = |token: usize| {
            (0..width).map(move |place| match place <= position + token {
                true => 0.0,
                false => f32::NEG_INFINITY,
            })
        };
        let mut shape = vec![1; input.rank];
        shape[input.rank - 2] = tokens;
        shape[input.rank - 1] = width;
        Tensor::floats(input.dtype, &shape, (0..tokens).flat_map(row).collect())
    }
}

impl From<Lengths> for Widths {
    fn from(lengths: Lengths) -> Self {
        match lengths {
            Lengths::These(list) if list.len() == 1 => Self::All(list[0]),
            other => Self::End(other.longest().unwrap_or(usize::MAX)),
        }
    }
}

/// Whole numbers on the last axis of `input`.
fn numbers(input: &Input, values: Vec<i32>) -> Tensor {
    let mut shape = vec![1; input.rank];
    if let Some(last) = shape.last_mut() {
        *last = values.len();
    }
    match input.dtype.is_float() {
        true => {
            let values = values.into_iter().map(|value| value as f32).collect();
            Tensor::floats(input.dtype, &shape, values)
        }
        false => Tensor::ints(input.dtype, &shape, values),
    }
}

/// What an input of a strange name is for, by its type and shape among `all`.
fn guess(feature: &Feature, all: &[Feature]) -> Option<Role> {
    let dtype = feature.dtype?;
    let numbers = |rank: usize| {
        let of_rank =
            move |f: &&Feature| f.dtype.is_some_and(|d| !d.is_float()) && f.rank() == rank;
        all.iter().filter(of_rank).count()
    };
    match (dtype.is_float(), feature.rank()) {
        (true, 2..) => Some(Role::Mask),
        (false, 2) if numbers(2) == 1 => Some(Role::Ids),
        (false, 0 | 1) if numbers(1) + numbers(0) == 1 => match feature.varies() {
            true => Some(Role::Positions),
            false => Some(Role::Position),
        },
        _ => None,
    }
}

impl Names {
    fn given(&self, feature: &Feature) -> Option<Role> {
        let named = |name: &Option<String>| name.as_deref() == Some(&feature.name);
        [
            (&self.ids, Role::Ids),
            (&self.position, Role::Position),
            (&self.positions, Role::Positions),
            (&self.mask, Role::Mask),
        ]
        .into_iter()
        .find_map(|(name, role)| named(name).then_some(role))
    }
}

impl Feature {
    fn rank(&self) -> usize {
        match &self.shapes {
            Shapes::Ranges(ranges) => ranges.len(),
            Shapes::Fixed | Shapes::Enumerated(_) => self.shape.len(),
        }
    }

    /// Whether its last extent is not always the same, or not 1.
    fn varies(&self) -> bool {
        Lengths::of(self) != Some(Lengths::These(vec![1]))
    }
}
