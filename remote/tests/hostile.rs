//! Servers that are broken or mean it. Each is survived, and said to be what it is.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod server;

use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};

use engine::FailureKind::{self, Crash, Device, InvalidInput, Numerics, OutOfMemory, Protocol};
use engine::{EngineError, Model, Prompt};
use serde_json::json;
use server::{Reply, Request, Server, bigram, event_head, llama_models};

/// Time enough for all that is not hostile, and short enough to wait for what is.
const TIMEOUT: &str = ",timeout_s=3,retries=1";

/// What the server does with requests for scores and for answers.
fn scored(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> EngineError {
    let model = Server::llama(handler).open(TIMEOUT).unwrap();
    model.score(&[1, 2, 3], 1, 2).unwrap_err()
}

fn streamed(reply: impl Fn() -> Reply + Send + Sync + 'static) -> EngineError {
    let model = Server::llama(move |_| reply()).open(TIMEOUT).unwrap();
    generate(&*model).unwrap_err()
}

fn generate(model: &dyn Model) -> Result<String, EngineError> {
    let prompt = Prompt {
        tokens: &[1, 2],
        text: "",
        max_tokens: 4,
        past_end: false,
    };
    let mut text = String::new();
    model.generate(&prompt, &mut |piece| text.push_str(piece.text))?;
    Ok(text)
}

#[track_caller]
fn kind(error: &EngineError, kind: FailureKind, says: &str) {
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(says), "{error}");
}

/// Bytes of a streamed response: one chunk with `data`, left open.
fn chunk(data: &[u8]) -> Vec<u8> {
    let mut bytes = event_head().into_bytes();
    bytes.extend(format!("{:x}\r\n", data.len()).bytes());
    bytes.extend(data);
    bytes.extend(b"\r\n");
    bytes
}

const EVENT: &[u8] = b"data: {\"content\":\"x\",\"tokens\":[1],\"stop\":false}\n\n";

#[test]
fn slow_heads_run_out_of_time() {
    // One line without end: too many lines would be refused before time is up.
    let head = || b"HTTP/1.1 200 OK\r\nX-A: ".to_vec();
    let error = scored(move |_| Reply::Drip(head(), b"b".to_vec(), 20));
    kind(&error, FailureKind::Timeout, "timeout_s");
}

#[test]
fn slow_bodies_run_out_of_time() {
    let head = || b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{".to_vec();
    let error = scored(move |_| Reply::Drip(head(), b" ".to_vec(), 20));
    kind(&error, FailureKind::Timeout, "timeout_s");
    // Every byte in time, and never an event.
    let error = streamed(|| {
        let comment = b"3\r\n:a\n\r\n".to_vec();
        Reply::Drip(event_head().into_bytes(), comment, 20)
    });
    kind(&error, FailureKind::Timeout, "timeout_s");
}

#[test]
fn a_stalled_stream_runs_out_of_time() {
    let error = streamed(|| Reply::Stall(chunk(EVENT)));
    kind(&error, FailureKind::Timeout, "timeout_s");
    let error = scored(|_| Reply::Stall(Vec::new()));
    kind(&error, FailureKind::Timeout, "timeout_s");
}

#[test]
fn a_stream_cut_short_is_no_answer() {
    let error = streamed(|| Reply::Raw(chunk(EVENT)));
    kind(&error, Crash, "before the answer did");
    let whole = || Reply::Events(vec![String::from_utf8_lossy(&EVENT[6..]).trim().into()]);
    kind(&streamed(whole), Protocol, "ended before its answer");
}

#[test]
fn storms_are_weathered_or_given_up() {
    let count = std::sync::Arc::new(AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&count);
    let error = scored(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        Reply::Json(429, r#"{"error":{"message":"slow down"}}"#.into())
    });
    kind(&error, FailureKind::Timeout, "429");
    kind(&error, FailureKind::Timeout, "2 attempts");
    assert_eq!(count.load(Ordering::Relaxed), 2);
    let error = scored(|_| Reply::Json(500, "no".into()));
    kind(&error, Device, "500");

    // Two refusals, and then all is well.
    let count = AtomicUsize::new(0);
    let server = Server::llama(move |request| match count.fetch_add(1, Ordering::Relaxed) {
        0 => Reply::Json(503, "loading".into()),
        1 => Reply::Raw(Vec::new()),
        _ => bigram(request),
    });
    let model = server.open(",retries=2").unwrap();
    assert_eq!(model.score(&[1, 2], 1, 1).unwrap().len(), 1);
}

#[test]
fn a_wait_beyond_the_deadline_is_not_waited_for() {
    let error = scored(|_| {
        Reply::Raw(b"HTTP/1.1 429 No\r\nRetry-After: 86400\r\nContent-Length: 0\r\n\r\n".to_vec())
    });
    kind(&error, FailureKind::Timeout, "429");
}

#[test]
fn a_huge_body_is_not_taken_in() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n";
    let model = Server::llama(move |_| Reply::Drip(head.to_vec(), vec![b' '; 1 << 22], 0))
        .open(",timeout_s=60")
        .unwrap();
    let error = model.score(&[1, 2], 1, 0).unwrap_err();
    kind(&error, OutOfMemory, "bytes");
}

#[test]
fn an_endless_event_is_not_taken_in() {
    let model = Server::llama(|_| {
        let mut line = format!("{:x}\r\n", 1 << 22).into_bytes();
        line.extend(vec![b'x'; 1 << 22]);
        line.extend(b"\r\n");
        Reply::Drip(event_head().into_bytes(), line, 0)
    })
    .open(",timeout_s=60")
    .unwrap();
    kind(
        &generate(&*model).unwrap_err(),
        Protocol,
        "event of more than",
    );
}

#[test]
fn redirects_are_not_followed() {
    let elsewhere = Server::start(|_| Reply::ok(llama_models()));
    for target in [
        "file:///etc/passwd".to_owned(),
        format!("http://{}/v1/models", elsewhere.address),
        "gopher://x/".to_owned(),
    ] {
        for status in [301, 302, 303, 307, 308] {
            let location = target.clone();
            let server = Server::start(move |_| {
                let head = format!(
                    "HTTP/1.1 {status} Go\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
                );
                Reply::Raw(head.into_bytes())
            });
            let error = server.open(TIMEOUT).err().unwrap();
            kind(&error, Protocol, "not followed");
        }
    }
    assert!(elsewhere.requests().is_empty());
}

#[test]
fn what_is_no_answer_is_a_breach_of_protocol() {
    for body in ["", "{", "[]", "null", "{\"a\":1e999}", &"[".repeat(100_000)] {
        let body = body.to_owned();
        let error = scored(move |_| Reply::Json(200, body.clone()));
        assert_eq!(error.kind(), Protocol, "{error}");
    }
    let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n\"\xff\"";
    kind(&scored(|_| Reply::Raw(bytes.to_vec())), Protocol, "JSON");
    kind(
        &streamed(|| Reply::Raw(chunk(b"data: \xff\n\n"))),
        Protocol,
        "UTF-8",
    );
    kind(
        &streamed(|| Reply::Raw(chunk(b"data: {\n\n"))),
        Protocol,
        "JSON",
    );
    let no_chunk = || [event_head().as_bytes(), b"zz\r\nx\r\n"].concat();
    kind(&streamed(move || Reply::Raw(no_chunk())), Protocol, "HTTP");
    kind(
        &scored(|_| Reply::Raw(b"\x16\x03\x01 no HTTP\r\n\r\n".to_vec())),
        Protocol,
        "HTTP",
    );
}

#[test]
fn wrong_numbers_are_seen() {
    let model = Server::vllm(|_| Reply::ok(json!({"choices": [{"prompt_logprobs": [null]}]})))
        .open(TIMEOUT)
        .unwrap();
    let error = model.score(&[1, 2, 3], 1, 1).unwrap_err();
    kind(&error, Protocol, "1 tokens where 3");
    let probabilities = |id: u32, value: serde_json::Value| {
        Reply::ok(json!({"completion_probabilities": [
            {"id": id, "logprob": value, "top_logprobs": []}]}))
    };
    let error = scored(move |_| probabilities(2, json!(null)));
    kind(&error, Numerics, "no number");
    let error = scored(move |_| probabilities(9, json!(-1.0)));
    kind(&error, Protocol, "was forced");
    // Promises of the seam are held against every engine.
    let server = Server::llama(move |_| probabilities(2, json!(0.5)));
    let model = engine::checked(server.open(TIMEOUT).unwrap(), Default::default());
    kind(
        &model.score(&[1, 2], 1, 1).unwrap_err(),
        Protocol,
        "more than one",
    );
}

#[test]
fn an_error_within_a_stream_is_the_servers() {
    let events = || vec![r#"{"error":{"message":"out of memory"}}"#.to_owned()];
    let error = streamed(move || Reply::Events(events()));
    kind(&error, Device, "out of memory");
}

#[test]
fn statuses_have_their_meanings() {
    for (status, expected) in [
        (400, InvalidInput),
        (401, InvalidInput),
        (404, FailureKind::Unsupported),
        (501, FailureKind::Unsupported),
    ] {
        let error = scored(move |_| Reply::Json(status, "{}".into()));
        kind(&error, expected, &status.to_string());
    }
}

#[test]
fn nobody_there_is_a_crash() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let gone = Server::llama(bigram);
    let mut options = engine::EngineOptions::default();
    options.set("url", format!("http://{address}/v1"));
    options.set("retries", "1");
    let artifact = engine::ModelArtifact::embedded("served", b"GGUF");
    let error = engine::Engine::open(&harness_remote::OpenAi, &artifact, &options)
        .err()
        .unwrap();
    kind(&error, Crash, "2 attempts");
    drop(gone);
}

#[test]
fn the_key_is_sent_and_never_told() {
    // What cargo sets for every test serves as the key.
    let key = std::env::var("CARGO_MANIFEST_DIR").unwrap();
    let (repeated, listed) = (key.clone(), key.clone());
    let server = Server::start(move |request| match request.path.as_str() {
        "/v1/models" => Reply::ok(json!({"data": [
            {"id": listed, "owned_by": "llamacpp", "meta": {"n_vocab": 16, "n_ctx": 64}}]})),
        _ if request.body["stream"] == true => Reply::Events(vec![
            json!({"content": repeated, "tokens": [1], "stop": true}).to_string(),
        ]),
        _ => Reply::Json(401, format!("Incorrect API key provided: {repeated}")),
    });
    let open = |more: &str| server.open(&format!(",api_key_env=CARGO_MANIFEST_DIR{more}"));
    let model = open("").unwrap();
    let error = model.score(&[1, 2], 1, 1).unwrap_err();
    kind(&error, InvalidInput, "Incorrect API key provided: ****");
    let text = generate(&*model).unwrap();
    let unserved = open(",served=x").err().unwrap();
    for shown in [
        error.to_string(),
        format!("{error:?}"),
        text,
        unserved.to_string(),
    ] {
        assert!(!shown.contains(&key), "{shown}");
    }
    let sent = format!("authorization: Bearer {key}").to_lowercase();
    let requests = server.requests();
    let sends = |request: &Request| request.head.to_lowercase().contains(&sent);
    assert!(requests.iter().all(sends), "{requests:?}");
}
