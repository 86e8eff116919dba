//! The reference engine keeps the promises of the seam, on the real fixture.
#![allow(clippy::unwrap_used)] // Fixture code of a test may panic.

use engine::{EngineSpec, ModelArtifact, conformance};
use harness_reference::Reference;

#[test]
fn every_option_conforms() {
    let model = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
    for spec in [
        "reference",
        "reference:weights=q4_0,kv=f16",
        "reference:activations=f16,weights=f16",
        "reference:activations=bf16,threads=1,ctx=64",
        "reference:kernels=portable,weights=q8_0,kv=q8_0",
        "reference:kernels=plain,kv=f16",
    ] {
        let spec: EngineSpec = spec.parse().unwrap();
        let report = conformance::check(&Reference, &model, &spec.options).unwrap();
        assert!(report.passed(), "{spec}\n{report}");
    }
}
