//! Tokens from end to end: prompts and answers of the embedded model, on one thread.
//!
//! ```text
//! cargo bench -p harness-reference --bench tokens [-- FILTER]
//! ```
//!
//! `elem` is a token. Whole engines and real models are timed by `harness run --suite latency`.
#![allow(clippy::unwrap_used, missing_docs)] // A benchmark may panic.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use engine::{Engine, EngineOptions, Model, ModelArtifact, Want};
use harness_reference::Reference;

const WEIGHTS: [&str; 3] = ["f16", "q8_0", "q4_0"];
/// Tokens in the context before the one that is decoded.
const CONTEXT: usize = 64;

fn open(weights: &str) -> Box<dyn Model> {
    let mut options = EngineOptions::default();
    options.set("weights", weights);
    options.set("threads", "1");
    let artifact = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
    Reference.open(&artifact, &options).unwrap()
}

fn prompt(tokens: usize) -> Vec<u32> {
    (0..tokens as u32).map(|i| i * 31 % 1000).collect()
}

fn prefill(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("prefill");
    for weights in WEIGHTS {
        let model = open(weights);
        for tokens in [32, 128] {
            let prompt = prompt(tokens);
            let mut session = model.session().unwrap();
            group.throughput(Throughput::Elements(tokens as u64));
            group.bench_function(BenchmarkId::new(weights, tokens), |bencher| {
                bencher.iter(|| {
                    session.truncate(0).unwrap();
                    session.extend(black_box(&prompt), Want::Last).unwrap()
                });
            });
        }
    }
    group.finish();
}

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(1));
    for weights in WEIGHTS {
        let model = open(weights);
        let mut session = model.session().unwrap();
        session.extend(&prompt(CONTEXT), Want::None).unwrap();
        group.bench_function(weights, |bencher| {
            bencher.iter(|| {
                session.truncate(CONTEXT).unwrap();
                session.extend(black_box(&[5]), Want::Last).unwrap()
            });
        });
    }
    group.finish();
}

/// From the bytes of the file to a model that can be asked.
fn opening(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("open");
    group.throughput(Throughput::Bytes(fixtures::MODEL.len() as u64));
    for weights in WEIGHTS {
        group.bench_function(weights, |bencher| bencher.iter(|| open(weights)));
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800));
    targets = prefill, decode, opening
}
criterion_main!(benches);
