use engine::{KvUsage, TokenizerError};
use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::Deserialize;
use statrs::distribution::{ContinuousCDF, Normal};

use super::*;

/// The bytes that each token stands for.
struct Pieces(Vec<Vec<u8>>);

impl Tokenizer for Pieces {
    fn encode(&self, _: &str) -> Result<Vec<TokenId>, TokenizerError> {
        Err(TokenizerError("not needed".into()))
    }
    fn decode(&self, _: &[TokenId]) -> Result<String, TokenizerError> {
        Err(TokenizerError("not needed".into()))
    }
    fn token_bytes(&self, id: TokenId) -> Result<&[u8], TokenizerError> {
        let piece = self.0.get(id as usize).map(Vec::as_slice);
        piece.ok_or_else(|| TokenizerError(format!("no token {id}")))
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

/// After `n` tokens it wants token `n`; any other has a logit of its own.
struct Counting {
    len: usize,
    vocab: usize,
    poison: f32,
}

impl Session for Counting {
    fn extend(&mut self, tokens: &[TokenId], _: Want) -> Result<Logits, EngineError> {
        if tokens.is_empty() {
            return Err(EngineError::invalid("no tokens"));
        }
        self.len += tokens.len();
        let mut row: Vec<f32> = (0..self.vocab).map(|id| id as f32 / -8.0).collect();
        row[self.len % self.vocab] = 4.0 * self.poison;
        Ok(Logits::new(self.vocab, row).unwrap())
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

fn config(vocab: usize, context: usize) -> ModelConfig {
    ModelConfig {
        architecture: "counting".into(),
        layers: 1,
        hidden: 1,
        feed_forward: 1,
        heads: 1,
        kv_heads: 1,
        head_dim: 1,
        vocab,
        context,
        parameters: 1,
    }
}

fn count(context: usize, stop: &Stop, max_tokens: usize) -> (Generated, Vec<String>) {
    let tokenizer = Pieces((b'a'..=b'z').map(|byte| vec![byte]).collect());
    let mut session = Counting {
        len: 0,
        vocab: 26,
        poison: 1.0,
    };
    let request = Request {
        prompt: &[0, 0],
        sampling: &Sampling::default(),
        stop,
        max_tokens,
        top: 2,
    };
    let mut pieces = Vec::new();
    let generated = generate(
        &mut session,
        &config(26, context),
        &tokenizer,
        &request,
        &mut |piece| pieces.push(piece.to_owned()),
    )
    .unwrap();
    assert_eq!(pieces.concat(), generated.text);
    assert!(pieces.iter().all(|piece| !piece.is_empty()));
    (generated, pieces)
}

#[test]
fn texts_end_where_they_are_told_to() {
    let stop = |token_ids: &[TokenId], strings: &[&str]| Stop {
        token_ids: token_ids.to_vec(),
        strings: strings.iter().map(ToString::to_string).collect(),
    };
    for (context, stop, max_tokens, text, steps, finish) in [
        (99, stop(&[], &[]), 3, "cde", 3, Finish::Length),
        (99, stop(&[], &[]), 0, "", 0, Finish::Length),
        // The last token need not fit.
        (5, stop(&[], &[]), 9, "cdef", 4, Finish::Context),
        (99, stop(&[5, 7], &[]), 9, "cde", 4, Finish::StopToken),
        (
            99,
            stop(&[], &["ef"]),
            9,
            "cd",
            4,
            Finish::StopString("ef".into()),
        ),
        (99, stop(&[], &["efx"]), 4, "cdef", 4, Finish::Length),
        (
            99,
            stop(&[], &["f", "def"]),
            9,
            "c",
            4,
            Finish::StopString("def".into()),
        ),
    ] {
        let (generated, _) = count(context, &stop, max_tokens);
        assert_eq!(generated.text, text, "{stop:?}");
        assert_eq!(generated.steps.len(), steps, "{stop:?}");
        assert_eq!(generated.finish, finish, "{stop:?}");
    }
}

#[test]
fn what_may_become_a_stop_string_is_held_back() {
    let stop = Stop {
        token_ids: Vec::new(),
        strings: vec!["dex".into()],
    };
    let (_, pieces) = count(99, &stop, 5);
    assert_eq!(pieces, ["c", "def", "g"]);
}

#[test]
fn steps_tell_of_the_distribution() {
    let (generated, _) = count(99, &Stop::default(), 1);
    let step = &generated.steps[0];
    let row: Vec<f64> = (0..26)
        .map(|id| if id == 2 { 4.0 } else { f64::from(id) / -8.0 })
        .collect();
    let log_sum = row.iter().map(|z| z.exp()).sum::<f64>().ln();
    assert_eq!((step.token, step.margin), (2, 4.0));
    assert!((step.log_probability - (4.0 - log_sum)).abs() < 1e-12);
    assert_eq!(
        step.top.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
        [2, 0]
    );
    assert!((step.top[1].1 + log_sum).abs() < 1e-12);
}

#[test]
fn logits_that_are_none_are_failures() {
    let tokenizer = Pieces(vec![b"a".to_vec()]);
    let stop = Stop::default();
    let request = Request {
        prompt: &[0],
        sampling: &Sampling::default(),
        stop: &stop,
        max_tokens: 4,
        top: 0,
    };
    for (vocab, said, poison, kind) in [
        (4, 4, f32::NAN, FailureKind::Numerics),
        (4, 4, f32::INFINITY, FailureKind::Numerics),
        (4, 5, 1.0, FailureKind::Protocol),
        // It chooses what the tokenizer lacks.
        (4, 4, 1.0, FailureKind::Protocol),
    ] {
        let len = 0;
        let mut session = Counting { len, vocab, poison };
        let config = config(said, 9);
        let outcome = generate(&mut session, &config, &tokenizer, &request, &mut |_| {});
        assert_eq!(outcome.unwrap_err().kind(), kind);
    }
}

#[derive(Deserialize)]
struct Vectors {
    logits: Vec<Vec<f32>>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    sampling: Sampling,
    tokens: Vec<TokenId>,
    kept: Vec<usize>,
}

/// By `scripts/oracles/sampling.py`.
fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../../tests/vectors/sampling.json")).unwrap()
}

#[test]
fn tokens_are_those_of_numpy() {
    let vectors = vectors();
    for case in &vectors.cases {
        let mut sampler = Sampler::new(&case.sampling);
        let choose = |row: &Vec<f32>| sampler.choose(row).token;
        let tokens: Vec<TokenId> = vectors.logits.iter().map(choose).collect();
        assert_eq!(tokens, case.tokens, "{}", case.sampling);
        for (row, &kept) in vectors.logits.iter().zip(&case.kept) {
            if !case.sampling.is_greedy() {
                let ranking = sampling::Ranking::new(row, &case.sampling);
                assert_eq!(ranking.kept, kept, "{}", case.sampling);
            }
        }
    }
}

#[test]
fn shares_of_draws_are_the_probabilities() {
    let sampling: Sampling = "temperature=0.5,seed=7".parse().unwrap();
    let logits = [0.0, 1.0, -1.0, 0.5];
    let mut sampler = Sampler::new(&sampling);
    let mut counts = [0u32; 4];
    for _ in 0..20_000 {
        counts[sampler.choose(&logits).token as usize] += 1;
    }
    let weights = logits.map(|z| f64::from(z / 0.5).exp());
    let total: f64 = weights.iter().sum();
    for (count, weight) in counts.iter().zip(weights) {
        let p = weight / total;
        let expected = 20_000.0 * p;
        let deviation = (expected * (1.0 - p)).sqrt();
        assert!(
            (f64::from(*count) - expected).abs() < 4.0 * deviation,
            "{counts:?}"
        );
    }
}

/// Errors on the logits change a choice as often as its margin says: with
/// `σ = margin / √2` that is `Φ(−1) = 16 %`, and more where several events are
/// about as far.
#[test]
fn margins_foretell_how_often_errors_change_a_choice() {
    let normal = Normal::standard();
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut uniform = || (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
    let vectors = vectors();
    let mut tried = 0;
    for case in &vectors.cases {
        let mut sampler = Sampler::new(&case.sampling);
        for (row, &kept) in vectors.logits.iter().zip(&case.kept) {
            let before = sampler.clone();
            let choice = sampler.choose(row);
            // Beyond, errors are not small; ties and lone tokens have nothing to tell.
            if !(0.005..0.25).contains(&choice.margin) || kept == 1 && !case.sampling.is_greedy() {
                continue;
            }
            tried += 1;
            let sigma = choice.margin / 2f64.sqrt();
            const TRIALS: u32 = 1000;
            let mut changed = 0;
            for _ in 0..TRIALS {
                let noise = |z: &f32| {
                    let u = uniform().max(f64::MIN_POSITIVE);
                    (f64::from(*z) + sigma * normal.inverse_cdf(u)) as f32
                };
                let noisy: Vec<f32> = row.iter().map(noise).collect();
                changed += u32::from(before.clone().choose(&noisy).token != choice.token);
            }
            let share = f64::from(changed) / f64::from(TRIALS);
            assert!(
                (0.10..0.45).contains(&share),
                "{}: margin {}, {share} of choices changed",
                case.sampling,
                choice.margin
            );
        }
    }
    assert!(tried > 30, "{tried}");
}

#[test]
fn malformed_sampling_is_refused() {
    for text in [
        "",
        "Greedy",
        "temperature",
        "temperature=0",
        "temperature=nan",
        "temperature=1,temperature=1",
        "top_k=3",
        "temperature=1,top_k=-1",
        "temperature=1,top_p=0",
        "temperature=1,top_p=1.5",
        "temperature=1,min_p=2",
        "temperature=1,seed=1e3",
        "temperature=1,heat=2",
    ] {
        assert!(text.parse::<Sampling>().is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn sampling_reads_back(
        temperature in 0.001f64..10.0,
        top_k in 0usize..9,
        top_p in 0.001f64..=1.0,
        min_p in 0f64..=1.0,
        seed: u64,
    ) {
        let sampling = Sampling { temperature, top_k, top_p, min_p, seed };
        prop_assert_eq!(sampling.to_string().parse::<Sampling>().unwrap(), sampling);
    }

    #[test]
    fn any_row_has_a_choice_among_what_is_kept(
        row in prop::collection::vec((-400i16..400).prop_map(f32::from), 1..200),
        temperature in 0.01f64..5.0,
        top_k in 0usize..80,
        top_p in 0.01f64..=1.0,
        min_p in 0f64..=1.0,
        seed: u64,
    ) {
        let sampling = Sampling { temperature, top_k, top_p, min_p, seed };
        let choice = Sampler::new(&sampling).choose(&row);
        prop_assert!(choice.margin >= 0.0);
        let better = row.iter().filter(|&&z| z > row[choice.token as usize]).count();
        let most = if top_k == 0 { row.len() } else { top_k };
        prop_assert!(better < most);
    }

    /// However a text is cut into tokens, what streams out is the same, whole
    /// characters, and ends where a search of the whole text finds a stop string.
    #[test]
    fn streams_do_not_depend_on_token_boundaries(
        text in "[abcé🦙]{0,24}",
        noise in prop::collection::vec(any::<u8>(), 0..4),
        stops in prop::collection::vec("[abcé]{1,4}", 0..3),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let mut bytes = text.into_bytes();
        bytes.extend(noise);
        let whole = String::from_utf8_lossy(&bytes);
        let ends = |stop: &String| whole.find(stop.as_str()).map(|at| (at + stop.len(), at));
        let expected = stops.iter().filter_map(ends).min().map_or(&*whole, |(_, at)| &whole[..at]);

        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let mut stream = TextStream::new(&stops);
        let mut streamed = String::new();
        let mut emit = |piece: &str| streamed.push_str(piece);
        let mut stopped = false;
        for cut in cuts.windows(2) {
            stopped = stopped || stream.push(&bytes[cut[0]..cut[1]], &mut emit).is_some();
            if stopped {
                break;
            }
        }
        stopped |= stream.finish(&mut emit).is_some();
        prop_assert_eq!(&streamed, expected);
        prop_assert_eq!(stopped, expected.len() < whole.len());
    }
}
