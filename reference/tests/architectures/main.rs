//! Every architecture against Hugging Face transformers.
//!
//! `vectors/models/` holds tiny random models made by
//! `scripts/oracles/tiny_models.py`, which also checks that each feature a model
//! is there for moves its logits. Other seeds and formats:
//!
//! ```sh
//! .oracles/venv/bin/python scripts/oracles/tiny_models.py --out /tmp/models --seed 7 --dtype f32
//! HARNESS_TINY_MODELS=/tmp/models cargo test --release -p harness-reference --test architectures
//! ```
#![allow(clippy::unwrap_used)] // Fixture code of a test may panic.

mod embeddings;
mod metadata;
mod page;
mod taps;
mod tiny;

use engine::tolerance::{noise_to_signal, product_noise, worst_gain};
use engine::{
    Engine, EngineError, EngineSpec, EvictionPolicy, FailureKind, Logits, Model, NumberFormat,
    Session, TokenId, Want, conformance,
};
use harness_reference::Reference;

use crate::tiny::{TinyModel, models};

/// Largest difference to transformers' logits, for logits of RMS 1 to 4.
///
/// transformers itself strays up to 1.2·10⁻⁵ from them when it runs in f32
/// (`tiny_models.py` prints it); the smallest feature moves them by 0.2.
const TOLERANCE: f64 = 1e-4;

/// Both implementations of every operation.
const KERNELS: [&str; 2] = ["plain", "fast"];

/// Pieces that a context of 64 tokens is prefilled in: shorter and longer than
/// the windows of 16, and than the tiles of any kernel.
const UNEVEN: [usize; 6] = [1, 7, 16, 3, 29, 8];

fn open(model: &TinyModel, options: &str) -> Result<Box<dyn Model>, EngineError> {
    let spec: EngineSpec = format!("reference:{options}").parse().unwrap();
    Reference.open(&model.artifact(), &spec.options)
}

/// Logits of `tokens`, appended in `pieces`.
fn extend(session: &mut dyn Session, tokens: &[TokenId], pieces: &[usize]) -> Logits {
    let (mut values, mut vocab, mut start) = (Vec::new(), 0, 0);
    for piece in pieces {
        let logits = session
            .extend(&tokens[start..start + piece], Want::All)
            .unwrap();
        vocab = logits.vocab();
        values.extend_from_slice(logits.values());
        start += piece;
    }
    assert_eq!(start, tokens.len());
    Logits::new(vocab, values).unwrap()
}

fn largest_difference(expected: &[f32], found: &[f32]) -> f64 {
    assert_eq!(expected.len(), found.len());
    expected
        .iter()
        .zip(found)
        .map(|(&a, &b)| (f64::from(a) - f64::from(b)).abs())
        // `f64::max` would pass over a NaN.
        .map(|delta| if delta.is_nan() { f64::INFINITY } else { delta })
        .fold(0.0, f64::max)
}

/// Squared difference over the energy of `expected`.
fn nmse(expected: &Logits, found: &Logits) -> f64 {
    let square = |x: f64| x * x;
    let pairs = || expected.values().iter().zip(found.values());
    let noise: f64 = pairs()
        .map(|(&a, &b)| square(f64::from(a) - f64::from(b)))
        .sum();
    noise / pairs().map(|(&a, _)| square(f64::from(a))).sum::<f64>()
}

/// Largest difference of `options` however the tokens are fed.
fn difference(model: &TinyModel, options: &str) -> f64 {
    let opened = open(model, options).unwrap();
    let n = model.tokens.len();
    [vec![n], UNEVEN.to_vec(), vec![1; n]]
        .iter()
        .map(|pieces| {
            let mut session = opened.session().unwrap();
            let found = extend(&mut *session, &model.tokens, pieces);
            largest_difference(model.logits.values(), found.values())
        })
        .fold(0.0, f64::max)
}

#[test]
fn logits_are_transformers() {
    let mut wrong = Vec::new();
    let mut check = |model: &TinyModel, options: &str, delta: f64| {
        println!("{:<18} {options:<28} max |Δlogit| {delta:.1e}", model.name);
        if delta > TOLERANCE {
            wrong.push(format!("{} with {options}: {delta:.1e}", model.name));
        }
    };
    for model in models() {
        for kernels in KERNELS {
            for evict in ["none", "window"] {
                let options = format!("kernels={kernels},evict={evict}");
                check(&model, &options, difference(&model, &options));
            }
            for (len, expected) in &model.shortened {
                let options = format!("kernels={kernels},ctx={len}");
                let opened = open(&model, &options).unwrap();
                let mut session = opened.session().unwrap();
                let found = extend(&mut *session, &model.tokens[..*len], &[*len]);
                check(
                    &model,
                    &options,
                    largest_difference(expected.values(), found.values()),
                );
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "max |Δlogit| above {TOLERANCE:e}: {wrong:#?}"
    );
}

/// Text long enough for rings of windows to turn over: the model's tokens,
/// again and again from another one each time.
fn long_text(model: &TinyModel, len: usize) -> Vec<TokenId> {
    let tokens = &model.tokens;
    (0..len)
        .map(|i| tokens[(i + i / tokens.len()) % tokens.len()])
        .collect()
}

#[test]
fn rings_of_windows_change_nothing() {
    let mut windowed = 0;
    for model in models() {
        for kernels in KERNELS {
            let open = |evict| open(&model, &format!("kernels={kernels},evict={evict}")).unwrap();
            let (whole, ring) = (open("none"), open("window"));
            let usage = ring.session().unwrap().kv().unwrap();
            let rotating = |policy| matches!(policy, EvictionPolicy::Window { .. });
            if !usage.layers.iter().any(|layer| rotating(layer.policy)) {
                continue;
            }
            windowed += 1;
            let text = long_text(&model, 900);
            let run = |model: &dyn Model| {
                let mut session = model.session().unwrap();
                let mut pieces = vec![700, 1, 1, 1, 97];
                pieces.extend([1; 100]);
                extend(&mut *session, &text, &pieces)
            };
            let (whole, ring) = (run(&*whole), run(&*ring));
            let delta = largest_difference(whole.values(), ring.values());
            println!("{:<18} {kernels}: ring to whole {delta:.1e}", model.name);
            assert!(delta <= TOLERANCE, "{}: {kernels}: {delta}", model.name);

            // Back to where the ring still reaches, and on as before.
            let opened = open("window");
            let mut session = opened.session().unwrap();
            extend(&mut *session, &text, &[512, 388]);
            let refused = session.truncate(100).unwrap_err();
            assert_eq!(refused.kind(), FailureKind::Unsupported, "{refused}");
            assert_eq!(session.len(), 900);
            session.truncate(700).unwrap();
            let again = extend(&mut *session, &text[700..], &[1, 199]);
            let expected = &whole.values()[700 * whole.vocab()..];
            let delta = largest_difference(expected, again.values());
            assert!(delta <= TOLERANCE, "{}: {kernels}: {delta}", model.name);
        }
    }
    assert!(windowed > 0);
}

#[test]
fn truncated_contexts_go_on_as_fresh_ones() {
    for model in models() {
        for kernels in KERNELS {
            let opened = open(&model, &format!("kernels={kernels}")).unwrap();
            let mut session = opened.session().unwrap();
            let n = model.tokens.len();
            // Other tokens first, so that what is left behind would show.
            let other: Vec<TokenId> = model.tokens.iter().rev().copied().collect();
            extend(&mut *session, &model.tokens[..40], &[40]);
            extend(&mut *session, &other[..20], &[20]);
            session.truncate(40).unwrap();
            let found = extend(&mut *session, &model.tokens[40..], &[n - 40]);
            let expected = &model.logits.values()[40 * model.logits.vocab()..];
            let delta = largest_difference(expected, found.values());
            assert!(delta <= TOLERANCE, "{}: {kernels}: {delta}", model.name);
        }
    }
}

/// One bit more or less quadruples a squared error.
const ONE_BIT: f64 = 4.0;

/// NMSE to transformers of a run with `options`, and the noise that its number
/// formats make inevitable.
fn error(model: &TinyModel, options: &str) -> Result<(f64, f64), EngineError> {
    let opened = open(model, options)?;
    let mut session = opened.session()?;
    let found = extend(&mut *session, &model.tokens, &UNEVEN);
    let noise = product_noise(opened.numerics(), opened.config());
    Ok((nmse(&model.logits, &found), noise))
}

/// How much noise of its number formats reaches the model's logits, measured
/// with weights whose noise is known; see `engine::tolerance`.
fn noise_gain(model: &TinyModel, kernels: &str) -> f64 {
    let (measured, noise) = error(model, &format!("kernels={kernels},weights=q8_0")).unwrap();
    measured / noise
}

/// Narrow caches and activations cost what the noise model says, by the gates
/// of the parity suite: an error of twice the predicted one (one bit) is allowed.
#[test]
fn narrow_formats_stay_within_their_noise() {
    for model in models() {
        for kernels in KERNELS {
            let gain = noise_gain(&model, kernels);
            for format in ["kv=f32", "kv=f16", "activations=f16", "activations=bf16"] {
                let options = format!("kernels={kernels},{format}");
                let (measured, noise) = error(&model, &options).unwrap();
                let share = measured / (ONE_BIT * gain * noise);
                println!(
                    "{:<18} {options:<30} NMSE {measured:.1e}, {:.0} % of the bound",
                    model.name,
                    100.0 * share
                );
                assert!(share <= 1.0, "{}: {options}: {share}", model.name);
            }
        }
    }
}

/// What `kv=f16` costs predicts what `kv=q8_0` does, to a bit either way: both
/// round the same numbers.
#[test]
fn caches_in_q8_0_are_as_noisy_as_those_in_f16_predict() {
    let mut checked = 0;
    for model in models() {
        for kernels in KERNELS {
            let head_dim = open(&model, "").unwrap().config().head_dim;
            let kv = |format| error(&model, &format!("kernels={kernels},kv={format}"));
            if !head_dim.is_multiple_of(32) {
                let refused = kv("q8_0").unwrap_err();
                assert_eq!(refused.kind(), FailureKind::InvalidInput, "{refused}");
                continue;
            }
            checked += 1;
            let stored = noise_to_signal(NumberFormat::Q8_0) / noise_to_signal(NumberFormat::F16);
            let ratio = kv("q8_0").unwrap().0 / kv("f16").unwrap().0 / stored;
            println!(
                "{:<18} {kernels}: measured/predicted {ratio:.2}",
                model.name
            );
            assert!(
                (1.0 / ONE_BIT..ONE_BIT).contains(&ratio),
                "{}: {kernels}: {ratio}",
                model.name
            );
        }
    }
    assert!(checked > 0);
}

/// Conformance bounds the difference of two runs for networks that do not
/// amplify noise, as trained ones do not; not all random ones are such.
#[test]
fn tiny_models_conform() {
    let mut checked = Vec::new();
    for model in models() {
        for kernels in KERNELS {
            let config = open(&model, "").unwrap().config().clone();
            if noise_gain(&model, kernels) > worst_gain(&config) {
                continue;
            }
            let spec: EngineSpec = format!("reference:kernels={kernels}").parse().unwrap();
            let report = conformance::check(&Reference, &model.artifact(), &spec.options).unwrap();
            assert!(report.passed(), "{} in {spec}\n{report}", model.name);
            checked.push(config.architecture);
        }
    }
    checked.dedup();
    println!("{}", checked.join(", "));
    assert!(checked.len() > 3, "too few: {}", checked.join(", "));
}
