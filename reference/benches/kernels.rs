//! Times of single kernels on one thread, at the shapes of SmolLM2-135M and of
//! Llama-3-8B.
//!
//! ```text
//! cargo bench -p harness-reference --bench kernels [-- FILTER]
//! KERNELS=avx2 cargo bench …     other instructions than the processor's best
//! ```
//!
//! Throughput is bytes of weights or of the cache where every number is used
//! once, and floating-point operations (`elem`) where many tokens share them.
#![allow(clippy::unwrap_used, missing_docs)] // A benchmark may panic.

mod inputs;

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use engine::NumberFormat;
use harness_reference::gguf::GgmlType;
use harness_reference::kernels::{Activation, Kernels, NormKind, Pairing};

use inputs::{Cache, matrix, numbers};

const TYPES: [GgmlType; 15] = [
    GgmlType::F32,
    GgmlType::F16,
    GgmlType::Bf16,
    GgmlType::Q8_0,
    GgmlType::Q6K,
    GgmlType::Q5K,
    GgmlType::Q5_1,
    GgmlType::Q5_0,
    GgmlType::Q4K,
    GgmlType::Q4_1,
    GgmlType::Q4_0,
    GgmlType::Iq4Nl,
    GgmlType::Iq4Xs,
    GgmlType::Q3K,
    GgmlType::Q2K,
];

/// What a model makes of a kernel's extents.
struct Shape {
    model: &'static str,
    hidden: usize,
    feed_forward: usize,
    head_dim: usize,
}

/// The feed-forward width of SmolLM2 is 1536, of whole K blocks; its hidden
/// size, 576, is not, so that K types are timed on the way down only.
const SHAPES: [Shape; 2] = [
    Shape {
        model: "smollm2",
        hidden: 576,
        feed_forward: 1536,
        head_dim: 64,
    },
    Shape {
        model: "llama-8b",
        hidden: 4096,
        feed_forward: 14336,
        head_dim: 128,
    },
];

fn kernels() -> Kernels {
    match std::env::var("KERNELS") {
        Ok(name) => Kernels::named(&name).unwrap(),
        Err(_) => Kernels::best(),
    }
}

/// `ffn_down · x`: the feed-forward block's way back to the hidden size.
fn products(criterion: &mut Criterion) {
    let kernels = kernels();
    for tokens in [1, 128] {
        for shape in &SHAPES {
            // An eighth of Llama's rows: as far from any cache, and sooner done.
            let rows = shape.hidden.min(512);
            let columns = shape.feed_forward;
            let x = numbers(tokens * columns);
            let mut out = vec![0.0; tokens * rows];
            let name = match tokens {
                1 => format!("mat-vec/{}", shape.model),
                _ => format!("gemm-{tokens}/{}", shape.model),
            };
            let mut group = criterion.benchmark_group(name);
            for ty in TYPES {
                let matrix = matrix(ty, rows, columns);
                group.throughput(match tokens {
                    1 => Throughput::Bytes((rows * ty.row_bytes(columns).unwrap()) as u64),
                    _ => Throughput::Elements((2 * rows * columns * tokens) as u64),
                });
                group.bench_function(BenchmarkId::from_parameter(ty), |bencher| {
                    bencher.iter(|| kernels.product(&matrix, &x, &mut out).unwrap());
                });
            }
        }
    }
}

/// One head over 1,024 positions.
fn attention(criterion: &mut Criterion) {
    const POSITIONS: usize = 1024;
    let kernels = kernels();
    for tokens in [1, 128] {
        for shape in &SHAPES {
            let queries = numbers(tokens * shape.head_dim);
            let mut out = vec![0.0; queries.len()];
            let mut group =
                criterion.benchmark_group(format!("attention-{tokens}/{}", shape.model));
            for format in [NumberFormat::F32, NumberFormat::F16, NumberFormat::Q8_0] {
                let cache = Cache::new(format, POSITIONS, shape.head_dim);
                let head = cache.head();
                group.throughput(match tokens {
                    1 => Throughput::Bytes((2 * head.keys.len()) as u64),
                    // Two products with every visible key.
                    _ => {
                        let seen = tokens * (2 * POSITIONS - tokens + 1) / 2;
                        Throughput::Elements((4 * shape.head_dim * seen) as u64)
                    }
                });
                group.bench_function(BenchmarkId::from_parameter(format), |bencher| {
                    let first = POSITIONS - tokens;
                    bencher.iter(|| kernels.attend(&head, first, &queries, &mut out).unwrap());
                });
            }
        }
    }
}

fn elementwise(criterion: &mut Criterion) {
    let kernels = kernels();
    for tokens in [1, 128] {
        for shape in &SHAPES {
            let mut group =
                criterion.benchmark_group(format!("elementwise-{tokens}/{}", shape.model));
            let bytes = |floats: usize| Throughput::Bytes(4 * (floats * tokens) as u64);

            let weight = vec![1.0; shape.hidden];
            let mut x = numbers(tokens * shape.hidden);
            group.throughput(bytes(shape.hidden));
            for (name, kind) in [
                ("rms-norm", NormKind::Rms { epsilon: 1e-5 }),
                ("layer-norm", NormKind::Layer { epsilon: 1e-5 }),
            ] {
                group.bench_function(name, |bencher| {
                    bencher.iter(|| kernels.norm(kind, &weight, None, &mut x).unwrap());
                });
            }

            let gate = numbers(tokens * shape.feed_forward);
            let mut up = gate.clone();
            group.throughput(bytes(shape.feed_forward));
            for (name, activation) in [("silu", Activation::Silu), ("gelu", Activation::GeluTanh)] {
                group.bench_function(name, |bencher| {
                    bencher.iter(|| {
                        // Without it, `up` would shrink to subnormals, which are slow.
                        up.copy_from_slice(&gate);
                        kernels.activate(activation, Some(&gate), &mut up).unwrap();
                    });
                });
            }
            let mut x = gate.clone();
            group.bench_function("softcap", |bencher| {
                bencher.iter(|| kernels.softcap(&mut x, 30.0));
            });

            let pairs = shape.head_dim / 2;
            let (cos, sin): (Vec<f32>, Vec<f32>) = (0..tokens * pairs)
                .map(|at| ((at as f32).cos(), (at as f32).sin()))
                .unzip();
            let mut x = numbers(tokens * shape.head_dim);
            group.throughput(bytes(shape.head_dim));
            for (name, pairing) in [
                ("rope-neighbours", Pairing::Neighbours),
                ("rope-halves", Pairing::Halves),
            ] {
                group.bench_function(name, |bencher| {
                    let dim = shape.head_dim;
                    bencher.iter(|| kernels.rotate(pairing, &mut x, dim, &cos, &sin).unwrap());
                });
            }
        }
    }
}

criterion_group! {
    name = benches;
    // Some hundred benchmarks in a few minutes.
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800));
    targets = products, attention, elementwise
}
criterion_main!(benches);
