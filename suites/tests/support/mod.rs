//! An engine of four layers whose logits depend on every byte of its cache, with flaws to order.
#![allow(dead_code)] // Each test program orders other flaws and looks at other figures.

use std::fs::File;

use engine::{
    AddressRange, EngineError, EvictionPolicy, FailureKind, KvLayer, KvUsage, Logits, Model,
    ModelConfig, NumberFormat, Numerics, Session, TokenId, Tokenizer, TokenizerError, Want,
};
use harness_suites::{
    Cell, Defaults, Input, Measurement, Role, Sample, Settings, Shard, SuiteError, find,
};
use memmap2::MmapMut;

const LAYERS: usize = 4;
/// Bytes of keys or values of a token in a layer: 2 heads of 32 values in f16.
const ROW: usize = 2 * 32 * 2;
const CONTEXT: usize = 1024;
const VOCAB: usize = 16;

/// What is wrong with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Flaw {
    #[default]
    None,
    /// Touches its whole cache at once.
    Eager,
    /// Counts one token too few.
    Miscounts,
    /// Tells nothing of its cache, though it said that it would.
    Silent,
    /// Says what its cache holds, but not where.
    Elsewhere,
    /// Forgets to write the last token after a truncation.
    StaleAfterTruncation,
    /// Keeps so many bytes of every session for ever.
    Leaks(usize),
}

/// The engine, loaded.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fake {
    pub(crate) flaw: Flaw,
    /// Keeps the latest so many tokens only, in a ring.
    pub(crate) window: Option<usize>,
    /// Keeps its cache in files rather than in anonymous memory.
    pub(crate) in_files: bool,
}

impl Model for Fake {
    fn config(&self) -> &ModelConfig {
        static CONFIG: std::sync::LazyLock<ModelConfig> =
            std::sync::LazyLock::new(|| ModelConfig {
                architecture: "fake".into(),
                layers: LAYERS,
                hidden: 64,
                feed_forward: 64,
                heads: 2,
                kv_heads: 2,
                head_dim: 32,
                vocab: VOCAB,
                context: CONTEXT,
                parameters: 1000,
            });
        &CONFIG
    }

    fn numerics(&self) -> Numerics {
        Numerics {
            weights: NumberFormat::F32,
            activations: NumberFormat::F32,
            kv: NumberFormat::F16,
        }
    }

    fn session(&self) -> Result<Box<dyn Session + '_>, EngineError> {
        let rows = self.window.unwrap_or(CONTEXT);
        let mut rings: Vec<MmapMut> = (0..2 * LAYERS).map(|_| self.map(rows * ROW)).collect();
        if self.flaw == Flaw::Eager {
            rings.iter_mut().for_each(|ring| ring.fill(0xff));
        }
        if let Flaw::Leaks(bytes) = self.flaw {
            // Ones, for zeros would not be touched.
            std::mem::forget(vec![1u8; bytes]);
        }
        Ok(Box::new(FakeSession {
            fake: *self,
            rows,
            rings,
            len: 0,
            truncated: false,
        }))
    }
}

impl Fake {
    fn map(&self, bytes: usize) -> MmapMut {
        if !self.in_files {
            return MmapMut::map_anon(bytes).unwrap();
        }
        let file: File = tempfile::tempfile().unwrap();
        file.set_len(bytes as u64).unwrap();
        // SAFETY: the file has no name, so nobody else can change it.
        unsafe { MmapMut::map_mut(&file) }.unwrap()
    }
}

struct FakeSession {
    fake: Fake,
    rows: usize,
    /// Keys and values of each layer.
    rings: Vec<MmapMut>,
    len: usize,
    truncated: bool,
}

impl FakeSession {
    /// Visits what it still holds: the latest tokens in their order.
    fn logits(&self) -> Vec<f32> {
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        for ring in &self.rings {
            for position in self.len.saturating_sub(self.rows.min(64))..self.len {
                let slot = position % self.rows;
                for &byte in &ring[slot * ROW..(slot + 1) * ROW] {
                    hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
                }
            }
        }
        (0..VOCAB)
            .map(|id| ((hash >> (2 * id)) % 1000) as f32)
            .collect()
    }
}

impl Session for FakeSession {
    fn extend(&mut self, tokens: &[TokenId], want: Want) -> Result<Logits, EngineError> {
        let mut rows = Vec::new();
        for &token in tokens {
            let slot = self.len % self.rows;
            for ring in &mut self.rings {
                if !(self.truncated && self.fake.flaw == Flaw::StaleAfterTruncation) {
                    ring[slot * ROW..(slot + 1) * ROW].fill(1 + token as u8);
                }
            }
            self.len += 1;
            rows.push(self.logits());
        }
        let wanted = rows.split_off(rows.len() - want.rows(tokens.len()));
        Ok(Logits::new(VOCAB, wanted.concat()).unwrap())
    }

    fn truncate(&mut self, len: usize) -> Result<(), EngineError> {
        if len > 0 && self.len > self.rows {
            let why = "evicted what it would see";
            return Err(EngineError::new(FailureKind::Unsupported, why));
        }
        self.len = len;
        if len > 0 {
            self.truncated = true;
            if self.fake.flaw == Flaw::StaleAfterTruncation {
                // What the tokens read again would have overwritten.
                for ring in &mut self.rings {
                    ring[len * ROW..].fill(0);
                }
            }
        } else {
            self.truncated = false;
        }
        Ok(())
    }

    fn len(&self) -> usize {
        self.len
    }

    fn kv(&self) -> Option<KvUsage> {
        let held = self.len.min(self.rows) as u64;
        let counted = match self.fake.flaw {
            Flaw::Silent => return None,
            Flaw::Miscounts => held.saturating_sub(1),
            _ => held,
        };
        let layers = self.rings.chunks(2).map(|rings| KvLayer {
            reserved_bytes: rings.iter().map(|ring| ring.len() as u64).sum(),
            used_bytes: 2 * counted * ROW as u64,
            policy: match self.fake.window {
                Some(tokens) => EvictionPolicy::Window { tokens },
                None => EvictionPolicy::None,
            },
            ranges: match self.fake.flaw {
                Flaw::Elsewhere => Vec::new(),
                _ => rings
                    .iter()
                    .map(|ring| AddressRange {
                        start: ring.as_ptr().addr(),
                        bytes: ring.len(),
                    })
                    .collect(),
            },
        });
        Some(KvUsage {
            layers: layers.collect(),
        })
    }
}

/// One token a byte.
struct Bytes;

impl Tokenizer for Bytes {
    fn encode(&self, text: &str) -> Result<Vec<TokenId>, TokenizerError> {
        Ok(text.bytes().map(|byte| TokenId::from(byte % 16)).collect())
    }
    fn decode(&self, _: &[TokenId]) -> Result<String, TokenizerError> {
        Err(TokenizerError("not needed".into()))
    }
    fn token_bytes(&self, _: TokenId) -> Result<&[u8], TokenizerError> {
        Ok(b"x")
    }
    fn bos(&self) -> Option<TokenId> {
        Some(0)
    }
    fn eos(&self) -> Option<TokenId> {
        None
    }
    fn sha256(&self) -> &str {
        ""
    }
}

/// What came of a cell.
pub(crate) struct Outcome {
    pub(crate) result: Result<Vec<Measurement>, SuiteError>,
    pub(crate) samples: Vec<Sample>,
}

impl Outcome {
    #[track_caller]
    pub(crate) fn figure(&self, case: &str, metric: &str) -> &Measurement {
        let figures = self.result.as_ref().unwrap();
        let found = figures
            .iter()
            .find(|figure| figure.case == case && figure.metric == metric);
        found.unwrap_or_else(|| panic!("no {case}.{metric}"))
    }

    /// Names of the figures that fail their gates.
    pub(crate) fn failed(&self) -> Vec<String> {
        let figures = self.result.as_ref().unwrap().iter();
        figures
            .filter(|figure| matches!(&figure.gate, Some(gate) if !gate.admits(figure.value)))
            .map(|figure| format!("{}.{}", figure.case, figure.metric))
            .collect()
    }
}

/// Puts `fake` through the suite of that name.
pub(crate) fn run(suite: &str, fake: Fake, settings: &[(&str, &str)]) -> Outcome {
    let suite = find(suite).unwrap();
    let mut given = Settings::default();
    for &(key, value) in settings {
        given.set(key, value);
    }
    given.complete(suite.settings(), true);
    let mut samples = Vec::new();
    let input = Input {
        tokenizer: &Bytes,
        model_sha256: "",
        defaults: Defaults {
            text: "It is a truth universally acknowledged, that a single man in possession of …",
            ..Defaults::default()
        },
        settings: &given,
    };
    let result = suite.validate(&input).and_then(|()| {
        suite.run(&mut Cell {
            open: &|| Ok(Box::new(fake)),
            variant: &|key, value| {
                let keeping = Fake {
                    window: None,
                    ..fake
                };
                (key == "evict" && value == "none").then(|| Ok(Box::new(keeping) as _))
            },
            input,
            role: Role::Baseline,
            candidates: 0,
            engine: "fake",
            model_path: None,
            model_sha256: "",
            model_bytes: 1000,
            shard: Shard::WHOLE,
            scratch: std::path::Path::new("/nonexistent"),
            artifacts: (std::path::Path::new("/nonexistent"), "fake"),
            progress: &|_, _| {},
            samples: &mut |sample| samples.push(sample),
        })
    });
    Outcome { result, samples }
}
