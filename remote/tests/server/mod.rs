//! A server that says and does whatever a test wants, on threads of the standard library.
#![allow(dead_code)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use engine::{Engine, EngineError, EngineSpec, Model, ModelArtifact};
use harness_remote::OpenAi;
use serde_json::{Value, json};

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) head: String,
    pub(crate) body: Value,
}

/// What is done with a request.
pub(crate) enum Reply {
    /// A whole response of this status and JSON body.
    Json(u16, String),
    /// A whole response of events with these data.
    Events(Vec<String>),
    /// These bytes, and the end of the connection.
    Raw(Vec<u8>),
    /// These bytes, and nothing more while the other side is there.
    Stall(Vec<u8>),
    /// These bytes first, and then these again and again, after so many milliseconds each.
    Drip(Vec<u8>, Vec<u8>, u64),
}

impl Reply {
    pub(crate) fn ok(body: Value) -> Self {
        Reply::Json(200, body.to_string())
    }
}

type Handler = dyn Fn(&Request) -> Reply + Send + Sync;

/// Listens until the test program ends.
pub(crate) struct Server {
    pub(crate) address: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub(crate) fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, handler): (_, Arc<Handler>) = (Arc::clone(&requests), Arc::new(handler));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, handler) = (Arc::clone(&seen), Arc::clone(&handler));
                thread::spawn(move || serve(stream, &seen, &*handler));
            }
        });
        Self { address, requests }
    }

    /// A server that lists a model as llama-server does and leaves the rest to `handler`.
    pub(crate) fn llama(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(move |request| match request.path.as_str() {
            "/v1/models" => Reply::ok(llama_models()),
            _ => handler(request),
        })
    }

    pub(crate) fn vllm(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(move |request| match request.path.as_str() {
            "/v1/models" => Reply::ok(json!({"object": "list", "data": [
                {"id": "m", "owned_by": "vllm", "max_model_len": 64}]})),
            _ => handler(request),
        })
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    pub(crate) fn open(&self, options: &str) -> Result<Box<dyn Model>, EngineError> {
        let spec = format!("openai:url=http://{}/v1{options}", self.address);
        let spec: EngineSpec = spec.parse().unwrap();
        let model = ModelArtifact::embedded("served", b"GGUF");
        OpenAi.open(&model, &spec.options)
    }
}

pub(crate) const VOCAB: usize = 16;

pub(crate) fn llama_models() -> Value {
    json!({"object": "list", "data": [{"id": "m", "owned_by": "llamacpp", "meta":
        {"n_vocab": VOCAB, "n_ctx": 64, "n_embd": 8, "n_params": 1000, "ftype": "F16"}}]})
}

fn serve(mut stream: TcpStream, seen: &Mutex<Vec<Request>>, handler: &Handler) -> Option<()> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
            break at + 4;
        }
        match stream.read(&mut buffer).ok()? {
            0 => return None,
            n => bytes.extend_from_slice(&buffer[..n]),
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok())
        .unwrap_or(0);
    while bytes.len() < head_end + length {
        match stream.read(&mut buffer).ok()? {
            0 => return None,
            n => bytes.extend_from_slice(&buffer[..n]),
        }
    }
    let request = Request {
        path: head.split(' ').nth(1).unwrap_or_default().into(),
        body: serde_json::from_slice(&bytes[head_end..]).unwrap_or_default(),
        head,
    };
    seen.lock().unwrap().push(request.clone());
    match handler(&request) {
        Reply::Json(status, body) => {
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\n\
                 Content-Length: {length}\r\nConnection: close\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).ok()?;
            stream.write_all(body.as_bytes()).ok()?;
        }
        Reply::Events(events) => {
            stream.write_all(event_head().as_bytes()).ok()?;
            for event in events {
                let data = format!("data: {event}\n\n");
                let chunk = format!("{:x}\r\n{data}\r\n", data.len());
                stream.write_all(chunk.as_bytes()).ok()?;
            }
            stream.write_all(b"0\r\n\r\n").ok()?;
        }
        Reply::Raw(bytes) => stream.write_all(&bytes).ok()?,
        Reply::Stall(bytes) => {
            stream.write_all(&bytes).ok()?;
            // Returns when the other side has hung up.
            let _ = stream.read(&mut buffer);
        }
        Reply::Drip(first, again, pause_ms) => {
            stream.write_all(&first).ok()?;
            loop {
                stream.write_all(&again).ok()?;
                thread::sleep(Duration::from_millis(pause_ms));
            }
        }
    }
    Some(())
}

pub(crate) fn event_head() -> String {
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\
     Connection: close\r\n\r\n"
        .into()
}

/// What a small language model of llama-server's ways answers: the next token depends on
/// the last one alone.
pub(crate) fn bigram(request: &Request) -> Reply {
    let body = &request.body;
    let ids = body["prompt"].as_array().unwrap();
    let mut last = ids.last().unwrap().as_u64().unwrap() as usize;
    if body["stream"] == true {
        let count = body["n_predict"].as_u64().unwrap();
        let mut events = Vec::new();
        for _ in 0..count {
            let row = log_probabilities(last);
            last = (0..VOCAB)
                .max_by(|&a, &b| row[a].total_cmp(&row[b]))
                .unwrap();
            let event = json!({"content": "x", "tokens": [last], "stop": false});
            events.push(event.to_string());
        }
        let end = json!({"content": "", "tokens": [], "stop": true, "stop_type": "limit",
            "tokens_evaluated": ids.len(), "tokens_predicted": count,
            "timings": {"prompt_ms": 0.5, "predicted_ms": 1.5}});
        events.push(end.to_string());
        return Reply::Events(events);
    }
    let row = log_probabilities(last);
    let forced = body["logit_bias"][0][0].as_u64().unwrap() as usize;
    let mut ids: Vec<usize> = (0..VOCAB).collect();
    ids.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
    let top: Vec<Value> = ids
        .iter()
        .take(body["n_probs"].as_u64().unwrap() as usize)
        .map(|&id| json!({"id": id, "logprob": row[id]}))
        .collect();
    Reply::ok(json!({"completion_probabilities": [
        {"id": forced, "logprob": row[forced], "top_logprobs": top}]}))
}

fn log_probabilities(last: usize) -> Vec<f64> {
    let logits: Vec<f64> = (0..VOCAB)
        .map(|id| ((last * 31 + id * 17) % 23) as f64 / 3.0)
        .collect();
    let sum: f64 = logits.iter().map(|z| z.exp()).sum();
    logits.iter().map(|z| z - sum.ln()).collect()
}
