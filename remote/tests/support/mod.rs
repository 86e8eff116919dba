//! Engines in Python, started by the tests.

use engine::{ArtifactFormat, ArtifactSource, EngineSpec, ModelArtifact};

/// Spec of the engine in `script`, a path from this crate's folder; `rest` closes the quote
/// about the path, and goes on with arguments and options.
pub(crate) fn spec(script: &str, rest: &str) -> EngineSpec {
    let folder = env!("CARGO_MANIFEST_DIR");
    format!("stdio:command=python3 '{folder}/{script}{rest}")
        .parse()
        .unwrap()
}

/// A model that these engines do not look at.
pub(crate) fn model() -> ModelArtifact {
    ModelArtifact {
        name: "none".into(),
        source: ArtifactSource::Embedded(b"GGUF"),
        format: ArtifactFormat::Gguf,
        sha256: String::new(),
        size_bytes: 4,
    }
}
