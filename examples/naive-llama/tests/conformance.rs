//! The promises of the seam, kept by this engine.

use engine::{EngineOptions, ModelArtifact, conformance};
use naive_llama::NaiveLlama;

#[test]
fn keeps_the_promises_of_the_seam() {
    let model = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
    let report = conformance::check(&NaiveLlama, &model, &EngineOptions::default()).unwrap();
    assert!(report.passed(), "{report}");
}
