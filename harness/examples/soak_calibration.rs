//! A soak of the reference engine that leaks so many bytes with every session, for
//! `scripts/soak-calibration`.
//!
//! ```sh
//! cargo run --release -p harness --example soak_calibration -- BYTES CYCLES
//! ```
//!
//! Prints the growth a cycle in bytes, the ends of its interval, and `raised` or `quiet`.

use std::path::Path;

use anyhow::{Context, Result};
use engine::{
    Engine, EngineError, EngineOptions, Model, ModelArtifact, ModelConfig, Numerics, Session,
    TokenId, Tokenizer, TokenizerError,
};
use reference::Reference;
use suites::{Cell, Defaults, Input, Role, Settings, Shard, find};

fn main() -> Result<()> {
    let arguments: Vec<usize> = std::env::args()
        .skip(1)
        .map(|argument| argument.parse())
        .collect::<Result<_, _>>()
        .context("two numbers, please: BYTES CYCLES")?;
    let &[bytes, cycles] = arguments.as_slice() else {
        anyhow::bail!("two numbers, please: BYTES CYCLES");
    };
    let artifact = ModelArtifact::embedded(fixtures::MODEL_NAME, fixtures::MODEL);
    let mut settings = Settings::default();
    settings.set("cycles", cycles.to_string());
    settings.set("duration_s", "0");
    let soak = find("soak").context("no suite `soak`")?;
    settings.complete(soak.settings(), false);
    let figures = soak.run(&mut Cell {
        open: &|| {
            let inner = Reference.open(&artifact, &EngineOptions::default())?;
            Ok(Box::new(Leaking { inner, bytes }))
        },
        variant: &|_, _| None,
        input: Input {
            tokenizer: &Words,
            model_sha256: &artifact.sha256,
            defaults: Defaults {
                text: "any",
                ..Defaults::default()
            },
            settings: &settings,
        },
        role: Role::Baseline,
        candidates: 0,
        engine: "leaking",
        model_path: None,
        model_sha256: &artifact.sha256,
        model_bytes: artifact.size_bytes,
        shard: Shard::WHOLE,
        scratch: Path::new("."),
        artifacts: (Path::new("."), "soak"),
        progress: &|_, _| {},
        samples: &mut |_| {},
    })?;
    let figure = |name: &str| {
        let found = figures.iter().find(|figure| figure.metric == name);
        found.with_context(|| format!("no {name}"))
    };
    let leak = figure("leak_bytes")?;
    let interval = leak.interval.context("no interval")?;
    let gated = figure("leak_low_bytes")?;
    let admitted = gated.gate.as_ref().context("no gate")?.admits(gated.value);
    let verdict = if admitted { "quiet" } else { "raised" };
    println!(
        "{} {} {} {verdict}",
        leak.value, interval.low, interval.high
    );
    Ok(())
}

/// A model each of whose sessions leaves something behind.
struct Leaking {
    inner: Box<dyn Model>,
    bytes: usize,
}

impl Model for Leaking {
    fn config(&self) -> &ModelConfig {
        self.inner.config()
    }

    fn numerics(&self) -> Numerics {
        self.inner.numerics()
    }

    fn session(&self) -> Result<Box<dyn Session + '_>, EngineError> {
        // Ones: zeros would not be touched.
        std::mem::forget(vec![1u8; self.bytes]);
        self.inner.session()
    }
}

/// Tokens that any model has.
struct Words;

impl Tokenizer for Words {
    fn encode(&self, text: &str) -> Result<Vec<TokenId>, TokenizerError> {
        Ok(text.bytes().map(TokenId::from).collect())
    }
    fn decode(&self, _: &[TokenId]) -> Result<String, TokenizerError> {
        Err(TokenizerError("a soak decodes no text".into()))
    }
    fn token_bytes(&self, _: TokenId) -> Result<&[u8], TokenizerError> {
        Ok(b"")
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
