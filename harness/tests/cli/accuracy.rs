//! Suite `accuracy` through the real binary on the real fixture.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use engine::ModelArtifact;
use reference::gguf::GgufFile;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{ends, lasting, metric, record, text};

const RUN: [&str; 3] = ["run", "--suite", "accuracy"];
const TWO_ENGINES: [&str; 4] = [
    "--engine",
    "reference:weights=f16",
    "--engine",
    "reference:weights=q4_0",
];

/// Samples of one cell: metric, then index.
fn samples(folder: &Path, run: &str, engine: &str) -> BTreeMap<String, BTreeMap<u64, f64>> {
    let mut samples: BTreeMap<String, BTreeMap<u64, f64>> = BTreeMap::new();
    let mut reader = csv::Reader::from_path(folder.join(run).join("samples.csv")).unwrap();
    for row in reader.records() {
        let row = row.unwrap();
        if &row[3] == engine {
            let series = samples.entry(row[4].into()).or_default();
            let value = row[7].parse().unwrap();
            assert_eq!(series.insert(row[6].parse().unwrap(), value), None);
        }
    }
    samples
}

fn lines(items: &[Value]) -> String {
    items.iter().map(|item| format!("{item}\n")).collect()
}

#[test]
fn the_embedded_items_are_asked_on_a_fresh_clone() {
    let folder = TempDir::new().unwrap();
    let arguments = [&RUN[..], &["--quick", "--out", "r"], &TWO_ENGINES].concat();
    ends(folder.path(), &arguments, 0);
    let record = record(folder.path(), "r");
    let cell = &record["cells"][1];
    assert_eq!(cell["status"]["is"], "completed");
    let overall = metric(cell, "accuracy.all.acc");
    assert_eq!(overall["n"], 54);
    assert!(overall["ci_low"].as_f64() < overall["value"].as_f64());
    for source in ["austen", "bible", "shakespeare"] {
        let own = metric(cell, &format!("accuracy.{source}.acc"));
        assert_eq!(own["n"], 18, "sources alternate");
        assert_eq!(
            metric(cell, &format!("accuracy.{source}.drop_pct"))["verdict"],
            "pass"
        );
    }

    // Raw samples add up to the figures, and choices are the likeliest.
    let items: Vec<Value> = fixtures::ITEMS
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let samples = samples(folder.path(), "r", "reference:weights=q4_0");
    let mut right = 0.0;
    for (index, item) in (0..54).zip(&items) {
        let correct = samples["correct"][&index];
        right += correct;
        let Some(choices) = item["choices"].as_array() else {
            assert!(!samples["log_likelihood_0"].contains_key(&index));
            continue;
        };
        let sums: Vec<f64> = (0..choices.len())
            .map(|k| samples[&format!("log_likelihood_{k}")][&index])
            .collect();
        let best = |values: &[f64]| {
            (0..values.len())
                .max_by(|&a, &b| values[a].total_cmp(&values[b]))
                .unwrap() as u64
        };
        let answer = item["answer"].as_u64().unwrap();
        assert_eq!(samples["answer"][&index], best(&sums) as f64);
        assert_eq!(correct == 1.0, best(&sums) == answer);
        let lengths = choices
            .iter()
            .map(|choice| choice.as_str().unwrap().len() as f64);
        let per_byte: Vec<f64> = sums.iter().zip(lengths).map(|(sum, n)| sum / n).collect();
        assert_eq!(
            samples["correct_norm"][&index] == 1.0,
            best(&per_byte) == answer
        );
    }
    assert_eq!(overall["value"], right / 54.0);
}

/// The fixture without its last norm: all logits are 0, whatever it reads.
fn know_nothing(folder: &Path) {
    let model = ModelArtifact::embedded("fixture", fixtures::MODEL);
    let file = GgufFile::open(&model).unwrap();
    let norm = file.data(file.tensor("output_norm.weight").unwrap());
    let at = norm.as_ptr() as usize - fixtures::MODEL.as_ptr() as usize;
    let mut bytes = fixtures::MODEL.to_vec();
    bytes[at..at + norm.len()].fill(0);
    fs::write(folder.join("nothing.gguf"), bytes).unwrap();
}

#[test]
fn a_model_that_knows_nothing_fails_as_computed() {
    let folder = TempDir::new().unwrap();
    know_nothing(folder.path());
    let artifact = ModelArtifact::embedded("fixture", fixtures::MODEL);
    let source = reference::Source::open(&artifact).unwrap();
    let tokenizer = reference::tokenizer::open(&source).unwrap();
    let tokens = |text: &str| tokenizer.encode(text).unwrap().len();
    // The text's own words against bytes that it never has, and fewer tokens of those:
    // a model of English prefers the first, one that knows nothing the second.
    let junk = "\u{1}\u{2}\u{3}\u{4}\u{5}\u{6}";
    let mut items = Vec::new();
    let mut lengths = Vec::new();
    let words: Vec<&str> = fixtures::HELDOUT.split_whitespace().collect();
    for words in words.chunks(70).take(40) {
        let (prompt, own) = (
            words[..40].join(" "),
            format!(" {}", words[40..48].join(" ")),
        );
        let (before, right) = (tokens(&prompt), tokens(&format!("{prompt}{own}")));
        let wrong = tokens(&format!("{prompt}{junk}"));
        assert!(right > wrong && wrong > before, "{words:?}");
        lengths.push([right - before, wrong - before]);
        let id = items.len().to_string();
        items.push(json!({"id": id, "prompt": prompt, "choices": [own, junk], "answer": 0}));
    }
    fs::write(folder.path().join("items.jsonl"), lines(&items)).unwrap();
    let engine = "reference:model=nothing.gguf";
    let more = [
        "--engine",
        engine,
        "--set",
        "accuracy.items=items.jsonl",
        "--out",
        "r",
    ];
    let table = text(&ends(folder.path(), &[&RUN[..], &more].concat(), 1).stdout);
    let line = format!("FAIL  {engine}  accuracy.all.drop_pct");
    assert!(table.contains(&line), "{table}");

    let record = record(folder.path(), "r");
    let value = |cell: usize, name: &str| {
        metric(&record["cells"][cell], &format!("accuracy.all.{name}"))["value"]
            .as_f64()
            .unwrap()
    };
    assert!(value(0, "acc") > 0.75, "the fixture reads English");
    assert_eq!((value(1, "acc"), value(1, "gains")), (0.0, 0.0));
    assert_eq!(value(1, "losses"), 40.0 * value(0, "acc"));
    // Every discordant item on one side: twice its probability.
    let p = 2.0 * 0.5f64.powf(value(1, "losses"));
    assert!((value(1, "mcnemar_p") / p - 1.0).abs() < 1e-9);
    let samples = samples(folder.path(), "r", engine);
    for (index, lengths) in (0..).zip(lengths) {
        for (k, tokens) in lengths.into_iter().enumerate() {
            let expected = -(tokens as f64) * f64::from(4096).ln();
            let found = samples[&format!("log_likelihood_{k}")][&index];
            assert!((found / expected - 1.0).abs() < 1e-12, "{found} {expected}");
        }
    }
}

#[test]
fn written_answers_are_judged_and_kept() {
    let folder = TempDir::new().unwrap();
    let ask = |more: Value| {
        let mut item =
            json!({"prompt": "And it came to pass in those days, that", "max_tokens": 6});
        item.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        item
    };
    fs::write(
        folder.path().join("a.jsonl"),
        lines(&[ask(json!({"id": "a", "regex": ""}))]),
    )
    .unwrap();
    let run = |items: &str, out: &str| {
        let items = format!("accuracy.items={items}");
        let more = [
            "--engine",
            "reference",
            "--set",
            &items,
            "--set",
            "accuracy.save_answers=true",
            "--out",
            out,
        ];
        ends(folder.path(), &[&RUN[..], &more].concat(), 0);
        let path = folder
            .path()
            .join(out)
            .join("artifacts/accuracy-0.answers.jsonl");
        let kept = fs::read_to_string(path).unwrap();
        kept.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect::<Vec<Value>>()
    };
    // What it writes is what is then expected of it, and something else is not.
    let answer = run("a.jsonl", "first")[0]["answer"]
        .as_str()
        .unwrap()
        .to_owned();
    let word = answer.split_whitespace().next().unwrap();
    let shouted = format!("{}!", answer.to_uppercase());
    let items = [
        ask(json!({"id": "same", "exact": answer})),
        ask(json!({"id": "other", "exact": "something else"})),
        ask(json!({"id": "holds", "contains": ["something else", word]})),
        ask(json!({"id": "loud", "exact": shouted})),
        ask(
            json!({"id": "loose", "exact": shouted, "normalize": ["case", "punctuation", "whitespace"]}),
        ),
        ask(json!({"id": "stopped", "exact": [], "stop": [word]})),
    ];
    let mut items = items.to_vec();
    items[5]["exact"] = Value::Null;
    items[5]["regex"] = json!(r"^\s*$");
    fs::write(folder.path().join("b.jsonl"), lines(&items)).unwrap();
    let kept = run("b.jsonl", "second");
    let right: Vec<(&str, bool)> = kept
        .iter()
        .map(|line| {
            (
                line["id"].as_str().unwrap(),
                line["correct"].as_bool().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        right,
        [
            ("same", true),
            ("other", false),
            ("holds", true),
            ("loud", false),
            ("loose", true),
            ("stopped", true)
        ]
    );
}

#[test]
fn greedy_answers_are_steady_and_drawn_ones_are_not() {
    let folder = TempDir::new().unwrap();
    let steady = |out: &str, sampling: &str| {
        let sampling = format!("accuracy.sampling={sampling}");
        let more = [
            "--engine",
            "reference",
            "--set",
            "accuracy.limit=15",
            "--set",
            "accuracy.repeats=3",
            "--set",
            &sampling,
            "--out",
            out,
        ];
        ends(folder.path(), &[&RUN[..], &more].concat(), 0);
        let record = record(folder.path(), out);
        let cell = &record["cells"][0];
        assert_eq!(metric(cell, "accuracy.all.acc")["n"], 15);
        assert_eq!(metric(cell, "accuracy.all.acc_mean")["n"], 45);
        metric(cell, "accuracy.all.same_answer")["value"]
            .as_f64()
            .unwrap()
    };
    assert_eq!(steady("greedy", "greedy"), 1.0);
    // Three of the fifteen are written; three texts of six or more tokens drawn at this
    // temperature from 4,096 are not the same.
    assert_eq!(steady("drawn", "temperature=3,seed=1"), 0.8);
}

#[test]
fn merged_shards_are_the_whole_run() {
    let folder = TempDir::new().unwrap();
    let run = |more: &[&'static str]| {
        // Fewer items than would give every shard one of each category and kind.
        let few = [
            "--set",
            "accuracy.limit=14",
            "--set",
            "accuracy.repeats=2",
            "--set",
            "accuracy.sampling=temperature=1,seed=3",
        ];
        ends(
            folder.path(),
            &[&RUN[..], &few, &TWO_ENGINES, more].concat(),
            0,
        );
    };
    run(&["--out", "whole"]);
    for (shard, out) in [("1/3", "a"), ("2/3", "b"), ("3/3", "c")] {
        run(&["--out", out, "--shard", shard]);
    }
    ends(
        folder.path(),
        &["merge", "b", "c", "a", "--out", "merged"],
        0,
    );
    let read = |run: &str| fs::read(folder.path().join(run).join("samples.csv")).unwrap();
    assert!(read("whole") == read("merged"), "samples differ");
    let merged = lasting(record(folder.path(), "merged"));
    assert_eq!(lasting(record(folder.path(), "whole")), merged);
    metric(&merged["cells"][1], "accuracy.all.drop_pct");
}

#[test]
fn models_with_other_tokenizers_are_compared_by_their_answers() {
    let folder = TempDir::new().unwrap();
    // Another way to split text before merging: digits one by one, above all.
    let mut bytes = fixtures::MODEL.to_vec();
    let at = bytes
        .windows(5)
        .position(|window| window == b"gpt-2")
        .unwrap();
    bytes[at..at + 5].copy_from_slice(b"qwen2");
    fs::write(folder.path().join("other.gguf"), bytes).unwrap();
    let item = |id: &str, prompt: &str| json!({"id": id, "prompt": prompt, "choices": [" one", " two"], "answer": 0});
    let items = [
        item("same", "He had but"),
        item("digits", "In the year 12345678 there was"),
    ];
    fs::write(folder.path().join("items.jsonl"), lines(&items)).unwrap();
    let other = "reference:model=other.gguf";
    let more = [
        "--suite",
        "perplexity",
        "--engine",
        other,
        "--quick",
        "--set",
        "accuracy.items=items.jsonl",
        "--out",
        "r",
    ];
    ends(folder.path(), &[&RUN[..], &more].concat(), 0);
    let record = record(folder.path(), "r");
    let status = |cell: usize| record["cells"][cell]["status"]["is"].as_str().unwrap();
    let suites: Vec<&str> = (0..4)
        .map(|cell| record["cells"][cell]["suite"].as_str().unwrap())
        .collect();
    assert_eq!(suites, ["accuracy", "accuracy", "perplexity", "perplexity"]);
    assert_eq!(status(1), "completed");
    assert_eq!(status(3), "skipped", "tokens cannot be compared");
    metric(&record["cells"][1], "accuracy.all.drop_pct");
    // Each read its own tokens: equal ones for the first item, others for the second.
    let (base, own) = (
        samples(folder.path(), "r", "reference"),
        samples(folder.path(), "r", other),
    );
    let likelihood =
        |samples: &BTreeMap<String, BTreeMap<u64, f64>>, index| samples["log_likelihood_0"][&index];
    assert_eq!(likelihood(&base, 0), likelihood(&own, 0));
    assert_ne!(likelihood(&base, 1), likelihood(&own, 1));
}

#[test]
fn bad_input_is_exit_2_and_overwrites_nothing() {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("r")).unwrap();
    fs::write(folder.path().join("r/mine"), "mine").unwrap();
    let good = r#"{"id":"a","prompt":"p","choices":[" x"," y"],"answer":1}"#;
    let refused = |name: &str, bytes: &[u8], set: &str, words: &[&str]| {
        fs::write(folder.path().join(name), bytes).unwrap();
        let items = format!("accuracy.items={name}");
        let more = ["--out", "r", "--set", &items, "--set", set];
        let output = ends(folder.path(), &[&RUN[..], &more].concat(), 2);
        let error = text(&output.stderr);
        for word in words {
            assert!(error.contains(word), "{name}: {error}");
        }
        assert!(output.stdout.is_empty());
        let left: Vec<_> = fs::read_dir(folder.path().join("r")).unwrap().collect();
        assert_eq!(left.len(), 1, "{name} left {left:?}");
    };
    let second = |name: &str, line: &str, words: &[&str]| {
        let words = [&[name, "line 2: "], words].concat();
        refused(
            name,
            format!("{good}\n{line}\n").as_bytes(),
            "accuracy.limit=0",
            &words,
        );
    };
    second(
        "field.jsonl",
        r#"{"id":"b","promt":"p"}"#,
        &["unknown field `promt`, expected one of"],
    );
    second(
        "type.jsonl",
        r#"{"id":2,"prompt":"p"}"#,
        &["invalid type: integer `2`, expected a string"],
    );
    second("cut.jsonl", r#"{"id":"b","prom"#, &["EOF"]);
    second("twice.jsonl", good, &["id `a` is already that of line 1"]);
    second(
        "regex.jsonl",
        r#"{"id":"b","prompt":"p","regex":"[a"}"#,
        &["unclosed character class"],
    );
    second(
        "range.jsonl",
        r#"{"id":"b","prompt":"p","choices":["x","y"],"answer":2}"#,
        &["numbered 0 to 1"],
    );
    second(
        "chat.jsonl",
        r#"{"id":"b","messages":[{"role":"user","content":"x"}],"exact":"x"}"#,
        &["no chat template"],
    );
    refused(
        "empty.jsonl",
        b"",
        "accuracy.limit=0",
        &["empty.jsonl line 1", "the file is empty"],
    );
    let bytes = [good.as_bytes(), b"\n\xff"].concat();
    refused(
        "bytes.jsonl",
        &bytes,
        "accuracy.limit=0",
        &["bytes.jsonl line 2", "not UTF-8"],
    );
    for (set, word) in [
        ("accuracy.normalize=caps", "punctuation"),
        ("accuracy.repeats=0", "at least 1"),
        ("accuracy.max_tokens=0", "at least 1"),
        ("accuracy.max_drop_pct=-1", "from 0 to 100"),
        ("accuracy.alpha=1", "between 0 and 1"),
        ("accuracy.sampling=hot", "temperature"),
        ("accuracy.itmes=x", "no setting `itmes`"),
    ] {
        refused("good.jsonl", good.as_bytes(), set, &[word]);
    }
    let more = ["--out", "r", "--set", "accuracy.items=none.jsonl"];
    let output = ends(folder.path(), &[&RUN[..], &more].concat(), 2);
    assert!(text(&output.stderr).contains("none.jsonl"));
    assert_eq!(fs::read_dir(folder.path().join("r")).unwrap().count(), 1);
}

#[test]
fn an_item_that_no_context_holds_is_named() {
    let folder = TempDir::new().unwrap();
    let long =
        json!({"id": "long", "prompt": "word ".repeat(2_000), "choices": ["x", "y"], "answer": 0});
    fs::write(folder.path().join("items.jsonl"), lines(&[long])).unwrap();
    let more = ["--set", "accuracy.items=items.jsonl"];
    let error = text(&ends(folder.path(), &[&RUN[..], &more].concat(), 2).stderr);
    assert!(
        error.contains("items.jsonl line 1") && error.contains("context is 1024"),
        "{error}"
    );
}
