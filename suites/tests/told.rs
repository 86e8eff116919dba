//! Every suite that can do without logits, on one model that hands them over and on the same
//! that keeps them: the figures agree, and an error is seen through either.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

use engine::{
    Answer, EngineError, FailureKind, KvUsage, Logits, Model, ModelConfig, NumberFormat, Numerics,
    Piece, Predictions, Prompt, Scores, Session, TokenId, Tokenizer, TokenizerError, Transport,
    Want,
};
use harness_suites::{
    Cell, Defaults, Input, Measurement, Role, Sample, Series, Settings, Shard, Suite, SuiteError,
    find,
};

const VOCAB: usize = 32;

/// The next token depends on the last two alone.
#[derive(Clone, Copy, Debug)]
struct Small {
    /// Whether it hands its logits over.
    open: bool,
    /// Most probable tokens that it tells; `None` for text alone.
    top: Option<usize>,
    /// Size of an error on every logit.
    error: f32,
}

impl Small {
    fn row(&self, context: &[TokenId]) -> Vec<f32> {
        let last = context[context.len() - 1] as usize;
        let before = context
            .len()
            .checked_sub(2)
            .map_or(0, |at| context[at] as usize);
        (0..VOCAB)
            .map(|id| {
                let mixed = (last * 31 + before * 17 + id * 101) % 97;
                let sign = if (id + last).is_multiple_of(2) {
                    1.0
                } else {
                    -1.0
                };
                mixed as f32 / 16.0 + sign * self.error
            })
            .collect()
    }

    fn log_probabilities(&self, context: &[TokenId]) -> Vec<f64> {
        let row = self.row(context);
        let sum: f64 = row.iter().map(|&z| f64::from(z).exp()).sum();
        row.iter().map(|&z| f64::from(z) - sum.ln()).collect()
    }
}

fn ranked(values: &[f64]) -> Vec<usize> {
    let mut ids: Vec<usize> = (0..values.len()).collect();
    ids.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
    ids
}

impl Model for Small {
    fn config(&self) -> &ModelConfig {
        static CONFIG: std::sync::LazyLock<ModelConfig> =
            std::sync::LazyLock::new(|| ModelConfig {
                architecture: "small".into(),
                layers: 2,
                hidden: 64,
                feed_forward: 64,
                heads: 1,
                kv_heads: 1,
                head_dim: 64,
                vocab: VOCAB,
                context: 1024,
                parameters: 1000,
            });
        &CONFIG
    }

    fn numerics(&self) -> Numerics {
        Numerics {
            weights: NumberFormat::F32,
            activations: NumberFormat::F16,
            kv: NumberFormat::F16,
        }
    }

    fn session(&self) -> Result<Box<dyn Session + '_>, EngineError> {
        match self.open {
            true => Ok(Box::new(Reading(self, Vec::new()))),
            false => Err(EngineError::new(FailureKind::Unsupported, "kept")),
        }
    }

    fn predictions(&self) -> Predictions {
        match (self.open, self.top) {
            (true, _) => Predictions::Logits,
            (false, Some(top)) => Predictions::Scores { top },
            (false, None) => Predictions::Choices { why: "kept".into() },
        }
    }

    fn score(
        &self,
        tokens: &[TokenId],
        from: usize,
        top: usize,
    ) -> Result<Vec<Scores>, EngineError> {
        let places = from..tokens.len();
        let scores = places.map(|place| {
            let values = self.log_probabilities(&tokens[..place]);
            let best = ranked(&values).into_iter().take(top);
            Scores {
                log_probability: values[tokens[place] as usize],
                top: best.map(|id| (id as TokenId, values[id])).collect(),
            }
        });
        Ok(scores.collect())
    }

    fn generate(
        &self,
        prompt: &Prompt<'_>,
        each: &mut dyn FnMut(Piece<'_>),
    ) -> Result<Answer, EngineError> {
        let mut context = prompt.tokens.to_vec();
        for _ in 0..prompt.max_tokens {
            let best = ranked(&self.log_probabilities(&context))[0] as TokenId;
            context.push(best);
            let text = Letters.decode(&[best]).unwrap();
            let ids = [best];
            let tokens: &[TokenId] = if self.top.is_some() { &ids } else { &[] };
            each(Piece {
                tokens,
                text: &text,
            });
        }
        Ok(Answer {
            transport: Some(Transport {
                whole_ns: 10,
                ..Transport::default()
            }),
            ..Answer::default()
        })
    }

    fn shared(&self) -> Option<&(dyn Model + Sync)> {
        Some(self)
    }
}

struct Reading<'a>(&'a Small, Vec<TokenId>);

impl Session for Reading<'_> {
    fn extend(&mut self, tokens: &[TokenId], want: Want) -> Result<Logits, EngineError> {
        let mut values = Vec::new();
        for (place, &token) in tokens.iter().enumerate() {
            self.1.push(token);
            if want == Want::All || want == Want::Last && place + 1 == tokens.len() {
                values.extend(self.0.row(&self.1));
            }
        }
        Ok(Logits::new(VOCAB, values).unwrap())
    }
    fn truncate(&mut self, len: usize) -> Result<(), EngineError> {
        self.1.truncate(len);
        Ok(())
    }
    fn len(&self) -> usize {
        self.1.len()
    }
    fn kv(&self) -> Option<KvUsage> {
        None
    }
}

/// A token for every five bits of a letter.
struct Letters;

const LETTERS: &[u8; VOCAB] = b" abcdefghijklmnopqrstuvwxyz.,'!?";

impl Tokenizer for Letters {
    fn encode(&self, text: &str) -> Result<Vec<TokenId>, TokenizerError> {
        let ids = text.bytes().map(|byte| {
            let found = LETTERS.iter().position(|&letter| letter == byte);
            found.unwrap_or(0) as TokenId
        });
        Ok(ids.collect())
    }
    fn decode(&self, ids: &[TokenId]) -> Result<String, TokenizerError> {
        Ok(ids.iter().map(|&id| LETTERS[id as usize] as char).collect())
    }
    fn token_bytes(&self, id: TokenId) -> Result<&[u8], TokenizerError> {
        Ok(&LETTERS[id as usize..=id as usize])
    }
    fn bos(&self) -> Option<TokenId> {
        None
    }
    fn eos(&self) -> Option<TokenId> {
        None
    }
    fn sha256(&self) -> &str {
        "letters"
    }
}

const OPEN: Small = Small {
    open: true,
    top: Some(20),
    error: 0.0,
};
const KEPT: Small = Small {
    open: false,
    ..OPEN
};

const ITEMS: &str = concat!(
    r#"{"id":"a","prompt":"it is","choices":[" a truth"," no"," known"],"answer":0}"#,
    "\n",
    r#"{"id":"b","prompt":"a single man","exact":"x","max_tokens":4}"#,
    "\n",
);

type Cells = (Result<Vec<Measurement>, SuiteError>, Series);

/// Runs `suite` on the two, the first as the baseline of the second.
fn run(suite: &str, engines: [Small; 2], settings: &[(&str, &str)]) -> [Cells; 2] {
    let suite = find(suite).unwrap();
    let mut given = Settings::default();
    for &(key, value) in settings {
        given.set(key, value);
    }
    given.complete(suite.settings(), true);
    let text = "it is a truth universally acknowledged, that a single man in possession of a good \
                fortune, must be in want of a wife. "
        .repeat(12);
    let folder = tempfile::tempdir().unwrap();
    let input = Input {
        tokenizer: &Letters,
        model_sha256: "",
        defaults: Defaults {
            text: &text,
            items: ITEMS,
            prompts: r#"{"id":"p","prompt":"it is a truth"}"#,
            goldens: &[],
        },
        settings: &given,
    };
    let mut before: Option<Series> = None;
    engines.map(|engine| {
        let role = match before {
            None => Role::Baseline,
            Some(_) => Role::Candidate,
        };
        let (measurements, series) = cell(suite, engine, input, role, folder.path());
        let measurements = measurements.map(|mut measurements| {
            let figures = suite.figures(&given, &series, before.as_ref()).unwrap();
            measurements.extend(figures);
            measurements
        });
        before.get_or_insert_with(|| series.clone());
        (measurements, series)
    })
}

fn cell(suite: &dyn Suite, engine: Small, input: Input<'_>, role: Role, folder: &Path) -> Cells {
    let mut samples: Vec<Sample> = Vec::new();
    suite.validate(&input).unwrap();
    let measurements = suite.run(&mut Cell {
        open: &|| Ok(Box::new(engine)),
        variant: &|_, _| None,
        input,
        role,
        candidates: 1,
        engine: "small",
        model_path: None,
        model_sha256: "",
        model_bytes: 1000,
        shard: Shard::WHOLE,
        scratch: folder,
        artifacts: (folder, "small"),
        progress: &|_, _| {},
        samples: &mut |sample| samples.push(sample),
    });
    (measurements, samples.into_iter().collect())
}

#[track_caller]
fn value(cells: &Cells, name: &str) -> f64 {
    let figures = cells.0.as_ref().unwrap();
    let found = figures
        .iter()
        .find(|figure| format!("{}.{}", figure.case, figure.metric) == name);
    found.unwrap_or_else(|| panic!("no {name}")).value
}

fn failed(cells: &Cells) -> Vec<&str> {
    let figures = cells.0.as_ref().unwrap().iter();
    figures
        .filter(|figure| matches!(&figure.gate, Some(gate) if !gate.admits(figure.value)))
        .map(|figure| &*figure.metric)
        .collect()
}

#[test]
fn parity_takes_what_is_told() {
    let settings = [("ctx", "32"), ("windows", "3")];
    let [open, kept] = run("parity", [OPEN, KEPT], &settings);
    assert_eq!(failed(&kept), [""; 0]);
    let name = "teacher_forced.perplexity";
    assert!((value(&open, name) / value(&kept, name) - 1.0).abs() < 1e-6);
    assert_eq!(value(&kept, "teacher_forced.same_top1"), 1.0);
    assert_eq!(value(&kept, "repeat.differing_scores"), 0.0);
    let wrong = Small { error: 0.5, ..KEPT };
    let [_, wrong] = run("parity", [OPEN, wrong], &settings);
    let seen = failed(&wrong);
    assert!(seen.contains(&"top_k_kl_lower_bound"), "{seen:?}");
    assert!(seen.contains(&"top_k_log_probability_rms"), "{seen:?}");
    // A bound is one: the same error with all logits in sight costs at least as much.
    let in_sight = Small { error: 0.5, ..OPEN };
    let [_, whole] = run("parity", [OPEN, in_sight], &settings);
    let kl = value(&whole, "teacher_forced.kl_mean");
    assert!(value(&wrong, "teacher_forced.top_k_kl_lower_bound") <= kl);
    // Without other tokens, the text's own still tell.
    let own = Small {
        top: Some(0),
        error: 0.5,
        ..KEPT
    };
    let [_, own] = run("parity", [OPEN, own], &settings);
    assert!(failed(&own).contains(&"top_k_log_probability_rms"));
}

#[test]
fn perplexity_is_exact() {
    let settings = [("ctx", "64")];
    let [open, kept] = run("perplexity", [OPEN, KEPT], &settings);
    assert_eq!(failed(&kept), [""; 0]);
    let (open, kept) = (value(&open, "llama_cpp.ppl"), value(&kept, "llama_cpp.ppl"));
    assert!((open / kept - 1.0).abs() < 1e-6, "{open} {kept}");
    let wrong = Small { error: 0.5, ..KEPT };
    let [_, wrong] = run("perplexity", [OPEN, wrong], &settings);
    assert!(failed(&wrong).contains(&"top_k_kld_lower_bound"));
    assert!(value(&wrong, "llama_cpp.same_top") < 1.0);
}

#[test]
fn golden_finds_what_differs() {
    let [_, kept] = run("golden", [OPEN, KEPT], &[]);
    assert_eq!(failed(&kept), [""; 0]);
    assert_eq!(value(&kept, "all.exact"), 1.0);
    let wrong = Small { error: 3.0, ..KEPT };
    let [_, wrong] = run("golden", [OPEN, wrong], &[]);
    assert!(failed(&wrong).contains(&"unexplained"));
    let text_only = Small { top: None, ..KEPT };
    let [_, same] = run("golden", [OPEN, text_only], &[]);
    assert_eq!(value(&same, "all.exact"), 1.0);
    assert_eq!(failed(&same), [""; 0], "text alone is not gated");
}

#[test]
fn accuracy_gives_the_same_answers() {
    let [open, kept] = run("accuracy", [OPEN, KEPT], &[]);
    let answers = |(_, series): &Cells| {
        let cases: Vec<String> = series.cases().map(String::from).collect();
        let of = |case: &String| series.of(case, "answer").to_vec();
        cases.iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(answers(&open), answers(&kept));
    assert!(!answers(&open).is_empty());
}

#[test]
fn latency_streams() {
    let settings = [("prompts", "8"), ("decode_tokens", "4")];
    let [_, kept] = run("latency", [OPEN, KEPT], &settings);
    assert_eq!(failed(&kept), [""; 0]);
    for name in [
        "decode.itl_p50_ns",
        "open_loop.response_p50_ns",
        "concurrent.tok_per_s",
        "network.connect_p50_ns",
    ] {
        assert!(value(&kept, name).is_finite(), "{name}");
    }
    assert!(value(&kept, "network.outside_engine_p50_ns").is_nan());
}

#[test]
fn what_cannot_be_had_is_refused_with_the_reason() {
    let text_only = Small { top: None, ..KEPT };
    for suite in ["parity", "perplexity", "accuracy"] {
        let [_, (result, _)] = run(
            suite,
            [OPEN, text_only],
            &[("ctx", "64")][..usize::from(suite != "accuracy")],
        );
        let Err(SuiteError::Engine(error)) = result else {
            panic!("{suite}: {result:?}")
        };
        assert_eq!(error.kind(), FailureKind::Unsupported, "{suite}");
    }
    for suite in ["parity", "perplexity", "golden"] {
        let settings: &[_] = if suite == "golden" {
            &[]
        } else {
            &[("ctx", "64")]
        };
        let [(result, _), _] = run(suite, [KEPT, KEPT], settings);
        let error = result.unwrap_err().to_string();
        assert!(error.contains("another baseline"), "{suite}: {error}");
    }
}
