//! Arrays over our own memory, and what is in arrays of Core ML's.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::cell::RefCell;
use std::ffi::c_void;
use std::ops::Range;
use std::ptr::NonNull;
use std::slice;

use block2::RcBlock;
use half::f16;
use half::slice::HalfFloatSliceExt;
use objc2::AnyThread;
use objc2::rc::Retained;
use objc2_core_ml::{MLMultiArray, MLMultiArrayDataType};
use objc2_foundation::{NSArray, NSNumber};

use super::super::fault::Fault;
use super::super::strided::{Element, Strided};
use super::{broken, fault};
use crate::tensor::{Data, DataType, Tensor, strides};

/// Memory that devices can map begins on a page, of 16 KiB on Apple silicon.
const PAGE_BYTES: usize = 16 << 10;

/// An array and the memory under it, contiguous. The array owns the memory: it is freed
/// with the last reference, which Core ML may hold.
pub(super) struct Pinned {
    pub(super) array: Retained<MLMultiArray>,
    pub(super) shape: Vec<usize>,
    pub(super) dtype: DataType,
    memory: NonNull<u8>,
    bytes: usize,
}

impl Pinned {
    pub(super) fn new(dtype: DataType, shape: &[usize]) -> Result<Self, Fault> {
        let (kind, size) = match dtype {
            DataType::Float16 => (MLMultiArrayDataType::Float16, 2),
            DataType::Float32 => (MLMultiArrayDataType::Float32, 4),
            DataType::Int32 => (MLMultiArrayDataType::Int32, 4),
            other => return Err(broken(format!("no array of {other} is made here"))),
        };
        let bytes = shape.iter().product::<usize>() * size;
        let layout = Layout::from_size_align(bytes.max(1), PAGE_BYTES);
        let layout = layout.map_err(|error| broken(error.to_string()))?;
        // SAFETY: the layout is of at least one byte.
        let memory = NonNull::new(unsafe { alloc_zeroed(layout) });
        let memory = memory.ok_or_else(|| broken(format!("failed to allocate {bytes} bytes")))?;
        let free = RcBlock::new(move |memory: NonNull<c_void>| {
            // SAFETY: Core ML hands back what was allocated above with this layout, once.
            unsafe { dealloc(memory.as_ptr().cast(), layout) }
        });
        let (extents, steps) = (numbers(shape), numbers(&strides(shape)));
        // SAFETY: the memory holds as many elements of that type as the contiguous shape
        // has, and lives until the deallocator is called.
        let array = unsafe {
            MLMultiArray::initWithDataPointer_shape_dataType_strides_deallocator_error(
                MLMultiArray::alloc(),
                memory.cast(),
                &extents,
                kind,
                &steps,
                Some(&free),
            )
        };
        Ok(Self {
            array: array.map_err(|error| fault(&error))?,
            shape: shape.into(),
            dtype,
            memory,
            bytes,
        })
    }

    /// Writes the elements of a tensor of the same type and shape.
    pub(super) fn write(&mut self, tensor: &Tensor) -> Result<(), Fault> {
        // SAFETY: `array` keeps the memory alive, and no prediction that would read it is
        // under way while this one reference to it is held exclusively.
        let bytes = unsafe { slice::from_raw_parts_mut(self.memory.as_ptr(), self.bytes) };
        let fits = tensor.shape == self.shape && tensor.dtype == self.dtype;
        match (&tensor.data, self.dtype) {
            (Data::Int(values), DataType::Int32) if fits => {
                for (bytes, value) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(values.iter()) {
                    *bytes = value.to_ne_bytes();
                }
            }
            (Data::Float(values), DataType::Float32) if fits => {
                for (bytes, value) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(values.iter()) {
                    *bytes = value.to_ne_bytes();
                }
            }
            (Data::Float(values), DataType::Float16) if fits => {
                let mut halves = vec![f16::ZERO; values.len()];
                halves.convert_from_f32_slice(values);
                for (bytes, half) in bytes.as_chunks_mut::<2>().0.iter_mut().zip(halves) {
                    *bytes = half.to_ne_bytes();
                }
            }
            _ => return Err(broken(format!("{} is no {}", tensor.dtype, self.dtype))),
        }
        Ok(())
    }
}

fn numbers(sizes: &[usize]) -> Retained<NSArray<NSNumber>> {
    let numbers: Vec<_> = sizes
        .iter()
        .map(|&size| NSNumber::new_usize(size))
        .collect();
    NSArray::from_retained_slice(&numbers)
}

fn sizes(numbers: &NSArray<NSNumber>) -> Vec<usize> {
    numbers.iter().map(|number| number.as_usize()).collect()
}

/// Extents of `array`.
pub(super) fn shape(array: &MLMultiArray) -> Vec<usize> {
    // SAFETY: the property has no preconditions.
    let shape = unsafe { array.shape() };
    sizes(&shape)
}

/// Element type of `array`.
pub(super) fn dtype(array: &MLMultiArray) -> Result<DataType, Fault> {
    // SAFETY: the property has no preconditions.
    match unsafe { array.dataType() } {
        MLMultiArrayDataType::Float16 => Ok(DataType::Float16),
        MLMultiArrayDataType::Float32 => Ok(DataType::Float32),
        MLMultiArrayDataType::Float64 => Ok(DataType::Float64),
        other => Err(broken(format!("an answer of element type {}", other.0))),
    }
}

/// The elements `extent` of `array`, counted from first to last.
pub(super) fn read(array: &MLMultiArray, extent: Range<usize>) -> Result<Vec<f32>, Fault> {
    let element = match dtype(array)? {
        DataType::Float16 => Element::Float16,
        DataType::Float32 => Element::Float32,
        _ => Element::Float64,
    };
    let shape = shape(array);
    // SAFETY: the property has no preconditions.
    let strides = unsafe { array.strides() };
    let strides = sizes(&strides);
    let values = RefCell::new(Err("its bytes were not handed over".to_owned()));
    let reader = RcBlock::new(|bytes: NonNull<c_void>, count: isize| {
        // SAFETY: within this block Core ML vouches for so many bytes.
        let bytes = unsafe {
            slice::from_raw_parts(
                bytes.as_ptr().cast_const().cast::<u8>(),
                count.max(0) as usize,
            )
        };
        let array = Strided {
            bytes,
            element,
            shape: &shape,
            strides: &strides,
        };
        *values.borrow_mut() = array.read(extent.clone());
    });
    // SAFETY: the handler is called before the method returns, and not after.
    unsafe { array.getBytesWithHandler(&reader) };
    drop(reader);
    values.into_inner().map_err(broken)
}
