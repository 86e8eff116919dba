//! The table of kernels, compiled once per instruction set.

use std::ops::Range;

#[cfg(target_arch = "x86_64")]
use super::amx;
use super::attention::{AttendOne, AttendPanel};
use super::matrix::{Lanes, Matrix};
use super::product::{Output, Scratch};
#[cfg(target_arch = "aarch64")]
use super::simd::Neon;
#[cfg(target_arch = "x86_64")]
use super::simd::{Avx2, Avx512};
use super::simd::{Isa, Portable};
use super::{attention, elementwise, product};
use crate::hyperparameters::{Activation, NormKind};

macro_rules! kernels {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $ty:ty),* $(,)?) in $module:ident;)*) => {
        /// The kernels of one instruction set.
        ///
        /// # Safety
        /// Pointers are as the generic function behind each says.
        #[derive(Clone, Copy)]
        pub(super) struct Kernels {
            $($(#[$doc])* pub(super) $name: unsafe fn($($ty),*),)*
            /// Makes of a panel what `gemm` takes, where that is something else:
            /// panel, features, and [`split_lanes`] lanes of output.
            pub(super) split: Option<unsafe fn(*const f32, usize, *mut Lanes)>,
        }

        impl Kernels {
            /// Those of an instruction set that this processor has.
            pub(super) fn of(isa: Isa) -> Self {
                match isa {
                    #[cfg(target_arch = "x86_64")]
                    Isa::Amx => Kernels {
                        split: Some(amx::split),
                        gemm: amx::gemm,
                        ..avx512()
                    },
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512 => avx512(),
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2 => avx2(),
                    #[cfg(target_arch = "aarch64")]
                    Isa::Neon => neon(),
                    Isa::Portable => portable(),
                }
            }
        }

        kernels!(@table #[cfg(target_arch = "x86_64")] avx512 Avx512
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
            $($name($($arg: $ty),*) in $module;)*);
        kernels!(@table #[cfg(target_arch = "x86_64")] avx2 Avx2
            #[target_feature(enable = "avx2,fma,f16c")]
            $($name($($arg: $ty),*) in $module;)*);
        kernels!(@table #[cfg(target_arch = "aarch64")] neon Neon
            #[target_feature(enable = "neon")]
            $($name($($arg: $ty),*) in $module;)*);
        kernels!(@table #[cfg(all())] portable Portable
            #[inline(never)]
            $($name($($arg: $ty),*) in $module;)*);
    };
    (@table #[$cfg:meta] $table:ident $simd:ident #[$attribute:meta]
        $($name:ident($($arg:ident: $ty:ty),*) in $module:ident;)*) => {
        #[$cfg]
        fn $table() -> Kernels {
            $(
                #[$attribute]
                unsafe fn $name($($arg: $ty),*) {
                    // SAFETY: the kernel's own contract; `Isa` says that the
                    // processor has these instructions.
                    unsafe { $module::$name::<$simd>($($arg),*) }
                }
            )*
            Kernels { $($name,)* split: None }
        }
    };
}

/// Lanes that `split` makes of a panel of so many features.
pub(super) fn split_lanes(features: usize) -> usize {
    #[cfg(target_arch = "x86_64")]
    return amx::split_lanes(features);
    #[cfg(not(target_arch = "x86_64"))]
    features
}

kernels! {
    fn gemm(matrix: &Matrix, rows: Range<usize>, x: *const f32, panels: usize, out: Output, scratch: &mut Scratch) in product;
    fn matvec(matrix: &Matrix, rows: Range<usize>, x: *const f32, out: *mut f32) in product;
    fn attend_panel(task: &AttendPanel<'_>, scratch: &mut Scratch) in attention;
    fn attend_one(task: &AttendOne<'_>, scores: &mut [Lanes]) in attention;
    fn norm_panel(x: *const f32, weight: &[f32], bias: Option<&[f32]>, kind: NormKind, out: *mut f32) in elementwise;
    fn norm_vector(x: *const f32, weight: &[f32], bias: Option<&[f32]>, kind: NormKind, out: *mut f32) in elementwise;
    fn rotate_panel(x: *mut f32, pairs: &[(usize, usize)], cos: &[Lanes], sin: &[Lanes]) in elementwise;
    fn activate(activation: Activation, gate: Option<&[f32]>, up: &mut [f32]) in elementwise;
    fn softcap(x: &mut [f32], cap: f32) in elementwise;
    fn decode(matrix: &Matrix, row: usize, out: &mut [f32]) in product;
}
