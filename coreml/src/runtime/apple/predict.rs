//! Predictions of one loaded function.

use std::cell::RefCell;
use std::collections::HashMap;

use engine::EngineError;
use objc2::AnyThread;
use objc2::rc::Retained;
use objc2::runtime::{AnyObject, ProtocolObject};
use objc2_core_ml::{
    MLDictionaryFeatureProvider, MLFeatureProvider, MLFeatureValue, MLModel, MLMultiArray,
    MLPredictionOptions, MLState,
};
use objc2_foundation::{NSDictionary, NSString};

use super::super::fault::{Fault, Step};
use super::array::{self, Pinned};
use super::{broken, fault, guarded};
use crate::backend::{Rows, Wanted};
use crate::tensor::Tensor;

/// Lengths whose answers have memory of their own: few recur, and each takes as much as its
/// logits.
const MOST_BACKINGS: usize = 4;

/// A function, and the memory that passes its inputs and answers, used again and again.
pub(crate) struct LoadedFunction {
    model: Retained<MLModel>,
    pinned: bool,
    buffers: RefCell<Buffers>,
}

// SAFETY: Core ML's objects may be used on any thread, by one at a time; since this type
// is not `Sync`, that holds.
unsafe impl Send for LoadedFunction {}

#[derive(Default)]
struct Buffers {
    /// Of each input the one used last: while shapes stay the same, so does it.
    inputs: HashMap<String, Pinned>,
    /// Made of `inputs`; none when one of them was replaced.
    provider: Option<Retained<MLDictionaryFeatureProvider>>,
    /// Of answers, by the number of tokens. Shapes are known from the first answer.
    backings: HashMap<usize, Retained<MLPredictionOptions>>,
}

impl LoadedFunction {
    pub(super) fn new(model: Retained<MLModel>, pinned: bool) -> Self {
        Self {
            model,
            pinned,
            buffers: RefCell::default(),
        }
    }

    pub(super) fn model(&self) -> &MLModel {
        &self.model
    }

    pub(super) fn predict(
        &self,
        inputs: &[(&str, Tensor)],
        state: Option<&MLState>,
        wanted: &Wanted<'_>,
    ) -> Result<Vec<Rows>, EngineError> {
        let predicted = guarded(|| self.answers(inputs, state, wanted));
        let answers = predicted.map_err(|fault| fault.during(Step::Predict))?;
        let rows = answers
            .iter()
            .zip(wanted.outputs)
            .map(|(answer, name)| rows_of(answer, name, wanted));
        rows.collect()
    }

    /// The arrays of all wanted outputs.
    fn answers(
        &self,
        inputs: &[(&str, Tensor)],
        state: Option<&MLState>,
        wanted: &Wanted<'_>,
    ) -> Result<Vec<Retained<MLMultiArray>>, Fault> {
        let mut buffers = self.buffers.borrow_mut();
        buffers.fill(inputs)?;
        let provider = buffers.provider()?;
        let provider: &ProtocolObject<dyn MLFeatureProvider> = ProtocolObject::from_ref(&*provider);
        let known = buffers.backings.get(&wanted.tokens);
        // SAFETY: the method has no preconditions.
        let options = known
            .cloned()
            .unwrap_or_else(|| unsafe { MLPredictionOptions::new() });
        // SAFETY: all arguments are of the types that the methods declare, and the state
        // is of this model, whose functions share their states.
        let answered = unsafe {
            match state {
                Some(state) => self
                    .model
                    .predictionFromFeatures_usingState_options_error(provider, state, &options),
                None => self
                    .model
                    .predictionFromFeatures_options_error(provider, &options),
            }
        };
        let answered = answered.map_err(|error| fault(&error))?;
        let array = |name: &String| {
            // SAFETY: the methods have no preconditions.
            let value = unsafe { answered.featureValueForName(&NSString::from_str(name)) };
            // SAFETY: as above.
            let array = value.and_then(|value| unsafe { value.multiArrayValue() });
            array.ok_or_else(|| broken(format!("no array `{name}` was answered")))
        };
        let answers: Vec<_> = wanted.outputs.iter().map(array).collect::<Result<_, _>>()?;
        if self.pinned && !buffers.backings.contains_key(&wanted.tokens) {
            let backings = backings(wanted.outputs, &answers)?;
            if buffers.backings.len() >= MOST_BACKINGS {
                buffers.backings.clear();
            }
            buffers.backings.insert(wanted.tokens, backings);
        }
        Ok(answers)
    }
}

fn rows_of(answer: &MLMultiArray, name: &str, wanted: &Wanted<'_>) -> Result<Rows, EngineError> {
    let during = |fault: Fault| fault.during(Step::Predict);
    let shape = guarded(|| Ok(array::shape(answer))).map_err(during)?;
    let (extent, width) = wanted.extent(name, &shape)?;
    let values = guarded(|| array::read(answer, extent)).map_err(during)?;
    Ok(Rows { width, values })
}

impl Buffers {
    /// Writes `inputs` where the provider reads them.
    fn fill(&mut self, inputs: &[(&str, Tensor)]) -> Result<(), Fault> {
        for (name, tensor) in inputs {
            let known = self.inputs.get_mut(*name);
            let known = known.filter(|b| b.shape == tensor.shape && b.dtype == tensor.dtype);
            match known {
                Some(buffer) => buffer.write(tensor)?,
                None => {
                    let mut buffer = Pinned::new(tensor.dtype, &tensor.shape)?;
                    buffer.write(tensor)?;
                    self.inputs.insert((*name).into(), buffer);
                    self.provider = None;
                }
            }
        }
        Ok(())
    }

    fn provider(&mut self) -> Result<Retained<MLDictionaryFeatureProvider>, Fault> {
        if let Some(provider) = &self.provider {
            return Ok(provider.clone());
        }
        let names: Vec<_> = (self.inputs.keys())
            .map(|name| NSString::from_str(name))
            .collect();
        // SAFETY: the method retains the array.
        let value = |b: &Pinned| unsafe { MLFeatureValue::featureValueWithMultiArray(&b.array) };
        let values: Vec<_> = self.inputs.values().map(value).collect();
        let values: Vec<&AnyObject> = values.iter().map(|value| (**value).as_ref()).collect();
        let names: Vec<&NSString> = names.iter().map(|name| &**name).collect();
        let dictionary = NSDictionary::from_slices(&names, &values);
        // SAFETY: the keys are names of features and the values are theirs.
        let provider = unsafe {
            MLDictionaryFeatureProvider::initWithDictionary_error(
                MLDictionaryFeatureProvider::alloc(),
                &dictionary,
            )
        };
        let provider = provider.map_err(|error| fault(&error))?;
        self.provider = Some(provider.clone());
        Ok(provider)
    }
}

/// Options that have answers like these written into memory of ours.
fn backings(
    names: &[String],
    answers: &[Retained<MLMultiArray>],
) -> Result<Retained<MLPredictionOptions>, Fault> {
    let mut arrays = Vec::new();
    for answer in answers {
        arrays.push(Pinned::new(array::dtype(answer)?, &array::shape(answer))?.array);
    }
    let names: Vec<_> = names.iter().map(|name| NSString::from_str(name)).collect();
    let names: Vec<&NSString> = names.iter().map(|name| &**name).collect();
    let arrays: Vec<&AnyObject> = arrays.iter().map(|array| (**array).as_ref()).collect();
    let dictionary = NSDictionary::from_slices(&names, &arrays);
    // SAFETY: the keys are names of outputs and the values arrays of their shapes.
    unsafe {
        let options = MLPredictionOptions::new();
        options.setOutputBackings(&dictionary);
        Ok(options)
    }
}
