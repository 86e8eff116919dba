//! Instructions that single kernels and whole tokens take, counted by Valgrind's Callgrind: a
//! number that does not depend on what else the machine does.
//!
//! ```text
//! cargo install gungraun-runner --version 0.20.0
//! cargo bench -p harness-reference --bench instructions
//! cargo bench -p harness-reference --bench instructions -- --save-baseline=NAME
//! cargo bench -p harness-reference --bench instructions -- --baseline=NAME
//! ```
//!
//! Valgrind has no AVX-512, so these are the kernels of AVX2 or NEON, and those
//! without special instructions.
#![allow(clippy::unwrap_used, missing_docs)] // A benchmark may panic.

mod inputs;
mod valgrind;

use std::hint::black_box;

use engine::{Engine, EngineOptions, Logits, Model, ModelArtifact, NumberFormat, Session, Want};
use gungraun::Dhat;
use gungraun::prelude::*;
use harness_reference::Reference;
use harness_reference::gguf::GgmlType;
use harness_reference::kernels::{Activation, Kernels, Matrix, NormKind, Pairing};

use inputs::{Cache, matrix, numbers};

#[cfg(target_arch = "x86_64")]
const SIMD: &str = "avx2";
#[cfg(target_arch = "aarch64")]
const SIMD: &str = "neon";
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const SIMD: &str = "portable";

const HIDDEN: usize = 576;
const FEED_FORWARD: usize = 1536;
const HEAD_DIM: usize = 64;
const POSITIONS: usize = 256;

struct Product {
    kernels: Kernels,
    matrix: Matrix,
    x: Vec<f32>,
    out: Vec<f32>,
}

/// SmolLM2's `ffn_down`, a quarter of its rows.
fn product_of(name: &str, ty: GgmlType, tokens: usize) -> Product {
    let rows = HIDDEN / 4;
    Product {
        kernels: Kernels::named(name).unwrap(),
        matrix: matrix(ty, rows, FEED_FORWARD),
        x: numbers(tokens * FEED_FORWARD),
        out: vec![0.0; tokens * rows],
    }
}

#[library_benchmark(setup = product_of)]
#[bench::f32(SIMD, GgmlType::F32, 1)]
#[bench::f16(SIMD, GgmlType::F16, 1)]
#[bench::bf16(SIMD, GgmlType::Bf16, 1)]
#[bench::q8_0(SIMD, GgmlType::Q8_0, 1)]
#[bench::q6_k(SIMD, GgmlType::Q6K, 1)]
#[bench::q5_k(SIMD, GgmlType::Q5K, 1)]
#[bench::q5_1(SIMD, GgmlType::Q5_1, 1)]
#[bench::q5_0(SIMD, GgmlType::Q5_0, 1)]
#[bench::q4_k(SIMD, GgmlType::Q4K, 1)]
#[bench::q4_1(SIMD, GgmlType::Q4_1, 1)]
#[bench::q4_0(SIMD, GgmlType::Q4_0, 1)]
#[bench::iq4_nl(SIMD, GgmlType::Iq4Nl, 1)]
#[bench::iq4_xs(SIMD, GgmlType::Iq4Xs, 1)]
#[bench::q3_k(SIMD, GgmlType::Q3K, 1)]
#[bench::q2_k(SIMD, GgmlType::Q2K, 1)]
#[bench::f32_portable("portable", GgmlType::F32, 1)]
#[bench::q4_0_portable("portable", GgmlType::Q4_0, 1)]
fn mat_vec(mut case: Product) -> Product {
    case.kernels
        .product(&case.matrix, black_box(&case.x), &mut case.out)
        .unwrap();
    case
}

#[library_benchmark(setup = product_of)]
#[bench::f32(SIMD, GgmlType::F32, 32)]
#[bench::f16(SIMD, GgmlType::F16, 32)]
#[bench::bf16(SIMD, GgmlType::Bf16, 32)]
#[bench::q8_0(SIMD, GgmlType::Q8_0, 32)]
#[bench::q6_k(SIMD, GgmlType::Q6K, 32)]
#[bench::q5_k(SIMD, GgmlType::Q5K, 32)]
#[bench::q5_1(SIMD, GgmlType::Q5_1, 32)]
#[bench::q5_0(SIMD, GgmlType::Q5_0, 32)]
#[bench::q4_k(SIMD, GgmlType::Q4K, 32)]
#[bench::q4_1(SIMD, GgmlType::Q4_1, 32)]
#[bench::q4_0(SIMD, GgmlType::Q4_0, 32)]
#[bench::iq4_nl(SIMD, GgmlType::Iq4Nl, 32)]
#[bench::iq4_xs(SIMD, GgmlType::Iq4Xs, 32)]
#[bench::q3_k(SIMD, GgmlType::Q3K, 32)]
#[bench::q2_k(SIMD, GgmlType::Q2K, 32)]
#[bench::q4_0_portable("portable", GgmlType::Q4_0, 32)]
fn gemm(mut case: Product) -> Product {
    case.kernels
        .product(&case.matrix, black_box(&case.x), &mut case.out)
        .unwrap();
    case
}

type Attention = (Kernels, Cache, Vec<f32>, Vec<f32>);

fn attention_of(name: &str, format: NumberFormat, tokens: usize) -> Attention {
    let queries = numbers(tokens * HEAD_DIM);
    let out = vec![0.0; queries.len()];
    (
        Kernels::named(name).unwrap(),
        Cache::new(format, POSITIONS, HEAD_DIM),
        queries,
        out,
    )
}

#[library_benchmark(setup = attention_of)]
#[bench::f32_1(SIMD, NumberFormat::F32, 1)]
#[bench::f16_1(SIMD, NumberFormat::F16, 1)]
#[bench::q8_0_1(SIMD, NumberFormat::Q8_0, 1)]
#[bench::f32_32(SIMD, NumberFormat::F32, 32)]
#[bench::f16_32(SIMD, NumberFormat::F16, 32)]
#[bench::q8_0_32(SIMD, NumberFormat::Q8_0, 32)]
fn attention(case: Attention) -> Attention {
    let (kernels, cache, queries, mut out) = case;
    let first = POSITIONS - queries.len() / HEAD_DIM;
    kernels
        .attend(&cache.head(), first, black_box(&queries), &mut out)
        .unwrap();
    (kernels, cache, queries, out)
}

fn vector(len: usize) -> (Kernels, Vec<f32>) {
    (Kernels::named(SIMD).unwrap(), numbers(len))
}

#[library_benchmark(setup = vector)]
#[bench::one(HIDDEN)]
#[bench::panel(32 * HIDDEN)]
fn rms_norm(case: (Kernels, Vec<f32>)) -> Vec<f32> {
    let (kernels, mut x) = case;
    kernels
        .norm(
            NormKind::Rms { epsilon: 1e-5 },
            &[1.0; HIDDEN],
            None,
            &mut x,
        )
        .unwrap();
    x
}

#[library_benchmark(setup = vector)]
#[bench::one(HIDDEN)]
#[bench::panel(32 * HIDDEN)]
fn layer_norm(case: (Kernels, Vec<f32>)) -> Vec<f32> {
    let (kernels, mut x) = case;
    kernels
        .norm(
            NormKind::Layer { epsilon: 1e-5 },
            &[1.0; HIDDEN],
            None,
            &mut x,
        )
        .unwrap();
    x
}

#[library_benchmark(setup = vector)]
#[bench::panel(32 * HEAD_DIM)]
fn rope(case: (Kernels, Vec<f32>)) -> Vec<f32> {
    let (kernels, mut x) = case;
    let angles = [0.6; 32 * HEAD_DIM / 2];
    kernels
        .rotate(Pairing::Halves, &mut x, HEAD_DIM, &angles, &angles)
        .unwrap();
    x
}

#[library_benchmark(setup = vector)]
#[bench::silu(FEED_FORWARD)]
fn silu(case: (Kernels, Vec<f32>)) -> Vec<f32> {
    let (kernels, mut x) = case;
    kernels.activate(Activation::Silu, None, &mut x).unwrap();
    x
}

#[library_benchmark(setup = vector)]
#[bench::gelu(FEED_FORWARD)]
fn gelu(case: (Kernels, Vec<f32>)) -> Vec<f32> {
    let (kernels, mut x) = case;
    kernels
        .activate(Activation::GeluTanh, None, &mut x)
        .unwrap();
    x
}

#[library_benchmark(setup = vector)]
#[bench::softcap(FEED_FORWARD)]
fn softcap(case: (Kernels, Vec<f32>)) -> Vec<f32> {
    let (kernels, mut x) = case;
    kernels.softcap(&mut x, 30.0);
    x
}

/// The embedded model with a prompt of 64 tokens in its context.
fn session_of(weights: &str) -> Box<dyn Session> {
    let mut options = EngineOptions::default();
    options.set("weights", weights);
    options.set("threads", "1");
    let artifact = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
    let model: &'static dyn Model = Box::leak(Reference.open(&artifact, &options).unwrap());
    let mut session = model.session().unwrap();
    let prompt: Vec<u32> = (0..64).map(|i| i * 31 % 1000).collect();
    session.extend(&prompt, Want::None).unwrap();
    session
}

#[library_benchmark(setup = session_of)]
#[bench::f16("f16")]
#[bench::q4_0("q4_0")]
fn decode(mut session: Box<dyn Session>) -> (Box<dyn Session>, Logits) {
    let logits = session.extend(black_box(&[5]), Want::Last).unwrap();
    (session, logits)
}

#[library_benchmark(setup = session_of)]
#[bench::q4_0("q4_0")]
fn prefill(mut session: Box<dyn Session>) -> (Box<dyn Session>, Logits) {
    let logits = session.extend(black_box(&[7; 32]), Want::Last).unwrap();
    (session, logits)
}

library_benchmark_group!(
    name = tokens,
    config = LibraryBenchmarkConfig::default().tool(Dhat::default()),
    benchmarks = [decode, prefill]
);

library_benchmark_group!(
    name = kernels,
    benchmarks = [
        mat_vec, gemm, attention, rms_norm, layer_norm, rope, silu, gelu, softcap
    ]
);

fn main() {
    // Declares a `main` of its own, here in the body.
    gungraun::main!(library_benchmark_groups = [kernels, tokens]);
    valgrind::run(main);
}
