//! Number formats of weights, activations and KV caches.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A storage format for numbers, named as GGUF names it (lower case), or a
/// weight compression of Core ML: `palette4-g16`, tables of 16 levels for 16
/// output channels each, and `int4-b32`, 4-bit codes under a scale for 32
/// inputs.
///
/// ```
/// use harness_engine::NumberFormat;
///
/// let format: NumberFormat = "Q4_K".parse()?;
/// assert_eq!(format, NumberFormat::Q4K);
/// assert_eq!(format.name(), "q4_k");
/// # Ok::<(), harness_engine::UnknownFormat>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // The names are the field's own; `structure` says what they are.
pub enum NumberFormat {
    F32,
    F16,
    Bf16,
    Q8_0,
    Q6K,
    Q5K,
    Q5_1,
    Q5_0,
    Q4K,
    Q4_1,
    Iq4Nl,
    Iq4Xs,
    Q4_0,
    #[serde(rename = "palette4-g16")]
    Palette4G16,
    #[serde(rename = "int4-b32")]
    Int4B32,
    Q3K,
    Q2K,
}

/// How a format spends its bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Structure {
    /// Floating point with this many significant bits, the hidden one included.
    Float { significand_bits: i32 },
    /// Blocks of `block` weights share a scale so that the largest magnitude
    /// lands on level `levels`.
    Symmetric { block: u32, levels: u32 },
    /// Blocks of `block` weights share a scale and a minimum; their range is
    /// cut into `steps`.
    Affine { block: u32, steps: u32 },
    /// The 16 levels of least squared error.
    Palette16,
}

impl NumberFormat {
    /// Every format, finest first.
    pub const ALL: [NumberFormat; 17] = [
        NumberFormat::F32,
        NumberFormat::F16,
        NumberFormat::Bf16,
        NumberFormat::Q8_0,
        NumberFormat::Q6K,
        NumberFormat::Q5K,
        NumberFormat::Q5_1,
        NumberFormat::Q5_0,
        NumberFormat::Q4K,
        NumberFormat::Q4_1,
        NumberFormat::Iq4Nl,
        NumberFormat::Iq4Xs,
        NumberFormat::Q4_0,
        NumberFormat::Palette4G16,
        NumberFormat::Int4B32,
        NumberFormat::Q3K,
        NumberFormat::Q2K,
    ];

    /// The name used in engine specs, e.g. `q4_k`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            NumberFormat::F32 => "f32",
            NumberFormat::F16 => "f16",
            NumberFormat::Bf16 => "bf16",
            NumberFormat::Q8_0 => "q8_0",
            NumberFormat::Q6K => "q6_k",
            NumberFormat::Q5K => "q5_k",
            NumberFormat::Q5_1 => "q5_1",
            NumberFormat::Q5_0 => "q5_0",
            NumberFormat::Q4K => "q4_k",
            NumberFormat::Q4_1 => "q4_1",
            NumberFormat::Iq4Nl => "iq4_nl",
            NumberFormat::Iq4Xs => "iq4_xs",
            NumberFormat::Q4_0 => "q4_0",
            NumberFormat::Palette4G16 => "palette4-g16",
            NumberFormat::Int4B32 => "int4-b32",
            NumberFormat::Q3K => "q3_k",
            NumberFormat::Q2K => "q2_k",
        }
    }

    /// Storage cost with scales and minima, from the block layouts. Palettes
    /// are left out: what a table costs a weight depends on the matrix.
    ///
    /// ```
    /// use harness_engine::NumberFormat;
    ///
    /// // A model of 1.1 billion weights in GiB, and what a pass over it reads.
    /// let gib = |format: NumberFormat| 1.1e9 * format.bits_per_weight() / 8.0 / f64::from(1 << 30);
    /// assert_eq!(format!("{:.2}", gib(NumberFormat::F16)), "2.05");
    /// assert_eq!(format!("{:.2}", gib(NumberFormat::Q4_0)), "0.58");
    /// ```
    #[must_use]
    pub fn bits_per_weight(self) -> f64 {
        match self {
            NumberFormat::F32 => 32.0,
            NumberFormat::F16 | NumberFormat::Bf16 => 16.0,
            NumberFormat::Q8_0 => 34.0 * 8.0 / 32.0,
            NumberFormat::Q6K => 210.0 * 8.0 / 256.0,
            NumberFormat::Q5K => 176.0 * 8.0 / 256.0,
            NumberFormat::Q5_1 => 24.0 * 8.0 / 32.0,
            NumberFormat::Q5_0 => 22.0 * 8.0 / 32.0,
            NumberFormat::Q4K => 144.0 * 8.0 / 256.0,
            NumberFormat::Q4_1 => 20.0 * 8.0 / 32.0,
            NumberFormat::Iq4Nl => 18.0 * 8.0 / 32.0,
            NumberFormat::Iq4Xs => 136.0 * 8.0 / 256.0,
            NumberFormat::Q4_0 => 18.0 * 8.0 / 32.0,
            NumberFormat::Palette4G16 => 4.0,
            NumberFormat::Int4B32 => 4.0 + 16.0 / 32.0,
            NumberFormat::Q3K => 110.0 * 8.0 / 256.0,
            NumberFormat::Q2K => 84.0 * 8.0 / 256.0,
        }
    }

    pub(crate) fn structure(self) -> Structure {
        use Structure::{Affine, Float, Palette16, Symmetric};
        match self {
            NumberFormat::F32 => Float {
                significand_bits: 24,
            },
            NumberFormat::F16 => Float {
                significand_bits: 11,
            },
            NumberFormat::Bf16 => Float {
                significand_bits: 8,
            },
            NumberFormat::Q8_0 => Symmetric {
                block: 32,
                levels: 127,
            },
            NumberFormat::Q6K => Symmetric {
                block: 16,
                levels: 32,
            },
            NumberFormat::Q5K => Affine {
                block: 32,
                steps: 31,
            },
            NumberFormat::Q5_1 => Affine {
                block: 32,
                steps: 31,
            },
            NumberFormat::Q5_0 => Symmetric {
                block: 32,
                levels: 16,
            },
            NumberFormat::Q4K => Affine {
                block: 32,
                steps: 15,
            },
            NumberFormat::Q4_1 => Affine {
                block: 32,
                steps: 15,
            },
            // Steps of the table go from 11 about zero to 23 at its ends, ±127.
            // Under a normal density that reaches the ends at 2.4 standard
            // deviations, as the largest of 32 does, their root mean square is
            // 14: as fine as 127 / 14 even levels.
            NumberFormat::Iq4Nl | NumberFormat::Iq4Xs => Symmetric {
                block: 32,
                levels: 9,
            },
            NumberFormat::Q4_0 => Symmetric {
                block: 32,
                levels: 8,
            },
            NumberFormat::Palette4G16 => Palette16,
            NumberFormat::Int4B32 => Symmetric {
                block: 32,
                levels: 7,
            },
            NumberFormat::Q3K => Symmetric {
                block: 16,
                levels: 4,
            },
            NumberFormat::Q2K => Affine {
                block: 16,
                steps: 3,
            },
        }
    }
}

impl fmt::Display for NumberFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is no number format.
///
/// ```
/// use harness_engine::NumberFormat;
///
/// let error = "int3".parse::<NumberFormat>().map_err(|error| error.to_string());
/// assert!(error.is_err_and(|message| message.starts_with("no such number format; known: f32")));
/// ```
#[derive(Debug, thiserror::Error)]
#[error("no such number format; known: {}", NumberFormat::ALL.map(NumberFormat::name).join(", "))]
pub struct UnknownFormat;

impl FromStr for NumberFormat {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        let text = text.to_ascii_lowercase();
        NumberFormat::ALL
            .into_iter()
            .find(|format| format.name() == text)
            .ok_or(UnknownFormat)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for format in NumberFormat::ALL {
            assert_eq!(format.name().parse::<NumberFormat>().unwrap(), format);
            let json = serde_json::to_string(&format).unwrap();
            assert_eq!(json, format!("\"{format}\""));
        }
        assert!("q4_9".parse::<NumberFormat>().is_err());
    }
}
