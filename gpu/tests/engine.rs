//! The engine keeps the seam's promises and agrees with the reference, on whatever adapter is here.
#![allow(clippy::unwrap_used)] // Fixture code of a test may panic.

use std::path::Path;

use engine::tolerance::{product_noise, worst_gain};
use engine::{
    Availability, Engine, EngineSpec, FailureKind, Logits, ModelArtifact, NumberFormat, Numerics,
    Want, conformance,
};
use harness_gpu::{Backend, Gpu};
use reference::Reference;

/// The engine that can run here. `None` skips a test, unless the environment says that there must
/// be one (`HARNESS_NEEDS_GPU`, as in CI).
fn gpu() -> Option<Gpu> {
    let here = Backend::ALL
        .map(Gpu)
        .into_iter()
        .find(|gpu| gpu.describe().availability == Availability::Yes);
    if here.is_none() {
        assert!(
            std::env::var_os("HARNESS_NEEDS_GPU").is_none(),
            "no adapter: {:?}",
            Backend::ALL.map(|backend| Gpu(backend).describe().availability)
        );
        eprintln!("skipped: no adapter");
    }
    here
}

fn fixture() -> ModelArtifact {
    ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL)
}

fn options(text: &str) -> engine::EngineOptions {
    text.parse::<EngineSpec>().unwrap().options
}

#[test]
fn every_option_conforms() {
    let Some(gpu) = gpu() else { return };
    for spec in [
        "gpu",
        "gpu:kernels=plain,ctx=64",
        "gpu:activations=f16,kv=f16",
        "gpu:weights=q4_k,kv=f16",
        "gpu:weights=q6_k",
    ] {
        let report = conformance::check(&gpu, &fixture(), &options(spec)).unwrap();
        assert!(report.passed(), "{spec}\n{report}");
    }
}

/// Squared difference over the centred energy of `expected`, row by row.
fn nmse(expected: &Logits, got: &Logits) -> f64 {
    let (mut noise, mut signal) = (0.0, 0.0);
    for row in 0..expected.rows() {
        let (a, b) = (expected.row(row), got.row(row));
        let mean = |row: &[f32]| row.iter().map(|&x| f64::from(x)).sum::<f64>() / row.len() as f64;
        let (mean_a, mean_b) = (mean(a), mean(b));
        for (&a, &b) in a.iter().zip(b) {
            let (a, b) = (f64::from(a) - mean_a, f64::from(b) - mean_b);
            noise += (a - b).powi(2);
            signal += a * a;
        }
    }
    noise / signal
}

/// Every architecture of the reference, whose own logits are held against transformers.
#[test]
fn every_architecture_agrees_with_the_reference() {
    let Some(gpu) = gpu() else { return };
    let folder = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../reference/tests/vectors/models"
    ));
    let mut models = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path().join("model.gguf");
        if !path.exists() {
            continue;
        }
        let artifact = ModelArtifact::from_path(&path).unwrap();
        let none = options("gpu");
        let expected = Reference.open(&artifact, &none).unwrap();
        let got = gpu.open(&artifact, &none).unwrap();
        let config = expected.config();
        let count = 40.min(config.context) as u32;
        let tokens: Vec<u32> = (0..count).map(|i| i * 37 % config.vocab as u32).collect();
        // A prompt, then a token: products of many and of one.
        let run = |model: &dyn engine::Model| {
            let mut session = model.session().unwrap();
            let (prompt, last) = tokens.split_at(tokens.len() - 1);
            let mut values = session.extend(prompt, Want::All).unwrap().values().to_vec();
            values.extend(session.extend(last, Want::Last).unwrap().values());
            Logits::new(config.vocab, values).unwrap()
        };
        let numerics = Numerics {
            weights: NumberFormat::F32,
            ..got.numerics()
        };
        // Each of the two rounds as much as one is allowed to.
        let bound = 2.0 * worst_gain(config) * product_noise(numerics, config);
        let nmse = nmse(&run(&*expected), &run(&*got));
        assert!(nmse <= bound, "{}: {nmse:e} > {bound:e}", path.display());
        models += 1;
    }
    assert!(models >= 9, "{models} models");
}

#[test]
fn what_cannot_be_is_told_by_kind() {
    let absent = match cfg!(target_os = "macos") {
        true => Backend::Vulkan,
        false => Backend::Metal,
    };
    let error = Gpu(absent).open(&fixture(), &options("gpu")).err().unwrap();
    assert_eq!(error.kind(), FailureKind::Device, "{error}");
    let Some(gpu) = gpu() else { return };
    let open = |spec: &str| gpu.open(&fixture(), &options(spec)).err().unwrap();
    let error = open("gpu:adapter=abacus");
    assert_eq!(error.kind(), FailureKind::InvalidInput, "{error}");
    assert!(error.to_string().contains("there is "), "{error}");
    for spec in [
        "gpu:kv=q8_0",
        "gpu:activations=bf16",
        "gpu:kernels=slow",
        "gpu:units=all",
    ] {
        assert_eq!(open(spec).kind(), FailureKind::InvalidInput, "{spec}");
    }
}

/// The transcripts that the reference left, token by token: in f32 rounding moves no choice.
#[test]
fn greedy_answers_are_the_goldens() {
    let Some(gpu) = gpu() else { return };
    let model = gpu.open(&fixture(), &options("gpu:ctx=96")).unwrap();
    for (name, text) in fixtures::GOLDENS {
        let golden: serde_json::Value = serde_json::from_str(text).unwrap();
        let token = |value: &serde_json::Value| value.as_u64().unwrap() as u32;
        let prompt: Vec<u32> = golden["prompt_tokens"]
            .as_array()
            .unwrap()
            .iter()
            .map(token)
            .collect();
        let mut session = model.session().unwrap();
        let mut logits = session.extend(&prompt, Want::Last).unwrap();
        for (index, step) in golden["steps"].as_array().unwrap().iter().enumerate() {
            let row = logits.row(0).iter().zip(0..);
            let (_, chosen) = row
                .max_by(|a, b| a.0.total_cmp(b.0).then(b.1.cmp(&a.1)))
                .unwrap();
            assert_eq!(chosen, token(&step["token"]), "{name}, token {index}");
            logits = session.extend(&[chosen], Want::Last).unwrap();
        }
    }
}
