use engine::{KvUsage, Logits};
use proptest::prelude::*;

use super::*;

/// Words, each with the space before it as one token; a sentence's end and the quote
/// after it are one token, too.
const VOCABULARY: [&str; 9] = ["<s>", "a", "b", " a", " b", " ", "  ", ".", ".\""];

fn words(text: &str) -> Result<Vec<TokenId>, TokenizerError> {
    let mut rest = text;
    let mut ids = Vec::new();
    while !rest.is_empty() {
        // The longest that fits, but a space belongs to the word after it.
        let fits = |id: &usize| {
            let token = VOCABULARY[*id];
            rest.starts_with(token) && !(token == "  " && rest[2..].starts_with(['a', 'b']))
        };
        let longest = (1..VOCABULARY.len())
            .filter(fits)
            .max_by_key(|&id| VOCABULARY[id].len());
        let id = longest.ok_or_else(|| TokenizerError(format!("cannot read {rest:?}")))?;
        rest = &rest[VOCABULARY[id].len()..];
        ids.push(id as TokenId);
    }
    Ok(ids)
}

fn encoded(bos: Option<TokenId>, prompt: &str, choices: &[&str]) -> Encoded {
    let choices: Vec<String> = choices.iter().map(|&choice| choice.into()).collect();
    encode(words, bos, prompt, &choices).unwrap()
}

fn id(token: &str) -> TokenId {
    VOCABULARY.iter().position(|&other| other == token).unwrap() as TokenId
}

#[test]
fn boundaries_are_those_of_lm_evaluation_harness() {
    // The choice brings its space.
    let plain = encoded(Some(0), "a b", &[" a", " b b"]);
    assert_eq!(plain.context, [0, id("a"), id(" b")]);
    assert_eq!(
        plain.continuations,
        [vec![id(" a")], vec![id(" b"), id(" b")]]
    );
    // The prompt does: it goes over, or else no token would be the text's own.
    let spaced = encoded(Some(0), "a b ", &["a", "b b"]);
    assert_eq!(spaced, plain);
    assert_eq!(
        encoded(Some(0), "a b  ", &["a"]).continuations,
        [[id(" "), id(" a")]]
    );
    // They merge: the prompt stays as it is alone.
    let merged = encoded(None, "a.", &["\"", "\" a"]);
    assert_eq!(merged.context, [id("a"), id(".")]);
    assert_eq!(merged.continuations, [vec![], vec![id(" a")]]);
    assert!(merged.flaw().unwrap().contains("choice 0"));
}

#[test]
fn a_prompt_that_predicts_nothing_is_a_flaw() {
    let blank = encoded(None, " ", &["a", "b"]);
    assert!(blank.flaw().unwrap().contains("no BOS"));
    let bos = encoded(Some(0), " ", &["a", "b"]);
    assert_eq!((bos.context.as_slice(), bos.flaw()), (&[0][..], None));
    assert_eq!(bos.continuations, [[id(" a")], [id(" b")]]);
    assert_eq!(encoded(Some(0), "a", &[" b", " b a b"]).longest(), 4);
}

/// Logits that depend on every token before, and on nothing else.
struct Hashing {
    tokens: Vec<TokenId>,
    vocab: usize,
}

impl Hashing {
    fn row(tokens: &[TokenId], vocab: usize) -> Vec<f32> {
        let mut state: u64 = 0xcbf2_9ce4_8422_2325;
        for &token in tokens {
            state = (state ^ u64::from(token)).wrapping_mul(0x0100_0000_01b3);
        }
        (0..vocab as u64)
            .map(|id| {
                let mixed = (state ^ id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                (mixed >> 40) as f32 / (1 << 22) as f32
            })
            .collect()
    }
}

impl Session for Hashing {
    fn extend(&mut self, tokens: &[TokenId], want: Want) -> Result<Logits, EngineError> {
        let before = self.tokens.len();
        self.tokens.extend_from_slice(tokens);
        let rows = self.tokens.len() - want.rows(tokens.len());
        assert!(rows >= before);
        let values = (rows + 1..=self.tokens.len())
            .flat_map(|length| Self::row(&self.tokens[..length], self.vocab))
            .collect();
        Ok(Logits::new(self.vocab, values).unwrap())
    }
    fn truncate(&mut self, len: usize) -> Result<(), EngineError> {
        self.tokens.truncate(len);
        Ok(())
    }
    fn len(&self) -> usize {
        self.tokens.len()
    }
    fn kv(&self) -> Option<KvUsage> {
        None
    }
}

proptest! {
    #[test]
    fn likelihoods_are_those_of_reading_each_continuation_alone(
        context in prop::collection::vec(0u32..40, 1..6),
        continuations in prop::collection::vec(prop::collection::vec(0u32..40, 1..7), 1..5),
    ) {
        let vocab = 40;
        let mut session = Hashing { tokens: vec![7; 3], vocab };
        let encoded = Encoded { context, continuations };
        let sums = log_likelihoods(&mut session, vocab, &encoded).unwrap();
        for (sum, tokens) in sums.iter().zip(&encoded.continuations) {
            let mut read = encoded.context.clone();
            let mut alone = 0.0;
            for &token in tokens {
                let row = Hashing::row(&read, vocab);
                let total: f64 = row.iter().map(|&z| f64::from(z).exp()).sum();
                alone += f64::from(row[token as usize]) - total.ln();
                read.push(token);
            }
            prop_assert!((sum - alone).abs() < 1e-10, "{sum} {alone}");
        }
    }
}

#[test]
fn a_token_beyond_the_vocabulary_is_an_error() {
    let mut session = Hashing {
        tokens: Vec::new(),
        vocab: 4,
    };
    let encoded = Encoded {
        context: vec![1],
        continuations: vec![vec![2, 4]],
    };
    let error = log_likelihoods(&mut session, 4, &encoded).unwrap_err();
    assert!(error.to_string().contains("token 4"), "{error}");
}

#[test]
fn of_equals_the_first_is_best() {
    assert_eq!(best([-3.0, -1.0, -1.0, -2.0]), 1);
    assert_eq!(best([-0.5]), 0);
}
