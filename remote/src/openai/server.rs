//! Which server it is, and what it offers.

use engine::{EngineError, FailureKind, NumberFormat, TokenId};
use serde_json::{Value, json};

use super::http::Client;
use super::options::{Api, Options};
use super::wire;

/// Servers whose ways are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// llama.cpp's, with routes of its own beside OpenAI's.
    LlamaServer,
    Vllm,
    /// `mlx_lm.server`.
    Mlx,
    Ollama,
    /// Any other that has `/v1/completions`.
    Other,
}

impl Dialect {
    pub(super) fn name(self) -> &'static str {
        match self {
            Dialect::LlamaServer => "llama-server",
            Dialect::Vllm => "vLLM",
            Dialect::Mlx => "mlx_lm.server",
            Dialect::Ollama => "Ollama",
            Dialect::Other => "the server",
        }
    }

    /// Formats that it usually computes with: of activations, and of keys and values.
    fn usual(self, weights: Option<NumberFormat>) -> (NumberFormat, NumberFormat) {
        use NumberFormat::{Bf16, F16, F32, Q8_0};
        match self {
            // ggml rounds the activations of a product to the partner of the weights'
            // format, blocks of eight bits for all quantized ones.
            Dialect::LlamaServer | Dialect::Ollama => {
                let activations = match weights {
                    Some(format @ (F32 | F16 | Bf16)) => format,
                    _ => Q8_0,
                };
                (activations, F16)
            }
            Dialect::Vllm | Dialect::Mlx | Dialect::Other => (Bf16, Bf16),
        }
    }
}

/// How log-probabilities of given tokens are had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scoring {
    /// One request a token, whose choice is forced by a bias; what is told of it is told
    /// of the distribution without the bias.
    Forced,
    /// `prompt_logprobs` of one request.
    PromptLogprobs,
    /// The prompt is echoed with its log-probabilities, without the most probable tokens.
    Echo,
    /// They are not, because of this.
    None(String),
}

/// What is known of a server.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) dialect: Dialect,
    /// Its name for the model.
    pub(super) model: Option<String>,
    pub(super) scoring: Scoring,
    /// Whether prompts may be token ids.
    pub(super) takes_ids: bool,
    pub(super) context: Option<usize>,
    pub(super) vocab: Option<usize>,
    pub(super) hidden: Option<usize>,
    pub(super) parameters: Option<u64>,
    /// Of activations, and of keys and values.
    pub(super) formats: (NumberFormat, NumberFormat),
}

impl Server {
    /// Asks the server who it is.
    pub(super) fn ask(client: &Client, options: &Options) -> Result<Self, EngineError> {
        let reply = client.get(&format!("{}/models", options.url))?;
        let models = wire::object(&reply.body).map_err(|error| not_openai(options, &error))?;
        let list = models.get("data").and_then(Value::as_array);
        let listed = list.map(Vec::as_slice).unwrap_or_default();
        let model = match &options.served {
            None => listed.first(),
            Some(name) => listed.iter().find(|model| id(model) == Some(name)),
        };
        if let (Some(name), None, false) = (&options.served, model, listed.is_empty()) {
            let there: Vec<&str> = listed.iter().filter_map(id).take(20).collect();
            return Err(EngineError::invalid(format!(
                "the server has no model `{name}`; it has {}",
                there.join(", ")
            )));
        }
        let model = model.cloned().unwrap_or_default();
        let dialect = dialect(client, options, &model, &reply.server);
        let size = |pointer| {
            let value = model.pointer(pointer).and_then(Value::as_u64);
            value.and_then(|value| usize::try_from(value).ok())
        };
        let weights = model.pointer("/meta/ftype").and_then(Value::as_str);
        let mut server = Self {
            dialect,
            model: options
                .served
                .clone()
                .or_else(|| id(&model).map(String::from)),
            scoring: Scoring::None(String::new()),
            takes_ids: matches!(dialect, Dialect::LlamaServer | Dialect::Vllm),
            context: options
                .context
                .or(size("/meta/n_ctx"))
                .or(size("/max_model_len")),
            vocab: options.vocab.or(size("/meta/n_vocab")),
            hidden: size("/meta/n_embd"),
            parameters: size("/meta/n_params").map(|n| n as u64),
            formats: dialect.usual(weights.and_then(|name| name.to_lowercase().parse().ok())),
        };
        server.scoring = server.scoring(client, options);
        Ok(server)
    }

    fn scoring(&mut self, client: &Client, options: &Options) -> Scoring {
        if options.api == Api::Chat {
            return Scoring::None("chats are wrapped into the server's own template".into());
        }
        match self.dialect {
            Dialect::LlamaServer => Scoring::Forced,
            Dialect::Vllm => Scoring::PromptLogprobs,
            Dialect::Mlx | Dialect::Ollama => Scoring::None(format!(
                "{} tells no log-probabilities of given tokens",
                self.dialect.name()
            )),
            Dialect::Other => match self.probe(client, options) {
                Ok(()) => {
                    self.takes_ids = true;
                    Scoring::Echo
                }
                Err(why) => Scoring::None(format!(
                    "the server does not echo a prompt of token ids with its log-probabilities: \
                     {why}"
                )),
            },
        }
    }

    /// Whether two tokens come back with two log-probabilities.
    fn probe(&self, client: &Client, options: &Options) -> Result<(), EngineError> {
        let tokens: [TokenId; 2] = [1, 1];
        let url = format!("{}/completions", options.url);
        let body = echo_body(self.model.as_deref(), &tokens).to_string();
        let reply = client.post(&url, body.as_bytes())?;
        let read = wire::object(&reply.body).and_then(|answer| wire::echoed(&answer, &tokens, 1));
        read.map(drop)
            .map_err(|error| EngineError::new(FailureKind::Unsupported, error.to_string()))
    }
}

/// A request for `tokens` to be echoed.
pub(super) fn echo_body(model: Option<&str>, tokens: &[TokenId]) -> Value {
    json!({
        "model": model,
        "prompt": tokens,
        "max_tokens": 1,
        "temperature": 0,
        "echo": true,
        "logprobs": 1,
    })
}

fn id(model: &Value) -> Option<&str> {
    model.get("id")?.as_str()
}

/// By what the list of models says, or else by which routes answer.
fn dialect(client: &Client, options: &Options, model: &Value, server: &str) -> Dialect {
    match model.get("owned_by").and_then(Value::as_str) {
        Some("llamacpp") => return Dialect::LlamaServer,
        Some("vllm") => return Dialect::Vllm,
        Some("library") => return Dialect::Ollama,
        _ => {}
    }
    let has = |route: &str, key: &str| {
        let reply = client.get(&format!("{}{route}", options.root()));
        let answer = reply.ok().and_then(|reply| wire::object(&reply.body).ok());
        answer.is_some_and(|answer| answer.get(key).is_some())
    };
    if server.eq_ignore_ascii_case("llama.cpp") || has("/props", "default_generation_settings") {
        Dialect::LlamaServer
    } else if has("/api/version", "version") {
        Dialect::Ollama
    } else if has("/version", "version") {
        Dialect::Vllm
    } else if server.starts_with("BaseHTTP/") {
        // Python's own server, which mlx_lm.server is made of.
        Dialect::Mlx
    } else {
        Dialect::Other
    }
}

fn not_openai(options: &Options, error: &wire::WireError) -> EngineError {
    EngineError::new(
        FailureKind::Protocol,
        format!("{}/models: {error}", options.url),
    )
}
