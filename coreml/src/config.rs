//! The shape of the model that a package was made of, as the converter notes it.

use engine::{ModelConfig, NumberFormat};
use serde::Deserialize;

use crate::error::PackageError;
use crate::spec::Specification;

/// Key in a model's metadata.
const KEY: &str = "harness.config";

/// What `scripts/convert_coreml.py` knew of its source.
///
/// ```
/// use std::path::Path;
///
/// use harness_coreml::Package;
///
/// let package = Package::open(Path::new("tests/packages/tiny-fp16.mlpackage"))?;
/// let config = package.config()?.ok_or("not of our converter")?;
/// assert_eq!((config.model.layers, config.model.vocab), (2, 259));
/// assert_eq!(config.scheme.name(), "fp16");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Deserialize)]
pub struct Config {
    /// Layers, heads, vocabulary, context.
    #[serde(flatten)]
    pub model: ModelConfig,
    /// How matrices are stored.
    pub scheme: Scheme,
    /// SHA-256 of the file it was converted from.
    pub source_sha256: String,
}

/// Storage of matrices.
///
/// ```
/// use std::path::Path;
///
/// use harness_coreml::{Package, Scheme};
///
/// let package = Package::open(Path::new("tests/packages/tiny-multi.mlpackage"))?;
/// let scheme = package.config()?.map(|config| config.scheme);
/// assert_eq!(scheme, Some(Scheme::Palette4G16));
/// # Ok::<(), harness_coreml::PackageError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Scheme {
    /// Half precision.
    #[serde(rename = "fp16")]
    Fp16,
    /// Tables of 16 levels for 16 output channels.
    #[serde(rename = "palette4-g16")]
    Palette4G16,
    /// 4-bit codes under a scale for 32 inputs.
    #[serde(rename = "int4-b32")]
    Int4B32,
    /// 8-bit codes under a scale for 32 inputs.
    #[serde(rename = "int8-b32")]
    Int8B32,
}

impl Scheme {
    /// The number format with the same noise. Q8_0 is `int8-b32` by another name:
    /// 32 codes from −127 to 127 under an f16 scale.
    pub(crate) fn format(self) -> NumberFormat {
        match self {
            Scheme::Fp16 => NumberFormat::F16,
            Scheme::Palette4G16 => NumberFormat::Palette4G16,
            Scheme::Int4B32 => NumberFormat::Int4B32,
            Scheme::Int8B32 => NumberFormat::Q8_0,
        }
    }

    /// Name in options and records.
    ///
    /// ```
    /// use harness_coreml::Scheme;
    ///
    /// // As the options of the converter and `weights=` of the reference have it.
    /// assert_eq!(Scheme::Int4B32.name(), "int4-b32");
    /// ```
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Scheme::Fp16 => "fp16",
            Scheme::Palette4G16 => "palette4-g16",
            Scheme::Int4B32 => "int4-b32",
            Scheme::Int8B32 => "int8-b32",
        }
    }
}

impl Config {
    /// None in a package that another converter made.
    pub(crate) fn read(specification: &Specification) -> Result<Option<Self>, PackageError> {
        let Some(text) = specification.metadata.get(KEY) else {
            return Ok(None);
        };
        let config: Self = serde_json::from_str(text)
            .map_err(|error| PackageError::Specification(format!("metadata `{KEY}`: {error}")))?;
        Ok(Some(config))
    }
}
