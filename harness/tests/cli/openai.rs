//! Runs against a server that repeats the API key wherever it can.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::thread;

use assert_cmd::Command;

const KEY: &str = "sk-do-not-tell-0123456789";

/// A server of llama-server's ways that answers requests for answers with this status.
fn server(status: u16) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || serve(stream, status));
        }
    });
    address
}

fn serve(mut stream: TcpStream, status: u16) -> Option<()> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    let (head, body) = loop {
        let n = stream.read(&mut buffer).ok()?;
        if n == 0 {
            return None;
        }
        bytes.extend_from_slice(&buffer[..n]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let named = name.eq_ignore_ascii_case("content-length");
            named.then(|| value.trim().parse::<usize>().ok())?
        });
        if body.len() >= length.unwrap_or(0) {
            break (head.to_owned(), body.to_owned());
        }
    };
    assert!(head.contains(&format!("Bearer {KEY}")), "{head}");
    let (status, answer) = if head.starts_with("GET /v1/models") {
        let meta = r#"{"n_vocab":4096,"n_ctx":1024,"n_embd":256,"n_params":4983552,"ftype":"F16"}"#;
        let model = format!(r#"{{"id":"{KEY}","owned_by":"llamacpp","meta":{meta}}}"#);
        (200, format!(r#"{{"data":[{model}]}}"#))
    } else if status != 200 {
        (
            status,
            format!(r#"{{"error":{{"message":"bad key {KEY}"}}}}"#),
        )
    } else {
        let tokens: serde_json::Value = serde_json::from_str(&body).ok()?;
        let count = tokens["n_predict"].as_u64()?;
        let piece = format!("data: {{\"content\":\"{KEY}\",\"tokens\":[7],\"stop\":false}}\n\n");
        let end =
            "data: {\"content\":\"\",\"tokens\":[],\"stop\":true,\"stop_type\":\"limit\"}\n\n";
        (200, piece.repeat(count as usize) + end)
    };
    let head = format!(
        "HTTP/1.1 {status} {KEY}\r\nServer: {KEY}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        answer.len()
    );
    stream.write_all((head + &answer).as_bytes()).ok()
}

/// Exit code, and all that the run has left for people to read.
fn run(address: &str, folder: &Path) -> (Option<i32>, String) {
    let spec = format!("openai:url=http://{address}/v1,api_key_env=SERVER_KEY,retries=1");
    let output = Command::cargo_bin("harness")
        .unwrap()
        .env("SERVER_KEY", KEY)
        .args(["run", "--suite", "latency", "--suite", "memory", "--quick"])
        .args(["--engine", &spec, "--baseline", &spec, "--out"])
        .arg(folder)
        .output()
        .unwrap();
    let mut all = String::from_utf8_lossy(&output.stdout).into_owned();
    all += &String::from_utf8_lossy(&output.stderr);
    read_all(folder, &mut all);
    (output.status.code(), all)
}

fn read_all(folder: &Path, all: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => read_all(&path, all),
            false => *all += &String::from_utf8_lossy(&fs::read(path).unwrap()),
        }
    }
}

#[test]
fn the_key_is_in_no_record_output_or_error() {
    let folder = tempfile::tempdir().unwrap();
    let (code, all) = run(&server(200), &folder.path().join("good"));
    assert_eq!(code, Some(0), "{all}");
    assert!(!all.contains(KEY), "{all}");
    assert!(
        all.contains("api_key_env=SERVER_KEY"),
        "its name is recorded"
    );
    assert!(all.contains("network"), "{all}");
    assert!(
        all.contains("a server keeps its logits"),
        "memory is skipped: {all}"
    );

    let (code, all) = run(&server(401), &folder.path().join("bad"));
    assert_eq!(code, Some(3), "{all}");
    assert!(!all.contains(KEY), "{all}");
    assert!(all.contains("bad key ****"), "{all}");
    assert!(all.contains("invalid input"), "{all}");
}

#[test]
fn a_server_that_is_not_there_is_a_finding() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let folder = tempfile::tempdir().unwrap();
    let (code, all) = run(&address, &folder.path().join("none"));
    assert_eq!(code, Some(3), "{all}");
    assert!(all.contains("crash"), "{all}");
}
