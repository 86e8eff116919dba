//! The conversation in the specification is one that an engine has.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::message::Reply;

#[test]
fn the_conversation_in_the_specification_is_real() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let page = std::fs::read_to_string(format!("{root}/docs/src/stdio-protocol.md")).unwrap();
    let mut engine = Command::new("python3")
        .arg(format!("{root}/scripts/engines/minimal.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut requests = engine.stdin.take().unwrap();
    let mut replies = BufReader::new(engine.stdout.take().unwrap()).lines();
    let mut exchanged = 0;
    for line in page.lines() {
        if let Some(request) = line.strip_prefix("> ") {
            writeln!(requests, "{request}").unwrap();
        }
        if let Some(shown) = line.strip_prefix("< ") {
            Reply::parse(shown.as_bytes()).unwrap();
            let got = replies.next().unwrap().unwrap();
            assert_eq!(without_time(&got), without_time(shown));
            exchanged += 1;
        }
    }
    assert_eq!(exchanged, 9);
    assert!(
        engine.wait().unwrap().success(),
        "it ends when it is told to"
    );
}

fn without_time(line: &str) -> Value {
    let mut value: Value = serde_json::from_str(line).unwrap();
    value.as_object_mut().unwrap().remove("compute_ns");
    value
}
