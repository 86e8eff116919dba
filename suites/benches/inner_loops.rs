//! What suites do once a token, or once a run with all tokens: the work between an engine's answer
//! and the record.
//!
//! ```text
//! cargo bench -p harness-suites --bench inner_loops [-- FILTER]
//! ```
#![allow(clippy::unwrap_used, missing_docs)] // A benchmark may panic.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use harness_suites::generation::{Sampler, Sampling, TextStream};
use harness_suites::{Series, Settings, find};

/// Logits of no meaning, with a spread as models have it.
fn logits(vocab: usize) -> Vec<f32> {
    let logit = |token: usize| (token * 7919 % 20_011) as f32 / 20_011.0 * 24.0 - 12.0;
    (0..vocab).map(logit).collect()
}

fn sampling(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sample");
    for vocab in [32_768, 131_072] {
        let logits = logits(vocab);
        group.throughput(Throughput::Elements(vocab as u64));
        for (name, how) in [
            ("greedy", "greedy"),
            ("top-k", "temperature=0.8,top_k=40,seed=1"),
            ("top-p", "temperature=0.8,top_p=0.95,seed=1"),
        ] {
            let how: Sampling = how.parse().unwrap();
            let mut sampler = Sampler::new(&how);
            group.bench_function(BenchmarkId::new(name, vocab), |bencher| {
                bencher.iter(|| sampler.choose(black_box(&logits)));
            });
        }
    }
    group.finish();
}

/// A thousand tokens of four bytes, of which none is a stop string's.
fn streams(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("stream");
    group.throughput(Throughput::Elements(1_000));
    let stops = ["</s>".to_owned(), "\nUser:".to_owned()];
    group.bench_function("1000-tokens", |bencher| {
        bencher.iter(|| {
            let mut shown = 0;
            let mut stream = TextStream::new(&stops);
            for _ in 0..1_000 {
                stream.push(black_box(b" the"), &mut |text| shown += text.len());
            }
            shown
        });
    });
    group.finish();
}

/// A perplexity of 20 windows of 256 tokens, against a baseline's.
fn perplexity(criterion: &mut Criterion) {
    const CASE: &str = "llama_cpp";
    let (mut ours, mut base) = (Series::default(), Series::default());
    for window in 0..20u64 {
        for series in [&mut ours, &mut base] {
            series.push(CASE, "text_bytes", 256 * window, 1024.0);
        }
        for index in 256 * window..256 * (window + 1) {
            let nll = (index * 7919 % 2003) as f64 / 500.0;
            base.push(CASE, "nll", index, nll);
            ours.push(CASE, "nll", index, nll + (index % 7) as f64 / 100.0);
            ours.push(CASE, "kld", index, (index % 11) as f64 / 1e3);
            ours.push(CASE, "same_top", index, f64::from(index % 9 != 0));
        }
    }
    let suite = find("perplexity").unwrap();
    let mut settings = Settings::default();
    settings.complete(suite.settings(), false);
    let figures = || suite.figures(&settings, &ours, Some(&base)).unwrap();
    assert!(figures().len() > 5, "the samples are not read");
    criterion.bench_function("perplexity/figures/5120-tokens", |bencher| {
        bencher.iter(figures);
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800));
    targets = sampling, streams, perplexity
}
criterion_main!(benches);
