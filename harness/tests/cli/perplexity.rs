//! Suite `perplexity`, shards and `harness merge` through the real binary on the real fixture.

use std::fs;

use tempfile::TempDir;

use crate::support::{ends, lasting, metric, record, text};

const QUICK: [&str; 4] = ["run", "--suite", "perplexity", "--quick"];
const TWO_ENGINES: [&str; 4] = [
    "--engine",
    "reference:weights=f16",
    "--engine",
    "reference:weights=q8_0",
];

#[test]
fn eight_bits_against_sixteen() {
    let folder = TempDir::new().unwrap();
    let arguments = [&QUICK[..], &TWO_ENGINES, &["--out", "r"]].concat();
    ends(folder.path(), &arguments, 0);
    let record = record(folder.path(), "r");
    let cell = &record["cells"][1];
    let value = |name: &str| {
        let metric = metric(cell, &format!("perplexity.llama_cpp.{name}"));
        metric["value"].as_f64().unwrap()
    };
    // Thirty-two chunks of 256 tokens, the latter halves but for the first of each scored.
    let growth = metric(cell, "perplexity.llama_cpp.delta_pct");
    assert_eq!(growth["n"], 32 * 127);
    assert_eq!(growth["verdict"], "pass");
    assert!(growth["ci_low"].as_f64().unwrap() < growth["ci_high"].as_f64().unwrap());
    assert!((value("delta_pct") - 100.0 * value("ln_ratio").exp_m1()).abs() < 1e-9);
    assert!(
        value("kld_mean") > 0.0 && value("same_top") < 1.0,
        "q8_0 cannot be lossless"
    );
    assert_eq!(value("bits_per_weight"), 8.5);

    // Raw samples add up to the figures.
    let mut nll = Vec::new();
    let mut reader = csv::Reader::from_path(folder.path().join("r/samples.csv")).unwrap();
    for row in reader.records() {
        let row = row.unwrap();
        if &row[3] == "reference:weights=q8_0" && &row[4] == "nll" {
            nll.push(row[7].parse::<f64>().unwrap());
        }
    }
    assert_eq!(nll.len(), 32 * 127, "one sample a token");
    let mean = nll.iter().sum::<f64>() / nll.len() as f64;
    assert!((mean.exp() / value("ppl") - 1.0).abs() < 1e-12);
}

#[test]
fn two_bit_weights_fail_named_gates() {
    let folder = TempDir::new().unwrap();
    let arguments = [&QUICK[..], &["--engine", "reference:weights=q2_k"]].concat();
    let table = text(&ends(folder.path(), &arguments, 1).stdout);
    for gate in ["delta_pct", "kld_mean", "same_top"] {
        let line = format!("FAIL  reference:weights=q2_k  perplexity.llama_cpp.{gate}");
        assert!(table.contains(&line), "{table}");
    }
}

#[test]
fn every_scheme_runs() {
    let folder = TempDir::new().unwrap();
    for scheme in ["strided", "rolling"] {
        let windows = format!("perplexity.windows={scheme}");
        let more = [
            "--set",
            &windows,
            "--set",
            "perplexity.chunks=3",
            "--out",
            scheme,
        ];
        ends(
            folder.path(),
            &[&QUICK[..], &TWO_ENGINES, &more].concat(),
            0,
        );
        let record = record(folder.path(), scheme);
        let ppl = metric(&record["cells"][0], &format!("perplexity.{scheme}.ppl"));
        // 256 tokens less the first and twice 128; or thrice 256.
        let tokens = if scheme == "strided" {
            255 + 2 * 128
        } else {
            3 * 256
        };
        assert_eq!(ppl["n"], tokens);
        let value = ppl["value"].as_f64().unwrap();
        assert!((20.0..200.0).contains(&value), "{scheme}: {value}");
    }
}

#[test]
fn rolling_windows_cover_every_byte_of_the_text() {
    let folder = TempDir::new().unwrap();
    // Typographic quotes and dashes: characters that tokens of bytes may split.
    let sample = fixtures::HELDOUT[..9_000]
        .replace('"', "“")
        .replace('-', "—");
    fs::write(folder.path().join("text.txt"), &sample).unwrap();
    let more = [
        "--engine",
        "reference",
        "--out",
        "r",
        "--set",
        "perplexity.text=text.txt",
        "--set",
        "perplexity.windows=rolling",
        "--set",
        "perplexity.chunks=0",
    ];
    ends(folder.path(), &[&QUICK[..], &more].concat(), 0);
    let (mut bytes, mut nats) = (0.0, 0.0);
    let mut reader = csv::Reader::from_path(folder.path().join("r/samples.csv")).unwrap();
    for row in reader.records() {
        let row = row.unwrap();
        match &row[4] {
            "text_bytes" => bytes += row[7].parse::<f64>().unwrap(),
            "nll" => nats += row[7].parse::<f64>().unwrap(),
            _ => {}
        }
    }
    assert_eq!(bytes, sample.len() as f64);
    let record = record(folder.path(), "r");
    let per_byte = &metric(&record["cells"][0], "perplexity.rolling.bits_per_byte")["value"];
    let expected = nats / std::f64::consts::LN_2 / bytes;
    assert!((per_byte.as_f64().unwrap() / expected - 1.0).abs() < 1e-12);
}

#[test]
fn merged_shards_are_the_whole_run() {
    let folder = TempDir::new().unwrap();
    // Parity cannot be split: one shard runs it.
    let both = |more: &[&'static str]| {
        let suites = [
            "run",
            "--suite",
            "parity",
            "--suite",
            "perplexity",
            "--quick",
        ];
        let few = ["--set", "perplexity.chunks=5", "--set", "parity.windows=2"];
        [&suites[..], &few, &TWO_ENGINES, more].concat()
    };
    ends(folder.path(), &both(&["--out", "whole"]), 0);
    for (shard, out) in [("1/4", "a"), ("2/4", "b"), ("3/4", "c"), ("4/4", "d")] {
        ends(folder.path(), &both(&["--out", out, "--shard", shard]), 0);
        assert_eq!(record(folder.path(), out)["provenance"]["shard"], shard);
    }
    let merge = ["merge", "c", "a", "d", "b", "--out", "merged"];
    let output = ends(folder.path(), &merge, 0);
    assert!(text(&output.stdout).contains("perplexity against reference:weights=f16"));
    let read = |run: &str| fs::read(folder.path().join(run).join("samples.csv")).unwrap();
    assert!(read("whole") == read("merged"), "samples differ");
    let merged = record(folder.path(), "merged");
    assert_eq!(merged["provenance"]["shards"].as_array().unwrap().len(), 4);
    assert_eq!(lasting(record(folder.path(), "whole")), lasting(merged));

    // What does not belong together is not merged, and nothing is written.
    ends(
        folder.path(),
        &[
            &QUICK[..],
            &TWO_ENGINES,
            &["--out", "other", "--shard", "4/4"],
        ]
        .concat(),
        0,
    );
    for (runs, word) in [
        (&["a", "b", "c"][..], "missing: 4/4"),
        (&["a", "b", "c", "c"], "both shard 3/4"),
        (&["a", "b", "c", "whole"], "no shard but a whole run"),
        (&["a", "b", "c", "other"], "differ in their settings"),
        (&["a", "b", "c", "nowhere"], "nowhere"),
    ] {
        let merge = [&["merge"], runs, &["--out", "refused"]].concat();
        let error = text(&ends(folder.path(), &merge, 2).stderr);
        assert!(error.contains(word), "{error}");
        assert!(!folder.path().join("refused").exists(), "{runs:?}");
    }
    let again = ["merge", "a", "b", "c", "d", "--out", "merged"];
    let error = text(&ends(folder.path(), &again, 2).stderr);
    assert!(error.contains("already holds"), "{error}");
}

#[test]
fn an_engine_that_fails_in_one_shard_fails_in_the_merged_run() {
    let folder = TempDir::new().unwrap();
    let mut bytes = fixtures::MODEL.to_vec();
    let at = (bytes.len() / 2) & !1;
    bytes[at..at + 2].copy_from_slice(&0x7e00u16.to_le_bytes());
    fs::write(folder.path().join("nan.gguf"), bytes).unwrap();
    for (shard, out) in [("1/2", "a"), ("2/2", "b")] {
        let more = [
            "--engine",
            "reference:model=nan.gguf",
            "--shard",
            shard,
            "--out",
            out,
        ];
        ends(folder.path(), &[&QUICK[..], &more].concat(), 3);
    }
    ends(folder.path(), &["merge", "a", "b", "--out", "m"], 3);
    let merged = record(folder.path(), "m");
    assert_eq!(merged["cells"][0]["status"]["is"], "completed");
    assert_eq!(merged["cells"][1]["status"]["is"], "failed");
    assert_eq!(merged["cells"][1]["status"]["kind"], "numerics");
}

#[test]
fn bad_input_is_exit_2_and_overwrites_nothing() {
    let folder = TempDir::new().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        fs::write(folder.path().join(name), bytes).unwrap();
        format!("perplexity.text={name}")
    };
    fs::create_dir(folder.path().join("r")).unwrap();
    fs::write(folder.path().join("r/mine"), "mine").unwrap();
    let set = |setting: &str, words: &[&str]| {
        let more = ["--out", "r", "--set", setting];
        let output = ends(folder.path(), &[&QUICK[..], &more].concat(), 2);
        let error = text(&output.stderr);
        for word in words {
            assert!(error.contains(word), "{error}");
        }
        assert!(output.stdout.is_empty());
        let left: Vec<_> = fs::read_dir(folder.path().join("r")).unwrap().collect();
        assert_eq!(left.len(), 1, "{setting} left {left:?}");
    };
    set(&file("bytes.txt", b"ab\xff"), &["bytes.txt", "byte 2"]);
    set(&file("empty.txt", b""), &["empty.txt", "0 tokens"]);
    set(
        &file("short.txt", b"too short"),
        &["short.txt", "fewer than one window"],
    );
    set("perplexity.text=none.txt", &["none.txt"]);
    set(
        "perplexity.windows=wikitext",
        &["wikitext", "llama_cpp, strided, rolling"],
    );
    set("perplexity.ctx=3", &["ctx=3"]);
    set("perplexity.max_delta_pct=0", &["max_delta_pct=0"]);
    let more = [
        "--set",
        "perplexity.windows=strided",
        "--set",
        "perplexity.stride=300",
    ];
    let output = ends(folder.path(), &[&QUICK[..], &more].concat(), 2);
    assert!(text(&output.stderr).contains("stride=300"));
    let output = ends(
        folder.path(),
        &[&QUICK[..], &["--shard", "5/4"]].concat(),
        2,
    );
    assert!(text(&output.stderr).contains("5/4"));
}

#[test]
fn baseline_logits_are_kept_and_reused_by_what_they_are_of() {
    let folder = TempDir::new().unwrap();
    let run = |out: &str, more: &[&str], code| {
        let keep = ["--set", "perplexity.base_logits=base.npy", "--out", out];
        ends(folder.path(), &[&QUICK[..], &keep, more].concat(), code)
    };
    run("first", &TWO_ENGINES, 0);
    let path = folder.path().join("base.npy");
    let kept = fs::read(&path).unwrap();
    assert_eq!(kept.len(), 128 + 4 * 32 * 127 * 4096);
    run("second", &TWO_ENGINES, 0);
    let samples = |run: &str| fs::read(folder.path().join(run).join("samples.csv")).unwrap();
    assert!(samples("first") == samples("second"), "other samples");

    let other_engine = [
        "--engine",
        "reference",
        "--engine",
        "reference:weights=q8_0",
    ];
    let other_text = [&TWO_ENGINES[..], &["--set", "perplexity.chunks=7"]].concat();
    for (name, arguments, word) in [
        ("a", &other_engine[..], "another engine"),
        ("b", &other_text, "other tokens"),
    ] {
        let error = text(&run(name, arguments, 2).stderr);
        assert!(
            error.contains("base.npy") && error.contains(word),
            "{error}"
        );
    }
    assert!(fs::read(&path).unwrap() == kept, "it was changed");
    let mut damaged = kept;
    damaged[5_000_000] ^= 1;
    fs::write(&path, damaged).unwrap();
    let error = text(&run("c", &TWO_ENGINES, 2).stderr);
    assert!(error.contains("not what was written"), "{error}");
}
