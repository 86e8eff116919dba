//! Suite `kv` through the real binary on the real fixture.

use std::path::Path;

use crate::support::{ends, metric, record, samples};
use engine::{
    Engine, EngineOptions, EngineSpec, ModelArtifact, TokenId, Tokenizer, TokenizerError,
};
use reference::Reference;
use suites::{Cell, Defaults, Input, Role, Settings, Shard, find};
use tempfile::TempDir;

const ENGINES: [&str; 6] = [
    "--engine",
    "reference",
    "--engine",
    "reference:kv=f16",
    "--engine",
    "reference:kv=q8_0",
];

#[test]
fn bytes_are_those_of_theory_in_every_format() {
    let folder = TempDir::new().unwrap();
    let arguments = [
        &["run", "--suite", "kv", "--quick", "--out", "r"][..],
        &ENGINES,
    ]
    .concat();
    ends(folder.path(), &arguments, 0);
    let record = record(folder.path(), "r");
    let cells = record["cells"].as_array().unwrap();
    let per_token: Vec<f64> = cells
        .iter()
        .map(|cell| {
            let ratio = metric(cell, "kv.growth.used_over_theory");
            assert_eq!(
                (&ratio["value"], &ratio["verdict"]),
                (&1.0.into(), &"pass".into())
            );
            metric(cell, "kv.growth.used_bytes_per_token_layer")["value"]
                .as_f64()
                .unwrap()
        })
        .collect();
    // q8_0 keeps 32 values in 34 bytes.
    assert_eq!(per_token[0], 2.0 * per_token[1]);
    assert_eq!(per_token[2], per_token[1] * 34.0 / 64.0);

    // What is resident follows what is used, and both the context.
    for cell in cells {
        let engine = cell["engine"]["spec"].as_str().unwrap();
        let used = samples(folder.path(), "r", engine, "growth", "used_bytes");
        let resident = samples(folder.path(), "r", engine, "growth", "resident_bytes");
        assert_eq!(used.len(), 14, "0, 20, … 240, 256 tokens");
        assert_eq!(used.last().unwrap().0, 256);
        if cfg!(target_os = "linux") {
            let both = used.iter().zip(&resident);
            assert!(
                both.clone()
                    .all(|((_, used), (_, resident))| resident >= used)
            );
            assert_eq!(metric(cell, "kv.growth.excess_bytes")["verdict"], "pass");
            assert_eq!(metric(cell, "kv.growth.missing_bytes")["verdict"], "pass");
        }
        for case in ["truncate", "clear"] {
            let same = metric(cell, &format!("kv.{case}.differing_logits"));
            assert_eq!(same["verdict"], "pass");
        }
    }
}

#[test]
fn what_cannot_be_had_is_withheld_with_the_reason() {
    let folder = TempDir::new().unwrap();
    let arguments = [
        "run",
        "--suite",
        "kv",
        "--quick",
        "--engine",
        "reference",
        "--out",
        "r",
    ];
    ends(folder.path(), &arguments, 0);
    let record = record(folder.path(), "r");
    let evict = metric(&record["cells"][0], "kv.evict.nmse");
    assert!(evict["value"].is_null());
    assert_eq!(evict["verdict"], "skip");
    assert!(evict["why"].as_str().unwrap().contains("evict=window"));
    let pressure = metric(&record["cells"][0], "kv.pressure.cache_paged_out_bytes");
    assert_ne!(pressure["value"], 0.0, "withheld or more than nothing");
}

#[test]
fn bad_settings_end_before_anything_is_opened() {
    let folder = TempDir::new().unwrap();
    for (setting, word) in [
        ("kv.ctx=1", "ctx"),
        ("kv.step=0", "step"),
        ("kv.step=18446744073709551615", "step"),
        ("kv.ctx=18446744073709551615", "context is"),
        ("kv.step=many", "step"),
        ("kv.context=5", "context"),
        ("kv.text=/no/such/file", "/no/such/file"),
        // Known only once the model is open.
        ("kv.ctx=1000000", "context is"),
    ] {
        let arguments = [
            "run",
            "--suite",
            "kv",
            "--set",
            setting,
            "--engine",
            "reference",
        ];
        let output = ends(folder.path(), &arguments, 2);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(word), "{setting}: {error}");
    }
}

/// The small model has a sliding window of 16 tokens but no tokenizer, so the suite is run
/// without the binary.
#[test]
fn eviction_saves_memory_and_changes_no_answer() {
    let path = Path::new("../reference/tests/vectors/models/gemma3/model.gguf");
    let artifact = ModelArtifact::from_path(path).unwrap();
    let open = |options: &EngineOptions| Reference.open(&artifact, options);
    let spec: EngineSpec = "reference:evict=window".parse().unwrap();
    let mut settings = Settings::default();
    settings.set("ctx", "0");
    let kv = find("kv").unwrap();
    settings.complete(kv.settings(), false);
    let figures = kv
        .run(&mut Cell {
            open: &|| open(&spec.options),
            variant: &|key, value| {
                let mut changed = spec.options.clone();
                changed.set(key, value);
                Some(open(&changed))
            },
            input: Input {
                tokenizer: &Letters,
                model_sha256: &artifact.sha256,
                defaults: Defaults {
                    text: "call me Ishmael",
                    ..Defaults::default()
                },
                settings: &settings,
            },
            role: Role::Baseline,
            candidates: 0,
            engine: "reference",
            model_path: None,
            model_sha256: &artifact.sha256,
            model_bytes: artifact.size_bytes,
            shard: Shard::WHOLE,
            scratch: Path::new("/nonexistent"),
            artifacts: (Path::new("/nonexistent"), "kv"),
            progress: &|_, _| {},
            samples: &mut |_| {},
        })
        .unwrap();
    let figure = |case: &str, metric: &str| {
        let found = figures
            .iter()
            .find(|f| f.case == case && f.metric == metric);
        found.unwrap_or_else(|| panic!("no {case}.{metric}"))
    };
    for figure in &figures {
        if let Some(gate) = &figure.gate {
            assert!(gate.admits(figure.value), "{figure:?}");
        }
    }
    // Six of seven layers have a window, as the model's makers publish Gemma 3.
    assert_eq!(figure("evict", "evicting_layers").value, 6.0);
    assert!(figure("evict", "nmse").gate.is_some());
    // 1024 tokens against a ring of 272: 752 rows of 64 B twice over six layers.
    let rows = 752.0 * 64.0 * 2.0 * 6.0;
    let saved = figure("evict", "saved_resident_bytes").value;
    assert!(saved.is_nan() || saved >= 0.9 * rows, "{saved} of {rows}");
    assert!(figure("truncate", "differing_logits").why.is_some());
}

/// One token a letter.
struct Letters;

impl Tokenizer for Letters {
    fn encode(&self, text: &str) -> Result<Vec<TokenId>, TokenizerError> {
        Ok(text.bytes().map(|byte| TokenId::from(byte % 80)).collect())
    }
    fn decode(&self, _: &[TokenId]) -> Result<String, TokenizerError> {
        Err(TokenizerError("not needed".into()))
    }
    fn token_bytes(&self, _: TokenId) -> Result<&[u8], TokenizerError> {
        Ok(b"x")
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
