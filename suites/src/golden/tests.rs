use std::fs;
use std::path::Path;

use engine::{
    EngineError, KvUsage, Logits, Model, ModelConfig, NumberFormat, Numerics, Session, TokenId,
    Tokenizer, TokenizerError, Want,
};
use proptest::prelude::*;

use super::verify::Disagreement;
use super::*;
use crate::generation::{Finish, Stop};

const VOCAB: usize = 8;

/// One letter a token.
struct Letters;

impl Tokenizer for Letters {
    fn encode(&self, text: &str) -> Result<Vec<TokenId>, TokenizerError> {
        Ok(text
            .bytes()
            .map(|byte| TokenId::from(byte - b'a'))
            .collect())
    }
    fn decode(&self, _: &[TokenId]) -> Result<String, TokenizerError> {
        Err(TokenizerError("not needed".into()))
    }
    fn token_bytes(&self, id: TokenId) -> Result<&[u8], TokenizerError> {
        let letter = b"abcdefgh".get(id as usize..=id as usize);
        letter.ok_or_else(|| TokenizerError(format!("token {id} is outside the vocabulary of 8")))
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

/// After `n` tokens, whatever they are, its best is `n` modulo 8, and the next one
/// trails by `gaps[n]`. At `flips` the two change places.
struct Scripted {
    config: ModelConfig,
    weights: NumberFormat,
    gaps: Vec<f32>,
    flips: Vec<usize>,
}

impl Scripted {
    fn new(gaps: &[f32]) -> Self {
        Self {
            config: ModelConfig {
                architecture: "scripted".into(),
                layers: 2,
                hidden: 32,
                feed_forward: 64,
                heads: 1,
                kv_heads: 1,
                head_dim: 32,
                vocab: VOCAB,
                context: 64,
                parameters: 1,
            },
            weights: NumberFormat::F32,
            gaps: gaps.to_vec(),
            flips: Vec::new(),
        }
    }

    /// Another engine: same script but for flips.
    fn flipped(&self, weights: NumberFormat, flips: &[usize]) -> Self {
        Self {
            config: self.config.clone(),
            weights,
            gaps: self.gaps.clone(),
            flips: flips.to_vec(),
        }
    }
}

impl Model for Scripted {
    fn config(&self) -> &ModelConfig {
        &self.config
    }
    fn numerics(&self) -> Numerics {
        Numerics {
            weights: self.weights,
            activations: NumberFormat::F32,
            kv: NumberFormat::F32,
        }
    }
    fn session(&self) -> Result<Box<dyn Session + '_>, EngineError> {
        Ok(Box::new(Reading {
            model: self,
            len: 0,
        }))
    }
}

struct Reading<'a> {
    model: &'a Scripted,
    len: usize,
}

impl Session for Reading<'_> {
    fn extend(&mut self, tokens: &[TokenId], want: Want) -> Result<Logits, EngineError> {
        let mut rows = Vec::new();
        for _ in tokens {
            self.len += 1;
            let gap = self.model.gaps[self.len % self.model.gaps.len()];
            let (mut best, mut second) = (self.len % VOCAB, (self.len + 1) % VOCAB);
            if self.model.flips.contains(&self.len) {
                std::mem::swap(&mut best, &mut second);
            }
            let mut row = [-3.0; VOCAB];
            (row[best], row[second]) = (2.0, 2.0 - gap);
            rows.extend(row);
        }
        let wanted = want.rows(tokens.len()) * VOCAB;
        Ok(Logits::new(VOCAB, rows[rows.len() - wanted..].to_vec()).unwrap())
    }
    fn truncate(&mut self, len: usize) -> Result<(), EngineError> {
        self.len = len;
        Ok(())
    }
    fn len(&self) -> usize {
        self.len
    }
    fn kv(&self) -> Option<KvUsage> {
        None
    }
}

fn verify(model: &Scripted, transcript: &Transcript) -> Result<Verified, EngineError> {
    super::verify::verify(model, model.numerics(), &Letters, transcript)
}

fn record(model: &Scripted, sampling: &str) -> Transcript {
    let prompts = Prompt::parse(Path::new("p"), r#"{"id": "one", "prompt": "ab"}"#).unwrap();
    let recorder = Recorder {
        engine: "scripted 1",
        model_sha256: "model",
        tokenizer: &Letters,
        sampling: &sampling.parse().unwrap(),
        stop: &[],
        max_tokens: 8,
        top: 3,
    };
    let mut made = recorder
        .record(model, &|_, _| None, &prompts, &|_, _| {})
        .unwrap();
    made.remove(0)
}

/// Context lengths 2 to 9 make the eight steps; the gap of each is its own.
const GAPS: [f32; 10] = [9.0, 9.0, 3.0, 3.0, 0.01, 3.0, 3.0, 1.0, 3.0, 3.0];

#[test]
fn an_engine_agrees_with_itself() {
    let model = Scripted::new(&GAPS);
    for sampling in ["greedy", "temperature=1.5,top_k=5,seed=3"] {
        let transcript = record(&model, sampling);
        let verified = verify(&model, &transcript).unwrap();
        assert!(verified.is_exact());
        assert_eq!((verified.matched, verified.edits), (8, 0));
        assert!(
            verified
                .deltas
                .iter()
                .all(|delta| delta.abs() <= Recorded::ROUNDING)
        );
    }
    assert_eq!(record(&model, "greedy").text, "cdefghab");
}

#[test]
fn a_flipped_tie_hides_nothing_after_it() {
    let model = Scripted::new(&GAPS);
    let transcript = record(&model, "greedy");
    // Steps 2 (gap 0.01) and 5 (gap 1): contexts of 4 and 7 tokens.
    let other = model.flipped(NumberFormat::Q8_0, &[4, 7]);
    let verified = verify(&other, &transcript).unwrap();
    assert_eq!((verified.matched, verified.edits), (2, 2));
    let places: Vec<(usize, TokenId, TokenId)> = verified
        .disagreements
        .iter()
        .map(|d| (d.position, d.recorded, d.chosen))
        .collect();
    assert_eq!(places, [(2, 4, 5), (5, 7, 0)]);
    assert!((verified.disagreements[0].apart - 0.01).abs() < 1e-5);
    assert!(
        (verified.deltas[2] + 0.01).abs() < 1e-5,
        "{:?}",
        verified.deltas
    );
    let figures = figures::all(&[(transcript, verified)], &[], &Letters);
    let gate = |metric: &str| {
        let named = figures
            .iter()
            .find(|f| f.case == "one" && f.metric == metric);
        named.unwrap().gate.clone().unwrap().because
    };
    let why = gate("unexplained");
    let said = "prompt `one` position 5: 0 \"a\" where 7 \"h\" is recorded, 1.000e0 nats apart";
    assert!(why.starts_with(said), "{why}");
}

#[test]
fn ties_are_near_by_the_formats_compared() {
    let model = Scripted::new(&GAPS);
    let transcript = record(&model, "greedy");
    let near = |weights: NumberFormat, flip: usize| -> Vec<bool> {
        let verified = verify(&model.flipped(weights, &[flip]), &transcript).unwrap();
        let disagreements = verified.disagreements.iter();
        disagreements.map(Disagreement::is_near_tie).collect()
    };
    assert_eq!(near(NumberFormat::Q4_0, 4), [true]);
    assert_eq!(near(NumberFormat::Q8_0, 4), [true]);
    // The same weights leave rounding alone to blame, which is not this large.
    assert_eq!(near(NumberFormat::F32, 4), [false]);
    assert_eq!(near(NumberFormat::Q8_0, 7), [false]);
    assert_eq!(near(NumberFormat::Q4_0, 2), [false]);
    assert_eq!(near(NumberFormat::Q4_0, 40), [false; 0]);
}

#[test]
fn what_follows_the_same_tokens_is_compared_too() {
    let model = Scripted::new(&GAPS);
    let transcript = record(&model, "greedy");
    let end = |change: fn(&mut Transcript)| {
        let mut changed = transcript.clone();
        change(&mut changed);
        let verified = verify(&model, &changed).unwrap();
        assert!(!verified.is_exact());
        verified.other_end.unwrap()
    };
    assert!(end(|t| t.text = "x".into()).contains("another text"));
    assert!(end(|t| t.finish = Finish::StopToken).contains("another reason"));
    assert!(end(|t| drop(t.steps.pop())).contains("position 7"));
    let more = |t: &mut Transcript| {
        t.stop = Stop {
            token_ids: vec![4],
            strings: Vec::new(),
        };
    };
    assert!(end(more).contains("position 3"));
}

#[test]
fn a_context_too_short_is_an_error() {
    let mut model = Scripted::new(&GAPS);
    let transcript = record(&model, "greedy");
    model.config.context = 8;
    let error = verify(&model, &transcript).unwrap_err();
    assert!(error.to_string().contains("9 tokens"), "{error}");
}

#[test]
fn files_read_back() {
    let model = Scripted::new(&GAPS);
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("plain");
    fs::write(&plain, "").unwrap();
    let permissions = |path: &Path| fs::metadata(path).unwrap().permissions();
    for sampling in [
        "greedy",
        "temperature=0.5,min_p=0.01,seed=18446744073709551615",
    ] {
        let transcript = record(&model, sampling);
        let path = transcript.write(folder.path(), true).unwrap();
        assert_eq!(permissions(&path), permissions(&plain));
        let read = Transcript::read(&path).unwrap();
        assert_eq!(read, [(path, transcript)]);
    }
    let transcript = record(&model, "greedy");
    assert!(transcript.write(folder.path(), false).is_err());
    // A line a step: a change is seen where it is.
    let text = transcript.to_text().unwrap();
    let steps = text.lines().filter(|line| line.contains("\"token\""));
    assert_eq!(steps.count(), 8);
}

#[test]
fn mistakes_in_files_are_named() {
    let text = record(&Scripted::new(&GAPS), "greedy").to_text().unwrap();
    let refusal = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        let error = Transcript::parse(Path::new("g.json"), &text.replacen(from, to, 1));
        error.unwrap_err().to_string()
    };
    for (from, to, why) in [
        ("\"schema\": 1", "\"schema\": 2", "g.json: schema 2"),
        ("\"schema\": 1,", "", "missing field `schema`"),
        ("\"id\": \"one\"", "\"id\": \"../one\"", "g.json: id"),
        ("\"id\": \"one\"", "\"id\": \"all\"", "not `all`"),
        ("\"prompt\": \"ab\"", "\"prompt\": 3", "g.json line 4:"),
        ("\"prompt\": \"ab\"", "\"messages\": []", "either `prompt`"),
        ("greedy", "greedier", "line 5: sampling"),
        ("\"max_tokens\": 8", "\"max_tokens\": 7", "more `steps`"),
        ("\"gain\": ", "\"gain\": -", "noise.gain"),
        ("\"gain\": ", "\"gain\": 1e999, \"x\": ", "line 12"),
        ("\"token\": 2", "\"token\": -2", "line 17:"),
        ("\"margin\": ", "\"margin\": -", "step 0"),
        ("  ]\n}", "  ]\n", "EOF"),
    ] {
        let error = refusal(from, to);
        assert!(error.contains(why), "{from} → {to}: {error}");
    }
    assert!(Transcript::parse(Path::new("g.json"), "").is_err());
}

#[test]
fn transcripts_of_others_are_refused() {
    let transcript = record(&Scripted::new(&GAPS), "greedy");
    let path = Path::new("g.json");
    assert!(transcript.check_model(path, "model").is_ok());
    let error = transcript
        .check_model(path, "another")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("g.json") && error.contains("other_model"),
        "{error}"
    );
    assert!(transcript.check_tokens(path, &Letters).is_ok());
    let mut other = transcript.clone();
    other.tokenizer_sha256 = "digits".into();
    assert!(other.check_tokens(path, &Letters).is_err());
    let mut outside = transcript.clone();
    outside.steps[3].token = 8;
    let error = outside
        .check_tokens(path, &Letters)
        .unwrap_err()
        .to_string();
    assert!(error.contains("step 3"), "{error}");
}

proptest! {
    /// Whatever becomes of a file, reading it is no end of the program.
    #[test]
    fn damaged_files_are_read_or_refused(
        at in any::<prop::sample::Index>(),
        length in 0usize..40,
        instead in "[\\[\\]{}:,\"0-9a-z.eE+-]{0,12}",
    ) {
        let text = record(&Scripted::new(&GAPS), "greedy").to_text().unwrap();
        let start = at.index(text.len());
        let end = (start + length).min(text.len());
        let damaged = [&text[..start], &instead, &text[end..]].concat();
        if let Ok(transcript) = Transcript::parse(Path::new("g.json"), &damaged) {
            let again = Transcript::parse(Path::new("g.json"), &transcript.to_text().unwrap());
            prop_assert_eq!(again.unwrap(), transcript);
        }
    }

    #[test]
    fn any_prompts_are_read_or_refused(text in "[\\[\\]{}:,\"a-z0-9\n ]{0,80}") {
        let _ = Prompt::parse(Path::new("p.jsonl"), &text);
    }
}
