//! How a token is chosen from logits: specified to the last bit.
//!
//! 1. Order the tokens by logit, largest first; the lower id wins a tie.
//! 2. Temperature 0: the first token. Otherwise give the `i`-th token the weight
//!    `wᵢ = exp((zᵢ − z₁) / temperature)`, in f64.
//! 3. `top_k`: keep the first `top_k` tokens.
//! 4. `top_p`: of these, keep the fewest first ones whose weights come to at least
//!    `top_p` of all.
//! 5. `min_p`: of these, keep those with `wᵢ ≥ min_p`, that is, with at least
//!    `min_p` times the probability of the first.
//! 6. Draw `u` in `[0, 1)` and choose the first token at which the running sum of
//!    weights exceeds `u` times the weight of all that are kept.
//!
//! This is the order of Hugging Face's generation: temperature comes first, so
//! `top_p` sees what is sampled from, and the same settings keep the same tokens
//! there. (llama.cpp's default puts temperature last, vLLM puts `min_p` before
//! `top_k`.) Sums run in the order of the tokens. `u` is a number of its own for
//! every step, whether or not the filters leave a choice: the upper 53 bits of the
//! step's 64 from ChaCha8 (Bernstein's, 64-bit counter) over 2⁵³. Its key is the
//! seed in little-endian bytes and 24 zeros, its nonce zero. The exponential is
//! our own, since those of C libraries differ in their last bits.

use std::fmt;
use std::str::FromStr;

use engine::TokenId;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use super::margin;
use crate::distribution::{exp, top};

/// Settings of the sampler; the default is greedy. Written `greedy`, or
/// `temperature=0.8,top_k=40,top_p=0.95,min_p=0.05,seed=1`, where all but the
/// temperature may be left out.
///
/// ```
/// use harness_suites::generation::Sampling;
///
/// let sampling: Sampling = "temperature=0.8,top_k=40,seed=1".parse()?;
/// assert_eq!((sampling.temperature, sampling.top_p), (0.8, 1.0));
/// assert_eq!(sampling.to_string(), "temperature=0.8,top_k=40,seed=1");
/// assert_eq!("greedy".parse(), Ok(Sampling::default()));
/// assert!("temperature=0".parse::<Sampling>().is_err_and(|why| why.contains("write `greedy`")));
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Sampling {
    /// Divides the logits; 0 always takes the largest.
    pub temperature: f64,
    /// Most tokens to choose from; 0 means all.
    pub top_k: usize,
    /// Probability that the tokens to choose from must make up, in `(0, 1]`.
    pub top_p: f64,
    /// Least probability of a token to choose from, relative to the best, in `[0, 1]`.
    pub min_p: f64,
    /// Seed of the random numbers.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            seed: 0,
        }
    }
}

impl Sampling {
    /// Whether the largest logit is always taken.
    #[must_use]
    pub(crate) fn is_greedy(&self) -> bool {
        self.temperature == 0.0
    }

    fn check(self) -> Result<Self, String> {
        let refuse = |key: &str, why: &str| Err(format!("sampling: `{key}` must be {why}"));
        // Less would make logits overflow, and is greedy for all purposes.
        if !(1e-3..=1e3).contains(&self.temperature) {
            return refuse("temperature", "from 0.001 to 1000; write `greedy` for 0");
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return refuse("top_p", "above 0 and at most 1");
        }
        if !(0.0..=1.0).contains(&self.min_p) {
            return refuse("min_p", "from 0 to 1");
        }
        Ok(self)
    }
}

impl fmt::Display for Sampling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_greedy() {
            return f.write_str("greedy");
        }
        let off = Self::default();
        write!(f, "temperature={}", self.temperature)?;
        if self.top_k != off.top_k {
            write!(f, ",top_k={}", self.top_k)?;
        }
        if self.top_p != off.top_p {
            write!(f, ",top_p={}", self.top_p)?;
        }
        if self.min_p != off.min_p {
            write!(f, ",min_p={}", self.min_p)?;
        }
        write!(f, ",seed={}", self.seed)
    }
}

impl FromStr for Sampling {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut sampling = Self::default();
        if text == "greedy" {
            return Ok(sampling);
        }
        let mut seen: Vec<&str> = Vec::new();
        for item in text.split(',') {
            let (key, value) = item.split_once('=').ok_or_else(|| {
                format!("sampling `{text}`: write `greedy` or e.g. temperature=0.8,top_k=40,seed=1")
            })?;
            let wrong = || format!("sampling: `{key}={value}` is no number it can be");
            if seen.contains(&key) {
                return Err(format!("sampling: `{key}` is given twice"));
            }
            seen.push(key);
            let number = |value: &str| value.parse::<f64>().map_err(|_| wrong());
            match key {
                "temperature" => sampling.temperature = number(value)?,
                "top_k" => sampling.top_k = value.parse().map_err(|_| wrong())?,
                "top_p" => sampling.top_p = number(value)?,
                "min_p" => sampling.min_p = number(value)?,
                "seed" => sampling.seed = value.parse().map_err(|_| wrong())?,
                _ => {
                    return Err(format!(
                        "sampling: no `{key}`; there is temperature, top_k, top_p, min_p, seed"
                    ));
                }
            }
        }
        sampling.check()
    }
}

impl From<Sampling> for String {
    fn from(sampling: Sampling) -> Self {
        sampling.to_string()
    }
}

impl TryFrom<String> for Sampling {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// Chooses the tokens of one text, step by step.
///
/// ```
/// use harness_suites::generation::{Sampler, Sampling};
///
/// let hot: Sampling = "temperature=1.5,seed=3".parse()?;
/// let text = || {
///     let mut sampler = Sampler::new(&hot);
///     [(); 20].map(|()| sampler.choose(&[0.5, 1.0, 0.8]).token)
/// };
/// // A seed is a text: the same choices in every run and on every machine.
/// assert_eq!(text(), text());
/// assert!((0..3).all(|token| text().contains(&token)));
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug)]
pub struct Sampler {
    sampling: Sampling,
    random: ChaCha8Rng,
}

/// What a sampler chose.
///
/// ```
/// use harness_suites::generation::{Choice, Sampler, Sampling};
///
/// let mut greedy = Sampler::new(&Sampling::default());
/// let Choice { token, margin } = greedy.choose(&[1.0, 4.0, 3.5]);
/// assert_eq!((token, margin), (1, 0.5));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// The token.
    pub token: TokenId,
    /// How far the choice was from another, in nats: independent normal errors of
    /// deviation `σ` on the logits make that other choice with probability
    /// `Φ(−margin / (σ√2))`. Of a greedy choice, the best logit less the second.
    /// [`f64::MAX`] when there is no other token.
    pub margin: f64,
}

impl Sampler {
    /// A sampler at its first step.
    ///
    /// ```
    /// use harness_suites::generation::{Sampler, Sampling};
    ///
    /// let draw = |seed| {
    ///     let mut sampler = Sampler::new(&Sampling { temperature: 1.0, seed, ..Sampling::default() });
    ///     [(); 20].map(|()| sampler.choose(&[0.0; 4]).token)
    /// };
    /// assert_eq!(draw(1), draw(1));
    /// assert_ne!(draw(1), draw(2));
    /// ```
    #[must_use]
    pub fn new(sampling: &Sampling) -> Self {
        Self::at_step(sampling, 0)
    }

    /// A sampler that has made `steps` choices.
    #[must_use]
    pub(crate) fn at_step(sampling: &Sampling, steps: usize) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&sampling.seed.to_le_bytes());
        let mut random = ChaCha8Rng::from_seed(key);
        // A number has two words.
        random.set_word_pos(2 * steps as u128);
        Self {
            sampling: sampling.clone(),
            random,
        }
    }

    /// Chooses from a row of finite logits, of which there must be one or more.
    ///
    /// ```
    /// use harness_suites::generation::{Sampler, Sampling};
    ///
    /// let best_two: Sampling = "temperature=1,top_k=2,seed=7".parse()?;
    /// let mut sampler = Sampler::new(&best_two);
    /// // Token 3 is as probable as token 1, and the lower id wins a tie.
    /// let chosen = [(); 50].map(|()| sampler.choose(&[0.0, 2.0, 3.0, 2.0]).token);
    /// assert!(chosen.contains(&1) && chosen.contains(&2));
    /// assert!(!chosen.contains(&0) && !chosen.contains(&3));
    /// # Ok::<(), String>(())
    /// ```
    pub fn choose(&mut self, logits: &[f32]) -> Choice {
        if self.sampling.is_greedy() {
            let best = top(logits, 2);
            return Choice {
                token: best[0] as TokenId,
                margin: best.get(1).map_or(f64::MAX, |&second| {
                    f64::from(logits[best[0]]) - f64::from(logits[second])
                }),
            };
        }
        let u = (self.random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let ranking = Ranking::new(logits, &self.sampling);
        let place = ranking.draw(ranking.kept, u);
        Choice {
            token: ranking.ids[place],
            margin: margin::of_draw(&ranking, &self.sampling, place, u),
        }
    }
}

/// Tokens by logit, largest first, and what the filters make of them.
#[derive(Debug)]
pub(super) struct Ranking {
    /// As many as anything depends on: what is beyond them weighs nothing.
    pub(super) ids: Vec<TokenId>,
    /// `(zᵢ − z₁) / temperature`.
    pub(super) scaled: Vec<f64>,
    /// `exp` of it.
    pub(super) weights: Vec<f64>,
    /// `sums[i]`: of the first `i` weights.
    pub(super) sums: Vec<f64>,
    /// Tokens that `top_k` leaves.
    pub(super) by_k: usize,
    /// Tokens that `top_k` and `top_p` leave.
    pub(super) by_p: usize,
    /// Tokens that all filters leave.
    pub(super) kept: usize,
}

impl Ranking {
    pub(super) fn new(logits: &[f32], sampling: &Sampling) -> Self {
        let by_k = match sampling.top_k {
            0 => logits.len(),
            top_k => top_k.min(logits.len()),
        };
        // One more than may be chosen: the margin asks how far behind it is.
        let ids = first(logits, (by_k + 1).min(logits.len()));
        let best = f64::from(logits[ids[0] as usize]);
        let scaled: Vec<f64> = ids
            .iter()
            .map(|&id| (f64::from(logits[id as usize]) - best) / sampling.temperature)
            .collect();
        let weights: Vec<f64> = scaled.iter().map(|&x| exp(x)).collect();
        let sums: Vec<f64> = std::iter::once(0.0)
            .chain(weights.iter().scan(0.0, |sum, weight| {
                *sum += weight;
                Some(*sum)
            }))
            .collect();
        let enough = sampling.top_p * sums[by_k];
        let by_p = match sampling.top_p < 1.0 {
            true => sums[1..=by_k].partition_point(|&sum| sum < enough) + 1,
            false => by_k,
        };
        let by_m = weights.partition_point(|&weight| weight >= sampling.min_p);
        Self {
            kept: by_p.min(by_m),
            ids,
            scaled,
            weights,
            sums,
            by_k,
            by_p,
        }
    }

    /// Place of the token that `u` falls on when the first `kept` are kept.
    pub(super) fn draw(&self, kept: usize, u: f64) -> usize {
        let at = u * self.sums[kept];
        let passed = self.sums[1..=kept].partition_point(|&sum| sum <= at);
        passed.min(kept - 1)
    }
}

/// The first `count` ids in the order of logits.
fn first(logits: &[f32], count: usize) -> Vec<TokenId> {
    // Few are picked out faster than all are sorted.
    if count <= 64 {
        let ids = top(logits, count);
        return ids.into_iter().map(|id| id as TokenId).collect();
    }
    let mut ids: Vec<TokenId> = (0..logits.len() as TokenId).collect();
    ids.sort_by(|&a, &b| {
        let (a, b) = (logits[a as usize], logits[b as usize]);
        // Not `total_cmp`, to which −0 is less than 0.
        b.partial_cmp(&a).unwrap_or(std::cmp::Ordering::Equal)
    });
    ids.truncate(count);
    ids
}
