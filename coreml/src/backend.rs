//! What executes the functions of a package: our interpreter, or Core ML.

use std::ops::Range;

use engine::{EngineError, Model, Placement};

use crate::engine::Decoder;
use crate::tensor::Tensor;

/// Loads and calls functions. All that is known of language models is above it, in
/// [`Decoder`]; so whatever holds for one backend there holds for the others.
pub(crate) trait Backend: Send + Sized + 'static {
    /// A function that is ready to be called.
    type Function: Send;
    /// The states of one context.
    type States;

    /// Makes the function `name` ready.
    ///
    /// # Errors
    /// Those of [`engine::Engine::open`].
    fn load(&mut self, name: &str) -> Result<Self::Function, EngineError>;

    /// States of a context without tokens.
    ///
    /// # Errors
    /// Those of [`engine::Model::session`].
    fn states(&self, function: &Self::Function) -> Result<Self::States, EngineError>;

    /// Calls `function`. Without `states` it has none.
    ///
    /// # Errors
    /// Those of [`engine::Session::extend`].
    fn call(
        &self,
        function: &Self::Function,
        inputs: &[(&str, Tensor)],
        states: Option<&mut Self::States>,
        wanted: &Wanted<'_>,
    ) -> Result<Vec<Rows>, EngineError>;

    /// Where operations are planned to run.
    ///
    /// # Errors
    /// Those of [`engine::Model::placement`].
    fn placement(&self) -> Result<Placement, EngineError> {
        Err(EngineError::new(
            engine::FailureKind::Unsupported,
            "the interpreter runs everything on the CPU",
        ))
    }

    /// The model for several threads, if functions may be called from them.
    fn shared(_: &Decoder<Self>) -> Option<&(dyn Model + Sync)> {
        None
    }
}

/// Which values of a function's answer are wanted.
pub(crate) struct Wanted<'a> {
    /// Names of outputs.
    pub(crate) outputs: &'a [String],
    /// Tokens of the call; an output has a row for each.
    pub(crate) tokens: usize,
    /// Tokens whose rows are wanted.
    pub(crate) rows: Range<usize>,
}

/// The wanted rows of one output, one after the other.
pub(crate) struct Rows {
    pub(crate) width: usize,
    pub(crate) values: Vec<f32>,
}

impl Wanted<'_> {
    /// Where the wanted rows begin and end in an output of `shape` that lies contiguously,
    /// and how wide they are.
    ///
    /// # Errors
    /// When there is not a row for each token.
    pub(crate) fn extent(
        &self,
        output: &str,
        shape: &[usize],
    ) -> Result<(Range<usize>, usize), EngineError> {
        let rows: usize = shape.iter().rev().skip(1).product();
        let width = shape.last().copied().unwrap_or(0);
        if self.rows.is_empty() {
            return Ok((0..0, width));
        }
        if rows == 1 && self.tokens > 1 && self.rows == (self.tokens - 1..self.tokens) {
            // A prompt's function may answer the last token alone.
            return Ok((0..width, width));
        }
        if rows != self.tokens {
            let kind = match rows {
                1 => engine::FailureKind::Unsupported,
                _ => engine::FailureKind::Protocol,
            };
            return Err(EngineError::new(
                kind,
                format!(
                    "`{output}` of shape {shape:?} has no row for each of {} tokens",
                    self.tokens
                ),
            ));
        }
        Ok((self.rows.start * width..self.rows.end * width, width))
    }
}
