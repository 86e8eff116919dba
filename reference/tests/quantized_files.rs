//! A quantized file and the `weights` option are two ways to the same model.
#![allow(clippy::unwrap_used)] // Fixture code of a test may panic.

use std::fs::File;

use engine::{Engine, EngineSpec, ModelArtifact, NumberFormat, Want};
use harness_reference::Reference;
use harness_reference::gguf::GgufFile;
use harness_reference::quant::file::{Plan, Recipe};

/// Bits of the logits after a few tokens.
fn logits(model: &ModelArtifact, spec: &str) -> Vec<u32> {
    let spec: EngineSpec = spec.parse().unwrap();
    let model = Reference.open(model, &spec.options).unwrap();
    let mut session = model.session().unwrap();
    let logits = session.extend(&[0, 300, 17, 2000], Want::Last).unwrap();
    logits.row(0).iter().map(|logit| logit.to_bits()).collect()
}

#[test]
fn files_say_what_the_option_says() {
    let original = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
    let source = GgufFile::open(&original).unwrap();
    let folder = tempfile::tempdir().unwrap();
    // One of each way of storing: single numbers, both kinds of blocks, a table,
    // a scheme that GGUF lacks.
    for format in [
        NumberFormat::Bf16,
        NumberFormat::Q5_0,
        NumberFormat::Q4K,
        NumberFormat::Iq4Xs,
        NumberFormat::Int4B32,
    ] {
        let recipe = Recipe {
            format,
            output: None,
            token_embedding: None,
            pure: true,
        };
        let path = folder.path().join(format!("{format}.gguf"));
        let plan = Plan::new(&source, &recipe).unwrap();
        let mut names = Vec::new();
        plan.write(File::create(&path).unwrap(), |report| {
            names.push(report.name);
        })
        .unwrap();
        assert_eq!(names.len(), source.tensors().len());
        let file = ModelArtifact::from_path(&path).unwrap();
        assert_eq!(
            logits(&file, "reference"),
            logits(&original, &format!("reference:weights={format}")),
            "{format}"
        );
    }
}
