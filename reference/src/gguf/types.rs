//! GGML's tensor types.

use std::fmt;

macro_rules! ggml_types {
    ($($variant:ident = $id:literal $name:literal $block:literal $bytes:literal,)*) => {
        /// How the numbers of a tensor are stored: single values or blocks
        /// that share scales.
        ///
        /// ```
        /// use harness_reference::gguf::GgmlType;
        ///
        /// // 32 numbers in 18 bytes: a scale in half precision, then four bits each.
        /// let ty = GgmlType::Q4_0;
        /// assert_eq!((ty.block_size(), ty.block_bytes()), (32, 18));
        /// assert_eq!(ty.row_bytes(4096), Some(2304));
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(missing_docs)] // The names are GGML's own.
        #[repr(u32)]
        pub enum GgmlType {
            $($variant = $id,)*
        }

        impl GgmlType {
            /// Every type, in order of its number.
            pub const ALL: &'static [GgmlType] = &[$(GgmlType::$variant,)*];

            /// The type that `id` stands for in files.
            pub(super) fn from_id(id: u32) -> Option<Self> {
                match id {
                    $($id => Some(GgmlType::$variant),)*
                    _ => None,
                }
            }

            /// GGML's name in lower case, e.g. `q4_k`.
            ///
            /// ```
            /// use harness_reference::gguf::GgmlType;
            ///
            /// assert_eq!(GgmlType::Q4K.name(), "q4_k");
            /// assert_eq!(format!("{:>6}", GgmlType::Q4K), "  q4_k");
            /// ```
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(GgmlType::$variant => $name,)*
                }
            }

            /// Numbers in a block; the length of a row is a multiple of it.
            ///
            /// ```
            /// use harness_reference::gguf::GgmlType;
            ///
            /// // K-quants need rows of multiples of 256 numbers.
            /// let fits = |ty: &GgmlType| 320_usize.is_multiple_of(ty.block_size());
            /// assert!(fits(&GgmlType::Q8_0) && !fits(&GgmlType::Q6K));
            /// ```
            #[must_use]
            pub fn block_size(self) -> usize {
                match self {
                    $(GgmlType::$variant => $block,)*
                }
            }

            /// Bytes of a block.
            ///
            /// ```
            /// use harness_reference::gguf::GgmlType;
            ///
            /// let ty = GgmlType::Q6K;
            /// let bits_per_weight = ty.block_bytes() as f64 * 8.0 / ty.block_size() as f64;
            /// assert_eq!(bits_per_weight, 6.5625);
            /// ```
            #[must_use]
            pub fn block_bytes(self) -> usize {
                match self {
                    $(GgmlType::$variant => $bytes,)*
                }
            }
        }
    };
}

// ggml.h of llama.cpp; gaps are types that GGML has withdrawn from files.
ggml_types! {
    F32 = 0 "f32" 1 4,
    F16 = 1 "f16" 1 2,
    Q4_0 = 2 "q4_0" 32 18,
    Q4_1 = 3 "q4_1" 32 20,
    Q5_0 = 6 "q5_0" 32 22,
    Q5_1 = 7 "q5_1" 32 24,
    Q8_0 = 8 "q8_0" 32 34,
    Q8_1 = 9 "q8_1" 32 36,
    Q2K = 10 "q2_k" 256 84,
    Q3K = 11 "q3_k" 256 110,
    Q4K = 12 "q4_k" 256 144,
    Q5K = 13 "q5_k" 256 176,
    Q6K = 14 "q6_k" 256 210,
    Q8K = 15 "q8_k" 256 292,
    Iq2Xxs = 16 "iq2_xxs" 256 66,
    Iq2Xs = 17 "iq2_xs" 256 74,
    Iq3Xxs = 18 "iq3_xxs" 256 98,
    Iq1S = 19 "iq1_s" 256 50,
    Iq4Nl = 20 "iq4_nl" 32 18,
    Iq3S = 21 "iq3_s" 256 110,
    Iq2S = 22 "iq2_s" 256 82,
    Iq4Xs = 23 "iq4_xs" 256 136,
    I8 = 24 "i8" 1 1,
    I16 = 25 "i16" 1 2,
    I32 = 26 "i32" 1 4,
    I64 = 27 "i64" 1 8,
    F64 = 28 "f64" 1 8,
    Iq1M = 29 "iq1_m" 256 56,
    Bf16 = 30 "bf16" 1 2,
    Tq1_0 = 34 "tq1_0" 256 54,
    Tq2_0 = 35 "tq2_0" 256 66,
    Mxfp4 = 39 "mxfp4" 32 17,
    Nvfp4 = 40 "nvfp4" 64 36,
    Q1_0 = 41 "q1_0" 128 18,
    Q2_0 = 42 "q2_0" 64 18,
}

impl GgmlType {
    /// The number that stands for this type in files.
    pub(super) fn id(self) -> u32 {
        self as u32
    }

    /// Bytes of a row of `len` numbers; `None` when `len` is no whole number
    /// of blocks or the bytes cannot be counted.
    ///
    /// ```
    /// use harness_reference::gguf::GgmlType;
    ///
    /// assert_eq!(GgmlType::Q8_0.row_bytes(64), Some(2 * 34));
    /// assert_eq!(GgmlType::Q8_0.row_bytes(65), None);
    /// ```
    #[must_use]
    pub fn row_bytes(self, len: usize) -> Option<usize> {
        if !len.is_multiple_of(self.block_size()) {
            return None;
        }
        (len / self.block_size()).checked_mul(self.block_bytes())
    }
}

impl fmt::Display for GgmlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back() {
        for &ty in GgmlType::ALL {
            assert_eq!(GgmlType::from_id(ty.id()), Some(ty));
        }
        // Withdrawn (Q4_2, Q4_0_4_4, IQ4_NL_4_4) and never given out.
        for id in [4, 5, 31, 33, 36, 38, 43, u32::MAX] {
            assert_eq!(GgmlType::from_id(id), None, "{id}");
        }
    }

    #[test]
    fn rows_are_whole_blocks() {
        assert_eq!(GgmlType::Q4_0.row_bytes(64), Some(36));
        assert_eq!(GgmlType::Q4_0.row_bytes(33), None);
        assert_eq!(GgmlType::F64.row_bytes(usize::MAX), None);
    }
}
