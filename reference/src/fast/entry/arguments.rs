//! What kernels are given, and the checks of it.

use bytes::Bytes;
use engine::NumberFormat;

use super::Kernels;
use crate::fast::attention;
use crate::fast::matrix::{self, Format};
use crate::fast::product::TILE_STRIDE;
use crate::gguf::GgmlType;
use crate::quant::QuantError;
use crate::weights::StoredMatrix;

/// Positions are compared as f32 while they are exact.
const MOST_POSITIONS: usize = 1 << 24;

/// Arguments that do not fit together.
///
/// ```
/// use harness_reference::kernels::{Kernels, NormKind};
///
/// let kind = NormKind::Rms { epsilon: 1e-5 };
/// let why = Kernels::best().norm(kind, &[1.0; 4], None, &mut [0.0; 6]);
/// let why = why.map_err(|error| error.to_string());
/// assert_eq!(why, Err("x: 6 elements instead of 4".into()));
/// ```
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum KernelError {
    /// No such instruction set, or not on this processor.
    #[error("no kernels `{name}` on this processor, which runs {}", Kernels::available().join(", "))]
    Unavailable {
        /// What was asked for.
        name: String,
    },
    /// A slice of the wrong length.
    #[error("{what}: {found} elements instead of {expected}")]
    Length {
        /// The argument.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The length that the other arguments ask for.
        expected: usize,
    },
    /// Extents that no kernel serves.
    #[error("{0}")]
    Shape(String),
    /// Weights that cannot be read.
    #[error(transparent)]
    Weights(#[from] QuantError),
}

pub(super) type Result<T> = std::result::Result<T, KernelError>;

pub(super) fn check(what: &'static str, found: usize, expected: usize) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(KernelError::Length {
        what,
        found,
        expected,
    })
}

/// Whole rows of `width` in `len` elements.
pub(super) fn rows_of(what: &'static str, len: usize, width: usize) -> Result<usize> {
    if width == 0 {
        return Err(KernelError::Shape(format!("{what}: rows of no elements")));
    }
    check(what, len, len / width * width)?;
    Ok(len / width)
}

/// A matrix `[rows, columns]` in a GGML type.
///
/// ```
/// use harness_reference::gguf::GgmlType;
/// use harness_reference::kernels::{Kernels, Matrix};
///
/// let rows: [f32; 4] = [1.0, 2.0, 3.0, 4.0];
/// let matrix = Matrix::new(GgmlType::F32, 2, 2, rows.map(f32::to_le_bytes).concat())?;
/// assert_eq!((matrix.rows(), matrix.columns()), (2, 2));
/// # Ok::<(), harness_reference::kernels::KernelError>(())
/// ```
pub struct Matrix(pub(super) matrix::Matrix);

impl Matrix {
    /// `bytes` holds the rows one after the other, at any alignment. Types that
    /// no kernel reads are expanded to f32.
    ///
    /// # Errors
    /// [`KernelError::Shape`] for a matrix without elements or with rows of no
    /// whole blocks, [`KernelError::Length`] when `bytes` is not as long as the
    /// shape says, and [`KernelError::Weights`] for types that are not read.
    ///
    /// ```
    /// use harness_reference::gguf::GgmlType;
    /// use harness_reference::kernels::{KernelError, Matrix};
    ///
    /// // Two rows of a block of 18 bytes.
    /// assert!(Matrix::new(GgmlType::Q4_0, 2, 32, vec![0; 36]).is_ok());
    /// let half_blocks = Matrix::new(GgmlType::Q4_0, 2, 16, vec![0; 18]);
    /// assert!(matches!(half_blocks, Err(KernelError::Shape(_))));
    /// ```
    pub fn new(
        ggml_type: GgmlType,
        rows: usize,
        columns: usize,
        bytes: impl Into<Bytes>,
    ) -> Result<Self> {
        let bytes = bytes.into();
        let row_bytes = ggml_type.row_bytes(columns);
        let Some(expected) = row_bytes.and_then(|bytes| bytes.checked_mul(rows)) else {
            return Err(KernelError::Shape(format!(
                "rows of {columns} elements are no whole blocks of {ggml_type}"
            )));
        };
        if expected == 0 {
            return Err(KernelError::Shape("a matrix without elements".into()));
        }
        check("bytes of the matrix", bytes.len(), expected)?;
        let stored = StoredMatrix {
            ggml_type,
            rows,
            columns,
            bytes,
        };
        Ok(Self(matrix::Matrix::new(stored)?))
    }

    /// Outputs of its product.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.0.rows
    }

    /// Inputs of its product.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.0.columns
    }
}

/// Keys and values of one key/value head, in rows of several heads.
///
/// The rows are a ring: position `p` is in row `p mod rows`.
///
/// ```
/// use engine::NumberFormat;
/// use harness_reference::kernels::{Head, Kernels};
///
/// let values = [1f32, 2.0, 3.0, 6.0].map(f32::to_le_bytes).concat();
/// let head = Head {
///     format: NumberFormat::F32,
///     keys: &[0; 16],
///     values: &values,
///     width: 2,
///     column: 0,
///     dim: 2,
///     scale: 1.0,
///     softcap: None,
///     window: None,
/// };
/// let mut out = [0.0; 2];
/// // The query at position 1 sees both rows, and keys of zero weigh them alike.
/// Kernels::best().attend(&head, 1, &[1.0, 1.0], &mut out)?;
/// assert_eq!(out, [2.0, 4.0]);
/// # Ok::<(), harness_reference::kernels::KernelError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// f32, f16, or q8_0 as in GGML.
    pub format: NumberFormat,
    /// `[rows, width]`.
    pub keys: &'a [u8],
    /// `[rows, width]`.
    pub values: &'a [u8],
    /// Elements of a row: all heads side by side.
    pub width: usize,
    /// First element of this head in a row.
    pub column: usize,
    /// Elements of this head in a row.
    pub dim: usize,
    /// Factor of the scores, usually `1 / sqrt(dim)`.
    pub scale: f32,
    /// Scores become `cap · tanh(score / cap)`.
    pub softcap: Option<f32>,
    /// Positions that a query sees, its own included; all before it when `None`.
    pub window: Option<usize>,
}

impl<'a> Head<'a> {
    /// The kernels' own head, for queries at `first..first + queries`.
    pub(super) fn checked(&self, first: usize, queries: usize) -> Result<attention::Head<'a>> {
        let (format, ggml_type) = match self.format {
            NumberFormat::F32 => (Format::F32, GgmlType::F32),
            NumberFormat::F16 => (Format::F16, GgmlType::F16),
            NumberFormat::Q8_0 => (Format::Q8_0, GgmlType::Q8_0),
            other => {
                return Err(KernelError::Shape(format!(
                    "keys and values are f32, f16 or q8_0, not {other}"
                )));
            }
        };
        let whole = |len: usize| len.is_multiple_of(ggml_type.block_size());
        let fits = self.column.checked_add(self.dim);
        if self.dim == 0 || fits.is_none_or(|end| end > self.width) {
            return Err(KernelError::Shape(format!(
                "no head of {} elements at {} in rows of {}",
                self.dim, self.column, self.width
            )));
        }
        let row_bytes = match ggml_type.row_bytes(self.width) {
            Some(bytes) if whole(self.column) && whole(self.dim) => bytes,
            _ => {
                return Err(KernelError::Shape(format!(
                    "heads of {} elements at {} are no whole blocks of {}",
                    self.dim, self.column, self.format
                )));
            }
        };
        if self.dim > TILE_STRIDE {
            return Err(KernelError::Shape(format!(
                "heads of {} elements, more than {TILE_STRIDE}",
                self.dim
            )));
        }
        let capacity = rows_of("bytes of keys", self.keys.len(), row_bytes)?;
        check("bytes of values", self.values.len(), self.keys.len())?;
        let end = first
            .checked_add(queries)
            .filter(|&end| end <= MOST_POSITIONS)
            .ok_or_else(|| {
                KernelError::Shape(format!("positions beyond {MOST_POSITIONS} are not counted"))
            })?;
        let window = self.window.unwrap_or(usize::MAX);
        if window == 0 {
            return Err(KernelError::Shape("a window of no positions".into()));
        }
        let seen = end - (first + 1).saturating_sub(window);
        if seen > capacity {
            return Err(KernelError::Shape(format!(
                "queries at {first}..{end} look at {seen} positions, of which {capacity} are held"
            )));
        }
        Ok(attention::Head {
            format,
            keys: self.keys,
            values: self.values,
            row_bytes,
            column: self.column,
            capacity,
            dim: self.dim,
            scale: self.scale,
            softcap: self.softcap,
            window: self.window,
        })
    }
}
