//! Tensors as they are stored, or in any other storage format.

use std::cell::RefCell;
use std::collections::HashSet;
use std::ops::Range;

use bytes::Bytes;
use engine::{EngineError, FailureKind, NumberFormat};

use crate::gguf::GgmlType;
use crate::quant::{self, QuantError};
use crate::source::{Source, Stored};

/// Reads the tensors of one model and requantizes the matrices among them.
///
/// ```
/// use engine::{ModelArtifact, NumberFormat};
/// use harness_reference::Source;
/// use harness_reference::decoder::{Hyperparameters, Network, Weights};
///
/// let source = Source::open(&ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL))?;
/// let weights = Weights::new(&source, NumberFormat::Q8_0);
/// let network = Network::load(Hyperparameters::read(&source)?, &weights, Ok)?;
/// assert_eq!(network.embedding.ggml_type.name(), "q8_0");
/// // Norms stay as they are stored.
/// assert_eq!(network.output_norm.weight.len(), 256);
/// # Ok::<(), engine::EngineError>(())
/// ```
pub struct Weights<'a> {
    source: &'a Source,
    format: NumberFormat,
    /// Names of tensors that were asked for.
    asked: RefCell<HashSet<String>>,
}

/// A matrix as it is stored, row after row in blocks of its type.
///
/// ```
/// use engine::{ModelArtifact, NumberFormat};
/// use harness_reference::Source;
/// use harness_reference::decoder::{Hyperparameters, Network, Weights};
///
/// let source = Source::open(&ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL))?;
/// let weights = Weights::new(&source, NumberFormat::F32);
/// let network = Network::load(Hyperparameters::read(&source)?, &weights, Ok)?;
/// let up = &network.blocks[0].up.weight;
/// assert_eq!((up.rows, up.columns, up.ggml_type.name()), (768, 256, "f16"));
/// # Ok::<(), engine::EngineError>(())
/// ```
#[derive(Clone)]
pub struct StoredMatrix {
    /// How its numbers are stored.
    pub ggml_type: GgmlType,
    /// Outputs of its product.
    pub rows: usize,
    /// Inputs of its product.
    pub columns: usize,
    /// Part of the mapped file, unless it was requantized.
    pub(crate) bytes: Bytes,
}

impl StoredMatrix {
    /// The stored rows, one after the other.
    ///
    /// ```
    /// use engine::{ModelArtifact, NumberFormat};
    /// use harness_reference::Source;
    /// use harness_reference::decoder::{Hyperparameters, Network, Weights};
    ///
    /// let source = Source::open(&ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL))?;
    /// let weights = Weights::new(&source, NumberFormat::F32);
    /// let network = Network::load(Hyperparameters::read(&source)?, &weights, Ok)?;
    /// let matrix = &network.embedding;
    /// assert_eq!(Some(matrix.bytes().len() / matrix.rows), matrix.ggml_type.row_bytes(256));
    /// # Ok::<(), engine::EngineError>(())
    /// ```
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes of a row.
    pub(crate) fn row_bytes(&self) -> usize {
        self.bytes.len() / self.rows
    }

    /// Some of the rows, without copying them.
    pub(crate) fn row_range(&self, rows: Range<usize>) -> Self {
        let row_bytes = self.row_bytes();
        Self {
            rows: rows.len(),
            bytes: self
                .bytes
                .slice(rows.start * row_bytes..rows.end * row_bytes),
            ..*self
        }
    }

    /// All values, row after row.
    ///
    /// # Errors
    /// [`QuantError::NotRead`].
    ///
    /// ```
    /// use engine::{ModelArtifact, NumberFormat};
    /// use harness_reference::Source;
    /// use harness_reference::decoder::{Hyperparameters, Network, Weights};
    ///
    /// let source = Source::open(&ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL))?;
    /// let weights = Weights::new(&source, NumberFormat::F32);
    /// let network = Network::load(Hyperparameters::read(&source)?, &weights, Ok)?;
    /// let embedding = network.embedding.to_f32()?;
    /// // Fractions in half precision are 13 bits shorter than in f32.
    /// assert!(embedding.iter().all(|x| x.to_bits().trailing_zeros() >= 13));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn to_f32(&self) -> Result<Vec<f32>, QuantError> {
        let mut values = vec![0.0; self.rows * self.columns];
        quant::dequantize(self.ggml_type, &self.bytes, &mut values)?;
        Ok(values)
    }
}

impl<'a> Weights<'a> {
    /// The tensors of `source`, matrices requantized to `format` if it is not f32.
    ///
    /// ```
    /// use engine::{ModelArtifact, NumberFormat};
    /// use harness_reference::Source;
    /// use harness_reference::decoder::{Hyperparameters, Network, Weights};
    ///
    /// let source = Source::open(&ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL))?;
    /// let weights = Weights::new(&source, NumberFormat::Q4_0);
    /// let network = Network::load(Hyperparameters::read(&source)?, &weights, Ok)?;
    /// // Of 4.5 bits a weight.
    /// assert_eq!(network.embedding.bytes().len() * 8, 4096 * 256 * 9 / 2);
    /// # Ok::<(), engine::EngineError>(())
    /// ```
    #[must_use]
    pub fn new(source: &'a Source, format: NumberFormat) -> Self {
        Self {
            source,
            format,
            asked: RefCell::default(),
        }
    }

    /// Whether the model has a tensor called `name`.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.source.entry(name).is_some()
    }

    /// Refuses a model with tensors that nobody asked for: whatever they do, the
    /// logits would be wrong without it.
    pub(crate) fn refuse_unasked(&self) -> Result<(), EngineError> {
        let asked = self.asked.borrow();
        // Of LongRoPE's two lists the length of the context chooses one.
        let unknown = |name: &&str| !asked.contains(*name) && !name.starts_with("rope_factors_");
        let mut names = self.source.tensors().iter().map(|tensor| &*tensor.name);
        match names.find(unknown) {
            None => Ok(()),
            Some(name) => Err(EngineError::new(
                FailureKind::Unsupported,
                format!(
                    "the reference engine does not know what tensor `{name}` is for; its model is \
                     of another kind than the architecture says"
                ),
            )),
        }
    }

    /// The error for a tensor that is not there.
    pub(crate) fn missing(name: &str) -> EngineError {
        EngineError::new(
            FailureKind::Load,
            format!("the model has no tensor `{name}`"),
        )
    }

    /// The matrix `name` of `rows` (any number when `None`) by `columns`.
    pub(crate) fn matrix(
        &self,
        name: &str,
        rows: Option<usize>,
        columns: usize,
    ) -> Result<StoredMatrix, EngineError> {
        self.matrix_optional(name, rows, columns)?
            .ok_or_else(|| Self::missing(name))
    }

    /// Like [`matrix`](Self::matrix), but `None` when there is no such tensor.
    pub(crate) fn matrix_optional(
        &self,
        name: &str,
        rows: Option<usize>,
        columns: usize,
    ) -> Result<Option<StoredMatrix>, EngineError> {
        // The shape first: some tensors take work to read.
        self.asked.borrow_mut().insert(name.into());
        let Some(entry) = self.source.entry(name) else {
            return Ok(None);
        };
        let stored = &entry.shape;
        let rows = match (&stored[..], rows) {
            (&[found, width], None) if width == columns => found,
            (&[found, width], Some(rows)) if (found, width) == (rows, columns) => rows,
            _ => {
                let rows = rows.map_or("any number of".into(), |rows| rows.to_string());
                return Err(Self::misshapen(
                    name,
                    stored,
                    format!("{rows} rows of {columns}"),
                ));
            }
        };
        let matrix = StoredMatrix {
            ggml_type: entry.ggml_type,
            rows,
            columns,
            bytes: self.read(name)?.bytes,
        };
        requantize(matrix, self.format)
            .map(Some)
            .map_err(|error| unreadable(name, &error))
    }

    /// The vector `name`, which stays as it is stored: norms and biases are f32
    /// in every GGUF.
    pub(crate) fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>, EngineError> {
        self.vector_optional(name, len)?
            .ok_or_else(|| Self::missing(name))
    }

    /// Like [`vector`](Self::vector), but `None` when there is no such tensor.
    pub(crate) fn vector_optional(
        &self,
        name: &str,
        len: usize,
    ) -> Result<Option<Vec<f32>>, EngineError> {
        self.asked.borrow_mut().insert(name.into());
        let Some(entry) = self.source.entry(name) else {
            return Ok(None);
        };
        let stored = &entry.shape;
        if stored[..] != [len] {
            return Err(Self::misshapen(name, stored, format!("{len} values")));
        }
        dequantize(&self.read(name)?).map(Some)
    }

    fn read(&self, name: &str) -> Result<Stored<'_>, EngineError> {
        self.source.tensor(name).ok_or_else(|| Self::missing(name))
    }

    /// The error for a matrix with too few rows.
    pub(crate) fn missing_rows(name: &str, found: usize, wanted: usize) -> EngineError {
        EngineError::new(
            FailureKind::Load,
            format!("tensor `{name}` has {found} rows; the context needs {wanted}"),
        )
    }

    fn misshapen(name: &str, stored: &[usize], wanted: String) -> EngineError {
        EngineError::new(
            FailureKind::Load,
            format!("tensor `{name}` has shape {stored:?}; the model's metadata asks for {wanted}"),
        )
    }
}

/// `matrix` stored in `format`, by the rules of [`quant::round_trip_rows`].
fn requantize(matrix: StoredMatrix, format: NumberFormat) -> Result<StoredMatrix, QuantError> {
    if format == NumberFormat::F32 {
        return Ok(matrix);
    }
    let mut values = matrix.to_f32()?;
    let ggml_type = match quant::ggml_type(format) {
        Some(ggml_type) => quant::fitting(ggml_type, matrix.columns),
        // GGUF has no type for the schemes of Core ML.
        None => {
            quant::round_trip_rows(&mut values, matrix.columns, format)?;
            GgmlType::F32
        }
    };
    let mut bytes = vec![0; values.len() / ggml_type.block_size() * ggml_type.block_bytes()];
    quant::quantize(ggml_type, &values, matrix.columns, &mut bytes)?;
    Ok(StoredMatrix {
        ggml_type,
        bytes: bytes.into(),
        ..matrix
    })
}

/// Index of the first NaN or infinity that `tensor` holds once dequantized.
///
/// # Errors
/// When its type cannot be dequantized here.
///
/// ```
/// use harness_reference::gguf::GgmlType;
/// use harness_reference::{Stored, TensorEntry, first_non_finite};
///
/// let entry = TensorEntry {
///     name: "output_norm.weight".into(),
///     ggml_type: GgmlType::F32,
///     shape: vec![3],
/// };
/// let bytes = [1.0, f32::NAN, f32::INFINITY].map(f32::to_le_bytes).concat();
/// let tensor = Stored { entry: &entry, bytes: bytes.into() };
/// assert_eq!(first_non_finite(&tensor)?, Some(1));
/// # Ok::<(), engine::EngineError>(())
/// ```
pub fn first_non_finite(tensor: &Stored<'_>) -> Result<Option<usize>, EngineError> {
    let values = dequantize(tensor)?;
    Ok(values.iter().position(|value| !value.is_finite()))
}

fn dequantize(tensor: &Stored<'_>) -> Result<Vec<f32>, EngineError> {
    let mut values = vec![0.0; tensor.entry.elements()];
    quant::dequantize(tensor.entry.ggml_type, &tensor.bytes, &mut values)
        .map_err(|error| unreadable(&tensor.entry.name, &error))?;
    Ok(values)
}

fn unreadable(name: &str, error: &QuantError) -> EngineError {
    let kind = match error {
        QuantError::NotRead(_) => FailureKind::Unsupported,
        _ => FailureKind::Load,
    };
    EngineError::new(kind, format!("tensor `{name}`: {error}"))
}
