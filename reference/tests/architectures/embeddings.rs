//! Pooled hidden states of every architecture, and of BERT, against transformers.
//!
//! `scripts/oracles/tiny_embeddings.py` wrote the vectors.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use engine::tolerance::product_noise;
use engine::{
    Embeddings, Engine, EngineError, EngineSpec, FailureKind, Model, ModelArtifact, NumberFormat,
    Numerics, Pooling, TokenId, Want, conformance,
};
use harness_reference::Reference;

use crate::tiny::{self, npy_values};
use crate::{KERNELS, ONE_BIT};

/// `SPANS` of the script; of a model that goes by the length of a text only the
/// first two.
const SPANS: [Range<usize>; 3] = [0..64, 11..60, 3..12];

/// A model with its expected embeddings.
struct Case {
    name: String,
    artifact: ModelArtifact,
    tokens: Vec<TokenId>,
    poolings: &'static [Pooling],
    /// Span after span, pooling after pooling.
    expected: Vec<f32>,
}

impl Case {
    fn texts(&self, width: usize) -> Vec<&[TokenId]> {
        let count = self.expected.len() / width / self.poolings.len();
        let texts = SPANS.iter().map(|span| &self.tokens[span.clone()]);
        texts.take(count).collect()
    }

    /// Embeddings with `options`, in the order of those expected.
    fn found(&self, options: &str) -> Result<(Vec<f32>, Box<dyn Model>), EngineError> {
        let model = open(&self.artifact, options)?;
        let width = model.config().hidden;
        let by_pooling: Vec<Embeddings> = (self.poolings.iter())
            .map(|&pooling| model.embed(&self.texts(width), pooling))
            .collect::<Result<_, _>>()?;
        let rows = (0..by_pooling[0].rows())
            .flat_map(|text| by_pooling.iter().flat_map(move |all| all.row(text)));
        Ok((rows.copied().collect(), model))
    }

    /// Squared error over the energy of what is expected.
    fn nmse(&self, options: &str) -> Result<f64, EngineError> {
        let (found, _) = self.found(options)?;
        assert_eq!(found.len(), self.expected.len(), "{}", self.name);
        let square = |x: f64| x * x;
        let pairs = || self.expected.iter().zip(&found);
        let noise: f64 = pairs()
            .map(|(&a, &b)| square(f64::from(a) - f64::from(b)))
            .sum();
        Ok(noise / pairs().map(|(&a, _)| square(f64::from(a))).sum::<f64>())
    }
}

fn open(artifact: &ModelArtifact, options: &str) -> Result<Box<dyn Model>, EngineError> {
    let spec: EngineSpec = format!("reference:{options}").parse().unwrap();
    Reference.open(artifact, &spec.options)
}

fn decoders() -> Vec<Case> {
    let case = |model: tiny::TinyModel| Case {
        name: model.name.clone(),
        artifact: model.artifact(),
        tokens: model.tokens.clone(),
        poolings: &[Pooling::Mean, Pooling::Last],
        expected: npy_values(&model.folder().join("embeddings.npy")),
    };
    tiny::committed().into_iter().map(case).collect()
}

fn bert_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/encoders/bert")
}

/// The same BERT as llama.cpp's converter writes it and as transformers saves it.
fn encoders() -> Vec<Case> {
    let folder = bert_folder();
    let tokens = fs::read_to_string(folder.join("tokens.txt")).unwrap();
    [folder.join("model.gguf"), folder.clone()]
        .iter()
        .map(|path| Case {
            name: format!("bert, {}", path.file_name().unwrap().display()),
            artifact: ModelArtifact::from_path(path).unwrap(),
            tokens: tokens
                .split_whitespace()
                .map(|id| id.parse().unwrap())
                .collect(),
            poolings: &Pooling::ALL,
            expected: npy_values(&folder.join("embeddings.npy")),
        })
        .collect()
}

/// Largest difference over what is allowed.
///
/// Rounding in f32 leaves an NMSE of `g · ε²` (`engine::tolerance`), with the
/// network's noise gain `g` measured on weights of known noise, and one bit for
/// what the model of it leaves out. Single values then err with a deviation of
/// `σ = RMS · √NMSE`; of a few hundred normal ones none is beyond 6 σ but once in
/// a million runs.
fn share_of_bound(case: &Case, options: &str) -> (f64, f64) {
    let (found, model) = case.found(options).unwrap();
    let numerics = Numerics {
        weights: NumberFormat::F32,
        ..model.numerics()
    };
    let noisy = Numerics {
        weights: NumberFormat::Q8_0,
        ..numerics
    };
    let measured = case.nmse(&format!("{options},weights=q8_0")).unwrap();
    let gain = measured / product_noise(noisy, model.config());
    let energy: f64 = case.expected.iter().map(|&x| f64::from(x).powi(2)).sum();
    let rms = (energy / case.expected.len() as f64).sqrt();
    let sigma = rms * (ONE_BIT * gain * product_noise(numerics, model.config())).sqrt();
    let delta = crate::largest_difference(&case.expected, &found);
    (delta, delta / (6.0 * sigma))
}

#[test]
fn pooled_hidden_states_are_transformers() {
    let mut wrong = Vec::new();
    for case in decoders().into_iter().chain(encoders()) {
        for kernels in KERNELS {
            let options = format!("kernels={kernels}");
            let (delta, share) = share_of_bound(&case, &options);
            println!(
                "{:<18} {kernels:<6} max |Δ| {delta:.1e}, {:.0} % of the bound",
                case.name,
                100.0 * share
            );
            if share > 1.0 {
                wrong.push(format!("{} with {options}: {delta:.1e}", case.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Narrow formats cost what the noise model says, to a bit either way.
#[test]
fn encoders_round_to_what_they_are_told() {
    for case in encoders() {
        let model = open(&case.artifact, "").unwrap();
        let noise = |weights, activations| {
            let numerics = Numerics {
                weights,
                activations,
                kv: NumberFormat::F32,
            };
            product_noise(numerics, model.config())
        };
        use NumberFormat::{F16, F32, Q4_0, Q8_0};
        let gain = case.nmse("weights=q8_0").unwrap() / noise(Q8_0, F32);
        let halves = case.nmse("activations=f16").unwrap() / (gain * noise(F32, F16));
        let coarse = case.nmse("weights=q4_0").unwrap() / (gain * noise(Q4_0, F32));
        println!("{}: measured/predicted {halves:.2}, {coarse:.2}", case.name);
        for ratio in [halves, coarse] {
            assert!((1.0 / ONE_BIT..ONE_BIT).contains(&ratio), "{ratio}");
        }
    }
}

#[test]
fn encoders_conform_but_predict_nothing() {
    for case in encoders() {
        for options in ["", "threads=1,ctx=40"] {
            let spec: EngineSpec = format!("reference:{options}").parse().unwrap();
            let report = conformance::check(&Reference, &case.artifact, &spec.options).unwrap();
            assert!(report.passed(), "{}\n{report}", case.name);
            let passed = report
                .checks
                .iter()
                .filter(|check| check.outcome == conformance::Outcome::Pass);
            assert_eq!(passed.count(), 7, "{report}");
        }
        let model = open(&case.artifact, "").unwrap();
        let error = model.session().map(drop).unwrap_err();
        assert_eq!(error.kind(), FailureKind::Unsupported);
        assert!(error.to_string().contains("embed"), "{error}");
    }
}

/// A text longer than a piece of a prompt, and a session beside it.
#[test]
fn long_texts_and_sessions_do_not_disturb_each_other() {
    for model in tiny::committed() {
        let context = open(&model.artifact(), "").unwrap().config().context;
        if context < 700 {
            continue;
        }
        for kernels in KERNELS {
            let opened = open(&model.artifact(), &format!("kernels={kernels}")).unwrap();
            let text: Vec<TokenId> = model.tokens.iter().cycle().take(600).copied().collect();
            let mut session = opened.session().unwrap();
            let before = session.extend(&text[..50], Want::Last).unwrap();
            let long = opened.embed(&[&text], Pooling::Mean).unwrap();
            session.truncate(0).unwrap();
            assert_eq!(session.extend(&text[..50], Want::Last).unwrap(), before);
            let other = opened.embed(&[&text[..9], &text], Pooling::Mean).unwrap();
            assert_eq!(long.row(0), other.row(1), "{} {kernels}", model.name);
        }
    }
}

#[test]
fn decoders_have_no_first_token_worth_pooling() {
    let case = &decoders()[0];
    let model = open(&case.artifact, "").unwrap();
    let error = model.embed(&[&case.tokens], Pooling::Cls).unwrap_err();
    assert_eq!(error.kind(), FailureKind::Unsupported, "{error}");
    assert!(error.to_string().contains("mean or last"), "{error}");
}

/// `config.json` of the tiny BERT with `from` replaced by `to`.
fn changed(from: &str, to: &str) -> String {
    let copy = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(bert_folder().join(name), copy.path().join(name)).unwrap();
    }
    let path = copy.path().join("config.json");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(&path, text.replace(from, to)).unwrap();
    let artifact = ModelArtifact::from_path(copy.path()).unwrap();
    match open(&artifact, "") {
        Ok(_) => "opened".into(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn other_berts_are_refused() {
    for (from, to, why) in [
        ("\"gelu\"", "\"gelu_new\"", "gelu_new"),
        ("\"is_decoder\": false", "\"is_decoder\": true", "decoder"),
        (
            "\"num_attention_heads\": 2",
            "\"num_attention_heads\": 3",
            "3 heads",
        ),
        (
            "\"num_hidden_layers\": 3",
            "\"num_hidden_layers\": 4",
            "blk.3",
        ),
        (
            "\"max_position_embeddings\": 96",
            "\"max_position_embeddings\": 97",
            "96 rows",
        ),
        (
            "\"model_type\": \"bert\"",
            "\"model_type\": \"bert\", \"position_embedding_type\": \"relative_key\"",
            "relative_key",
        ),
    ] {
        let error = changed(from, to);
        assert!(error.contains(why), "{to}: {error}");
    }
}
