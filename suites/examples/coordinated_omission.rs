//! An engine that stalls for a second now and then, put through the suite `latency`:
//! the closed loop hides the stall in its percentiles, the open loop shows it.
//!
//! ```text
//! cargo run --release -p harness-suites --example coordinated_omission
//! ```
#![allow(clippy::unwrap_used, missing_docs)] // A demonstration may panic.

use std::cell::Cell as Stored;
use std::thread::sleep;
use std::time::{Duration, Instant};

use engine::{
    EngineError, KvUsage, Logits, Model, ModelConfig, NumberFormat, Numerics, Session, TokenId,
    Tokenizer, TokenizerError, Want,
};
use harness_suites::{Cell, Defaults, Input, Measurement, Role, Settings, Shard, find};

/// A millisecond a call, and a second once in four.
struct Staller {
    config: ModelConfig,
    stalled: Stored<Instant>,
}

struct Answering<'a>(&'a Staller);

impl Model for Staller {
    fn config(&self) -> &ModelConfig {
        &self.config
    }

    fn numerics(&self) -> Numerics {
        Numerics {
            weights: NumberFormat::F32,
            activations: NumberFormat::F32,
            kv: NumberFormat::F32,
        }
    }

    fn session(&self) -> Result<Box<dyn Session + '_>, EngineError> {
        Ok(Box::new(Answering(self)))
    }
}

impl Session for Answering<'_> {
    fn extend(&mut self, tokens: &[TokenId], want: Want) -> Result<Logits, EngineError> {
        if self.0.stalled.get().elapsed() > Duration::from_secs(4) {
            sleep(Duration::from_secs(1));
            self.0.stalled.set(Instant::now());
        }
        sleep(Duration::from_millis(1));
        Ok(Logits::new(1, vec![0.0; want.rows(tokens.len())]).unwrap())
    }

    fn truncate(&mut self, _: usize) -> Result<(), EngineError> {
        Ok(())
    }

    fn len(&self) -> usize {
        0
    }

    fn kv(&self) -> Option<KvUsage> {
        None
    }
}

/// Every text is one token.
struct OneToken;

impl Tokenizer for OneToken {
    fn encode(&self, _: &str) -> Result<Vec<TokenId>, TokenizerError> {
        Ok(vec![0])
    }

    fn decode(&self, _: &[TokenId]) -> Result<String, TokenizerError> {
        Ok(String::new())
    }

    fn token_bytes(&self, _: TokenId) -> Result<&[u8], TokenizerError> {
        Ok(&[])
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

fn open() -> Result<Box<dyn Model>, EngineError> {
    Ok(Box::new(Staller {
        config: ModelConfig {
            architecture: "staller".into(),
            layers: 1,
            hidden: 1,
            feed_forward: 1,
            heads: 1,
            kv_heads: 1,
            head_dim: 1,
            vocab: 1,
            context: 100,
            parameters: 1,
        },
        stalled: Stored::new(Instant::now()),
    }))
}

fn main() {
    let mut settings = Settings::default();
    for (key, value) in [
        ("prompts", "8"),
        ("decode_tokens", "4"),
        ("target_ci_pct", "100"),
        ("percentile", "50"),
        ("max_duration_s", "10"),
        ("arrivals", "constant"),
        ("rate_per_s", "90"),
    ] {
        settings.set(key, value);
    }
    let latency = find("latency").unwrap();
    settings.complete(latency.settings(), false);
    let folder = tempfile::tempdir().unwrap();
    let mut cell = Cell {
        open: &open,
        variant: &|_, _| None,
        input: Input {
            tokenizer: &OneToken,
            model_sha256: "",
            defaults: Defaults::default(),
            settings: &settings,
        },
        role: Role::Baseline,
        candidates: 0,
        engine: "staller",
        model_path: None,
        model_sha256: "",
        model_bytes: 0,
        shard: Shard::WHOLE,
        scratch: folder.path(),
        artifacts: (folder.path(), "staller"),
        progress: &|_, _| (),
        samples: &mut |_| (),
    };
    let figures = latency.run(&mut cell).unwrap();
    println!(
        "{:<24} {:>8} {:>8} {:>8} {:>8} {:>9}",
        "ms", "p50", "p90", "p95", "p99", "max"
    );
    for (case, what) in [
        ("closed_loop", "response"),
        ("open_loop", "response"),
        ("open_loop", "service"),
        ("open_loop", "queue"),
    ] {
        let cells = ["p50", "p90", "p95", "p99", "max"].map(|name| {
            let metric = format!("{what}_{name}_ns");
            let of = |figure: &&Measurement| figure.case == case && figure.metric == metric;
            let figure = figures.iter().find(of).unwrap();
            match figure.value.is_nan() {
                true => "withheld".into(),
                false => format!("{:.1}", figure.value / 1e6),
            }
        });
        let name = format!("{case} {what}");
        let [p50, p90, p95, p99, max] = cells;
        println!("{name:<24} {p50:>8} {p90:>8} {p95:>8} {p99:>8} {max:>9}");
    }
}
