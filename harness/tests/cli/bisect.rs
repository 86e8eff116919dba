//! `parity --bisect` on engines that are right and on engines that are wrong in a
//! known place.

use std::fs;
use std::path::{Path, PathBuf};

use engine::{
    Engine, EngineError, EngineInfo, EngineOptions, FailureKind, Logits, Model, ModelArtifact,
    ModelConfig, Numerics, Session, TapObserver, TapPoint, TokenId, Tokenizer, TokenizerError,
    Want,
};
use reference::{Fault, Reference};
use suites::{Cell, Defaults, Input, Measurement, Role, Sample, Settings, Shard, find};
use tempfile::TempDir;

/// Reads numbers as token ids: the tiny models have no tokenizer.
struct Numbers;

impl Tokenizer for Numbers {
    fn encode(&self, text: &str) -> Result<Vec<TokenId>, TokenizerError> {
        Ok(text
            .split_whitespace()
            .map(|id| id.parse().unwrap())
            .collect())
    }
    fn decode(&self, _: &[TokenId]) -> Result<String, TokenizerError> {
        unimplemented!("parity asks for no text")
    }
    fn token_bytes(&self, _: TokenId) -> Result<&[u8], TokenizerError> {
        unimplemented!("parity asks for no text")
    }
    fn bos(&self) -> Option<TokenId> {
        None
    }
    fn eos(&self) -> Option<TokenId> {
        None
    }
    fn sha256(&self) -> &str {
        ""
    }
}

/// A model and the tokens it reads.
struct Subject {
    name: String,
    artifact: ModelArtifact,
    text: String,
}

fn tiny(folder: &Path) -> Subject {
    Subject {
        name: folder.file_name().unwrap().to_string_lossy().into(),
        artifact: ModelArtifact::from_path(&folder.join("model.gguf")).unwrap(),
        text: fs::read_to_string(folder.join("tokens.txt")).unwrap(),
    }
}

fn tiny_models() -> Vec<Subject> {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../reference/tests/vectors/models");
    let mut folders: Vec<PathBuf> = fs::read_dir(models)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    folders.iter().map(|folder| tiny(folder)).collect()
}

fn subject(name: &str) -> Subject {
    let mut models = tiny_models().into_iter();
    models.find(|model| model.name == name).unwrap()
}

/// The embedded model on its held-out text.
fn fixture() -> Subject {
    let artifact = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
    let source = reference::Source::open(&artifact).unwrap();
    let tokenizer = reference::tokenizer::open(&source).unwrap();
    let ids = tokenizer.encode(&fixtures::HELDOUT[..2000]).unwrap();
    let text: Vec<String> = ids.iter().map(ToString::to_string).collect();
    Subject {
        name: "fixture".into(),
        artifact,
        text: text.join(" "),
    }
}

fn options(text: &str) -> EngineOptions {
    let spec: engine::EngineSpec = format!("reference:{text}").parse().unwrap();
    spec.options
}

/// What the bisection says.
struct Found {
    measurements: Vec<Measurement>,
    samples: Vec<Sample>,
}

impl Found {
    fn of(&self, metric: &str) -> Option<&Measurement> {
        let mut all = self.measurements.iter();
        all.find(|m| m.case == "bisect" && m.metric == metric)
    }

    fn value(&self, metric: &str) -> f64 {
        self.of(metric).unwrap().value
    }

    fn why(&self) -> &str {
        &self
            .of("guilty_stages")
            .unwrap()
            .gate
            .as_ref()
            .unwrap()
            .because
    }
}

/// A subject whose baseline has run.
struct Bench<'a> {
    subject: &'a Subject,
    scratch: TempDir,
}

impl<'a> Bench<'a> {
    fn new(subject: &'a Subject, baseline: &dyn Engine, text: &str) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let bench = Self { subject, scratch };
        bench.run(Role::Baseline, baseline, text).unwrap();
        bench
    }

    /// What the bisection says of a candidate.
    fn try_candidate(&self, engine: &dyn Engine, text: &str) -> Result<Found, EngineError> {
        self.run(Role::Candidate, engine, text)
    }

    fn candidate(&self, engine: &dyn Engine, text: &str) -> Found {
        self.try_candidate(engine, text).unwrap()
    }

    fn run(&self, role: Role, engine: &dyn Engine, text: &str) -> Result<Found, EngineError> {
        let mut settings = Settings::default();
        for (key, value) in [
            ("ctx", "64"),
            ("windows", "1"),
            ("decode_tokens", "1"),
            ("bisect", "true"),
        ] {
            settings.set(key, value);
        }
        let mut own = options(text);
        // Threads would fight over these tiny products.
        own.set("threads", "1");
        let artifact = &self.subject.artifact;
        let open = || engine.open(artifact, &own);
        let known = engine.describe().options;
        let variant = |key: &str, value: &str| {
            known.iter().any(|option| option.key == key).then(|| {
                let mut changed = own.clone();
                changed.set(key, value);
                engine.open(artifact, &changed)
            })
        };
        let mut samples = Vec::new();
        let mut cell = Cell {
            open: &open,
            variant: &variant,
            input: Input {
                tokenizer: &Numbers,
                model_sha256: "",
                defaults: Defaults {
                    text: &self.subject.text,
                    ..Defaults::default()
                },
                settings: &settings,
            },
            role,
            candidates: 1,
            engine: "engine",
            model_path: None,
            model_sha256: "",
            model_bytes: 0,
            shard: Shard::WHOLE,
            scratch: self.scratch.path(),
            artifacts: (self.scratch.path(), "x"),
            progress: &|_, _| {},
            samples: &mut |sample| samples.push(sample),
        };
        match find("parity").unwrap().run(&mut cell) {
            Ok(measurements) => Ok(Found {
                measurements,
                samples,
            }),
            Err(suites::SuiteError::Engine(error)) => Err(error),
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn healthy_engines_are_not_accused() {
    let mut subjects = tiny_models();
    assert_eq!(subjects.len(), 16);
    subjects.push(fixture());
    let mut wrong = Vec::new();
    for subject in &subjects {
        let bench = Bench::new(subject, &Reference, "kernels=plain");
        let mut shares = Vec::new();
        for text in [
            "kernels=plain",
            "kernels=fast",
            "kernels=portable",
            "weights=f16",
            "weights=q8_0",
            "weights=q4_0",
            "kv=f16",
            "kv=q8_0",
            "activations=f16",
            "activations=bf16,kernels=plain",
            "weights=q4_0,kv=f16,activations=f16",
        ] {
            let found = match bench.try_candidate(&Reference, text) {
                Ok(found) => found,
                // Heads narrower than a block.
                Err(error) if error.to_string().contains("whole blocks") => continue,
                Err(error) => panic!("{}: {text}: {error}", subject.name),
            };
            shares.push(format!("{text} {:.2}", found.value("worst_share")));
            if found.value("guilty_stages") != 0.0 {
                wrong.push(format!("{}: {text}: {}", subject.name, found.why()));
            }
        }
        println!("{:<18} {}", subject.name, shares.join(" | "));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The part that a fault is in, as the bisection should call it.
fn part(fault: Fault) -> &'static str {
    match fault {
        Fault::RopeBase => "rope",
        Fault::NoScale | Fault::MaskOffByOne | Fault::SwappedHeads => "attention",
        Fault::StaleKv => "cache",
    }
}

#[test]
fn faults_are_located() {
    let subjects = [
        fixture(),
        subject("llama"),
        subject("gemma2"),
        subject("gemma3"),
        subject("phi2"),
        subject("gpt2"),
    ];
    let mut wrong = Vec::new();
    for subject in &subjects {
        // Another implementation than the faulty one's.
        let bench = Bench::new(subject, &Reference, "kernels=fast");
        let model = Reference.open(&subject.artifact, &options("")).unwrap();
        let last = model.config().layers - 1;
        for fault in Fault::ALL {
            for (layer, text) in [(0, ""), (last, ""), (last, "weights=q8_0")] {
                let faulty = Reference::with_fault(layer, fault);
                let found = match bench.try_candidate(&faulty, text) {
                    Ok(found) => found,
                    Err(error) => {
                        assert_eq!(error.kind(), FailureKind::Unsupported, "{error}");
                        assert_eq!((&*subject.name, fault), ("gpt2", Fault::RopeBase));
                        continue;
                    }
                };
                let what = format!("{}: {fault} in {layer} with {text}", subject.name);
                println!("{what}: {}", found.why());
                let place = format!("layer {layer}, {}:", part(fault));
                if found.value("guilty_stages") != 1.0
                    || found.value("guilty_layer") != layer as f64
                    || !found.why().contains(&place)
                {
                    wrong.push(format!("{what}: {}", found.why()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The reference engine, faulty or not, that shows some of its taps.
struct Coarse<E>(E, &'static [TapPoint]);

impl<E: Engine> Engine for Coarse<E> {
    fn describe(&self) -> EngineInfo {
        self.0.describe()
    }
    fn open(
        &self,
        model: &ModelArtifact,
        options: &EngineOptions,
    ) -> Result<Box<dyn Model>, EngineError> {
        Ok(Box::new(CoarseModel(self.0.open(model, options)?, self.1)))
    }
}

struct CoarseModel(Box<dyn Model>, &'static [TapPoint]);

impl Model for CoarseModel {
    fn config(&self) -> &ModelConfig {
        self.0.config()
    }
    fn numerics(&self) -> Numerics {
        self.0.numerics()
    }
    fn session(&self) -> Result<Box<dyn Session + '_>, EngineError> {
        Ok(Box::new(CoarseSession(self.0.session()?, self.1)))
    }
}

struct CoarseSession<'a>(Box<dyn Session + 'a>, &'static [TapPoint]);

impl Session for CoarseSession<'_> {
    fn extend(&mut self, tokens: &[TokenId], want: Want) -> Result<Logits, EngineError> {
        self.0.extend(tokens, want)
    }
    fn extend_tapped(
        &mut self,
        tokens: &[TokenId],
        observer: TapObserver<'_>,
    ) -> Result<Logits, EngineError> {
        if self.1.is_empty() {
            return Err(EngineError::new(FailureKind::Unsupported, "no taps here"));
        }
        let points = self.1;
        self.0.extend_tapped(tokens, &mut |tap| {
            if points.contains(&tap.stage.point) {
                observer(tap);
            }
        })
    }
    fn truncate(&mut self, len: usize) -> Result<(), EngineError> {
        self.0.truncate(len)
    }
    fn len(&self) -> usize {
        self.0.len()
    }
    fn kv(&self) -> Option<engine::KvUsage> {
        self.0.kv()
    }
}

#[test]
fn with_fewer_taps_the_answer_is_wider_but_right() {
    let subject = subject("llama");
    let faulty = Reference::with_fault(1, Fault::NoScale);
    let bench = Bench::new(&subject, &Reference, "");
    let stream = Coarse(faulty, &[TapPoint::Residual]);
    let found = bench.candidate(&stream, "");
    assert_eq!(found.value("guilty_layer"), 1.0);
    let all = "layer 1, one of norm, q/k/v, rope, attention, ffn:";
    assert!(found.why().contains(all), "{}", found.why());

    let halves = Coarse(faulty, &[TapPoint::AttentionResidual, TapPoint::Residual]);
    let found = bench.candidate(&halves, "");
    let attention = "layer 1, one of norm, q/k/v, rope, attention:";
    assert!(found.why().contains(attention), "{}", found.why());
}

#[test]
fn without_taps_the_reason_is_told() {
    let subject = subject("llama");
    let blind = Coarse(Reference, &[]);
    let candidate = Bench::new(&subject, &Reference, "").candidate(&blind, "");
    let baseline = Bench::new(&subject, &blind, "").candidate(&Reference, "");
    for (found, who) in [(candidate, "the engine"), (baseline, "the baseline")] {
        let skipped = found.of("guilty_stages").unwrap();
        let why = skipped.why.as_deref().unwrap();
        assert_eq!(why, format!("{who} cannot be tapped: no taps here"));
        assert!(found.samples.iter().all(|s| !s.case.starts_with("bisect")));
    }
}

#[test]
fn an_engine_without_a_probe_is_judged_by_the_bound() {
    // Weights that are rounded already leave nothing to measure the gain with.
    let subject = fixture();
    let bench = Bench::new(&subject, &Reference, "weights=f16");
    let healthy = bench.candidate(&Reference, "weights=q4_0");
    assert_eq!(healthy.value("guilty_stages"), 0.0, "{}", healthy.why());
    let faulty = Reference::with_fault(1, Fault::SwappedHeads);
    let found = bench.candidate(&faulty, "weights=f16");
    assert!(
        found.why().contains("layer 1, attention:"),
        "{}",
        found.why()
    );
}

#[test]
fn every_error_is_recorded_beside_its_tolerance() {
    let subject = subject("llama");
    let faulty = Reference::with_fault(1, Fault::RopeBase);
    let found = Bench::new(&subject, &Reference, "").candidate(&faulty, "");
    let of = |case: &str, metric: &str| -> Vec<(u64, f64)> {
        let mut samples = found.samples.iter();
        let samples = samples
            .by_ref()
            .filter(|s| s.case == case && s.metric == metric);
        samples.map(|s| (s.index, s.value)).collect()
    };
    let errors = of("bisect.blk.1.q_rope", "nmse_prefill");
    assert_eq!(errors.len(), 64);
    let [(0, tolerance)] = of("bisect.blk.1.q_rope", "tolerance_prefill")[..] else {
        panic!("one tolerance a stage");
    };
    // Rotations by nothing are right whatever the base.
    assert!(errors[0].1 <= tolerance && errors[1].1 > tolerance);
    assert_eq!(found.value("guilty_position"), 1.0);
    let decoded = of("bisect.blk.1.q_rope", "nmse_decode");
    assert_eq!(decoded.first().unwrap().0, 32);
    assert!(found.samples.iter().all(|s| s.value.is_finite()));
}
