//! Where tensors lie and what they hold.

use std::collections::HashMap;
use std::ops::Range;

use super::cursor::Cursor;
use super::parse::malformed;
use super::{GgmlType, GgufError};

/// GGML's tensors have four dimensions at most.
pub(super) const MAX_DIMS: usize = 4;

/// A tensor's shape, type and place.
///
/// ```
/// use harness_reference::gguf::{GgmlType, Header};
///
/// let header = Header::parse(fixtures::MODEL)?;
/// let gate = header.tensor("blk.0.ffn_gate.weight").ok_or("no gate")?;
/// // From 256 features to 768.
/// assert_eq!((&gate.dims[..], gate.ggml_type), (&[256, 768][..], GgmlType::F16));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Name, e.g. `blk.0.attn_q.weight`.
    pub name: String,
    /// Extents, fastest-changing dimension first: a matrix that maps `n` inputs
    /// to `m` outputs is `[n, m]`. Their product fits a `usize`.
    pub dims: Vec<u64>,
    /// Storage type.
    pub ggml_type: GgmlType,
    /// Start of the data within the file's data section.
    pub offset: u64,
    /// Checked against the file, hence not for others to set.
    range: Range<usize>,
}

impl TensorInfo {
    /// The data's bytes within the file.
    ///
    /// ```
    /// use harness_reference::gguf::Header;
    ///
    /// let header = Header::parse(fixtures::MODEL)?;
    /// let norm = header.tensor("output_norm.weight").ok_or("no norm")?;
    /// let data = &fixtures::MODEL[norm.range()];
    /// assert_eq!(data.len(), 256 * size_of::<f32>());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }
}

type Tensors = (Vec<TensorInfo>, HashMap<String, usize>);

pub(super) fn read_tensors(
    cursor: &mut Cursor<'_>,
    count: usize,
    alignment: usize,
) -> Result<Tensors, GgufError> {
    let mut tensors = Vec::new();
    let mut index = HashMap::new();
    for number in 0..count {
        let at = cursor.at();
        let name = cursor.string(format_args!("the name of tensor {number}"))?;
        if index.insert(name.to_owned(), number).is_some() {
            return Err(GgufError::Duplicate {
                what: "tensor",
                name: name.into(),
                at,
            });
        }
        tensors.push(read_tensor(cursor, name, alignment)?);
    }
    if count > 0 {
        place(cursor, &mut tensors, alignment)?;
    }
    Ok((tensors, index))
}

/// Reads one tensor's description; its range stays relative to the data
/// section, which begins where the last description ends.
fn read_tensor(
    cursor: &mut Cursor<'_>,
    name: &str,
    alignment: usize,
) -> Result<TensorInfo, GgufError> {
    let fault = |at, why: String| malformed(format_args!("tensor `{name}`"), at, why);

    let at = cursor.at();
    let n_dims = cursor.u32(format_args!("the number of dimensions of tensor `{name}`"))? as usize;
    if n_dims > MAX_DIMS {
        return Err(fault(
            at,
            format!("{n_dims} dimensions, but {MAX_DIMS} is the most there can be"),
        ));
    }
    let at = cursor.at();
    let mut dims = Vec::with_capacity(n_dims);
    for axis in 0..n_dims {
        dims.push(cursor.u64(format_args!("dimension {axis} of tensor `{name}`"))?);
    }
    if dims.contains(&0) {
        return Err(fault(at, format!("a dimension of {dims:?} is zero")));
    }

    let at = cursor.at();
    let id = cursor.u32(format_args!("the type of tensor `{name}`"))?;
    let ggml_type = GgmlType::from_id(id).ok_or_else(|| GgufError::UnknownType {
        tensor: name.into(),
        at,
        id,
    })?;
    let bytes = tensor_bytes(&dims, ggml_type).map_err(|why| fault(at, why))?;

    let at = cursor.at();
    let offset = cursor.u64(format_args!("the offset of tensor `{name}`"))?;
    if !offset.is_multiple_of(alignment as u64) {
        return Err(fault(
            at,
            format!("offset {offset} is no multiple of the alignment {alignment}"),
        ));
    }
    // Saturated ends lie beyond the end of any file, which `place` refuses.
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    let range = start..start.saturating_add(bytes);
    Ok(TensorInfo {
        name: name.into(),
        dims,
        ggml_type,
        offset,
        range,
    })
}

/// Bytes that a tensor takes, or what is wrong with its shape.
pub(super) fn tensor_bytes(dims: &[u64], ty: GgmlType) -> Result<usize, String> {
    let row = dims.first().copied().unwrap_or(1);
    if !row.is_multiple_of(ty.block_size() as u64) {
        return Err(format!(
            "rows of {row} numbers are no whole blocks of {}, as {ty} needs",
            ty.block_size()
        ));
    }
    // The elements must be countable too: types of a few bits have more
    // elements than bytes.
    dims.iter()
        .try_fold(1u64, |product, &dim| product.checked_mul(dim))
        .and_then(|elements| usize::try_from(elements).ok())
        .and_then(|elements| ty.row_bytes(elements))
        .ok_or_else(|| format!("the size of shape {dims:?} overflows"))
}

/// Moves ranges to where the data section begins, and refuses those that leave
/// the file or run into one another.
fn place(
    cursor: &Cursor<'_>,
    tensors: &mut [TensorInfo],
    alignment: usize,
) -> Result<(), GgufError> {
    let len = cursor.len();
    let base = cursor
        .position()
        .checked_next_multiple_of(alignment)
        .unwrap_or(usize::MAX);
    for tensor in tensors.iter_mut() {
        let start = tensor.range.start.saturating_add(base);
        let end = tensor.range.end.saturating_add(base);
        if end > len {
            return Err(GgufError::TruncatedData {
                tensor: tensor.name.clone(),
                start: start as u64,
                end: end as u64,
                len: len as u64,
            });
        }
        tensor.range = start..end;
    }
    let mut by_start: Vec<&TensorInfo> = tensors.iter().collect();
    by_start.sort_by_key(|tensor| tensor.range.start);
    match by_start
        .windows(2)
        .find(|pair| pair[1].range.start < pair[0].range.end)
    {
        None => Ok(()),
        Some(pair) => Err(GgufError::Overlap {
            first: pair[0].name.clone(),
            second: pair[1].name.clone(),
            at: pair[1].range.start as u64,
        }),
    }
}
