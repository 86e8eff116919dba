//! A model behind a server.

use std::sync::atomic::{AtomicU64, Ordering};

use engine::{
    Answer, EngineError, FailureKind, Model, ModelConfig, Numerics, Piece, Predictions, Prompt,
    Scores, Session, TokenId,
};
use serde_json::{Value, json};

use super::http::Client;
use super::options::{Api, Options};
use super::server::{Dialect, Scoring, Server, echo_body};
use super::wire::{self, Delta, WireError};

/// Most tokens that are told with each: what vLLM allows unless it is told otherwise.
const MOST_TOP: usize = 20;

/// Enough to choose a token whatever its logit, and no infinity.
const FORCE: f64 = 1e6;

/// Context of a server that does not tell, so that nothing is refused that it may do.
const UNKNOWN: usize = TokenId::MAX as usize;

pub(super) struct Served {
    client: Client,
    options: Options,
    server: Server,
    config: ModelConfig,
    numerics: Numerics,
    /// Requests so far, to tell the prompts of each apart.
    requests: AtomicU64,
}

impl Served {
    pub(super) fn new(client: Client, options: Options, server: Server) -> Self {
        let config = ModelConfig {
            architecture: server.dialect.name().into(),
            layers: 0,
            hidden: server.hidden.unwrap_or(0),
            feed_forward: 0,
            heads: 0,
            kv_heads: 0,
            head_dim: 0,
            vocab: server.vocab.unwrap_or(UNKNOWN),
            context: server.context.unwrap_or(UNKNOWN),
            parameters: server.parameters.unwrap_or(0),
        };
        let (activations, kv) = server.formats;
        let numerics = Numerics {
            weights: options.weights,
            activations: options.activations.unwrap_or(activations),
            kv: options.kv.unwrap_or(kv),
        };
        Self {
            client,
            options,
            server,
            config,
            numerics,
            requests: AtomicU64::new(0),
        }
    }

    fn url(&self, route: &str) -> String {
        format!("{}{route}", self.options.url)
    }

    fn own_url(&self, route: &str) -> String {
        format!("{}{route}", self.options.root())
    }

    fn post(&self, url: &str, body: &Value) -> Result<Value, EngineError> {
        let reply = self.client.post(url, body.to_string().as_bytes())?;
        wire::object(&reply.body).map_err(|error| finding(url, &error))
    }

    fn check(&self, tokens: &[TokenId], more: usize) -> Result<(), EngineError> {
        let ModelConfig { vocab, context, .. } = self.config;
        if let Some(id) = tokens.iter().find(|&&id| id as usize >= vocab) {
            return Err(EngineError::invalid(format!(
                "token {id} is outside the vocabulary of {vocab}"
            )));
        }
        if tokens.is_empty() {
            return Err(EngineError::invalid("a prompt without tokens"));
        }
        if tokens.len().saturating_add(more) > context {
            return Err(EngineError::invalid(format!(
                "{} tokens and {more} more do not fit the server's context of {context}",
                tokens.len()
            )));
        }
        Ok(())
    }

    /// One request a token. The server keeps what it has read, so that each reads one
    /// token more.
    fn forced(
        &self,
        tokens: &[TokenId],
        from: usize,
        top: usize,
    ) -> Result<Vec<Scores>, EngineError> {
        let url = self.own_url("/completion");
        (from..tokens.len())
            .map(|place| {
                let body = json!({
                    "prompt": &tokens[..place],
                    "n_predict": 1,
                    "temperature": 0,
                    "samplers": ["temperature"],
                    "logit_bias": [[tokens[place], FORCE]],
                    // None are told for zero.
                    "n_probs": top.max(1),
                    "post_sampling_probs": false,
                    "cache_prompt": true,
                });
                let answer = self.post(&url, &body)?;
                wire::forced(&answer, tokens[place], top).map_err(|error| finding(&url, &error))
            })
            .collect()
    }

    /// The body that asks for an answer, and where it goes.
    fn request(&self, prompt: &Prompt<'_>) -> Result<(String, Value), EngineError> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        if self.server.dialect == Dialect::LlamaServer && self.options.api == Api::Completions {
            let body = json!({
                "prompt": prompt.tokens,
                "n_predict": prompt.max_tokens,
                "temperature": 0,
                "samplers": ["temperature"],
                "ignore_eos": prompt.past_end,
                "return_tokens": true,
                "stream": true,
                // Or a prompt that was there before would cost nothing.
                "cache_prompt": false,
            });
            return Ok((self.own_url("/completion"), body));
        }
        let mut body = json!({
            "model": self.server.model,
            "max_tokens": prompt.max_tokens,
            "temperature": 0,
            "stream": true,
            "stream_options": {"include_usage": true},
        });
        let mut set = |key: &str, value: Value| body[key] = value;
        if self.server.dialect == Dialect::Vllm {
            set("ignore_eos", prompt.past_end.into());
            set("repetition_penalty", 1.into());
            set("return_token_ids", true.into());
            // Prompts of another salt share nothing with it.
            set(
                "cache_salt",
                format!("harness-{}-{number}", std::process::id()).into(),
            );
        }
        if self.options.api == Api::Chat {
            set(
                "messages",
                json!([{"role": "user", "content": prompt.text}]),
            );
            return Ok((self.url("/chat/completions"), body));
        }
        match self.server.takes_ids {
            true => set("prompt", prompt.tokens.into()),
            false if prompt.text.is_empty() => {
                return Err(EngineError::new(
                    FailureKind::Unsupported,
                    format!("{} takes text only", self.server.dialect.name()),
                ));
            }
            false => set("prompt", prompt.text.into()),
        }
        Ok((self.url("/completions"), body))
    }
}

impl Model for Served {
    fn config(&self) -> &ModelConfig {
        &self.config
    }

    fn numerics(&self) -> Numerics {
        self.numerics
    }

    fn predictions(&self) -> Predictions {
        match &self.server.scoring {
            Scoring::Forced | Scoring::PromptLogprobs => Predictions::Scores { top: MOST_TOP },
            Scoring::Echo => Predictions::Scores { top: 0 },
            Scoring::None(why) => Predictions::Choices { why: why.clone() },
        }
    }

    fn session(&self) -> Result<Box<dyn Session + '_>, EngineError> {
        Err(EngineError::new(
            FailureKind::Unsupported,
            "a server keeps its logits",
        ))
    }

    fn score(
        &self,
        tokens: &[TokenId],
        from: usize,
        top: usize,
    ) -> Result<Vec<Scores>, EngineError> {
        self.check(tokens, 0)?;
        if !(1..=tokens.len()).contains(&from) {
            return Err(EngineError::invalid(format!(
                "nothing to score from place {from} of {} tokens on",
                tokens.len()
            )));
        }
        let most = match self.predictions() {
            Predictions::Scores { top } => top,
            _ => 0,
        };
        if top > most {
            return Err(EngineError::invalid(format!(
                "the {top} most probable tokens, where the server tells {most} at most"
            )));
        }
        let url = self.url("/completions");
        let model = self.server.model.as_deref();
        match &self.server.scoring {
            Scoring::None(why) => Err(EngineError::new(FailureKind::Unsupported, why)),
            Scoring::Forced => self.forced(tokens, from, top),
            Scoring::PromptLogprobs => {
                let body = json!({
                    "model": model,
                    "prompt": tokens,
                    "max_tokens": 1,
                    "temperature": 0,
                    "prompt_logprobs": top,
                });
                let answer = self.post(&url, &body)?;
                wire::prompt_logprobs(&answer, tokens, from, top)
                    .map_err(|error| finding(&url, &error))
            }
            Scoring::Echo => {
                let answer = self.post(&url, &echo_body(model, tokens))?;
                wire::echoed(&answer, tokens, from).map_err(|error| finding(&url, &error))
            }
        }
    }

    fn generate(
        &self,
        prompt: &Prompt<'_>,
        each: &mut dyn FnMut(Piece<'_>),
    ) -> Result<Answer, EngineError> {
        self.check(prompt.tokens, prompt.max_tokens)?;
        let (url, body) = self.request(prompt)?;
        let own = url == self.own_url("/completion");
        let (mut answer, mut over, mut timings_ms) = (Answer::default(), false, None);
        let transport = self
            .client
            .stream(&url, body.to_string().as_bytes(), &mut |data| {
                if data == "[DONE]" {
                    return Ok(());
                }
                let read = match own {
                    true => wire::llama_event(data),
                    false => wire::openai_event(data),
                };
                let delta = read.map_err(|error| finding(&url, &error))?;
                if over && !(delta.tokens.is_empty() && delta.text.is_empty()) {
                    let late = WireError::Protocol("an answer that goes on after its end".into());
                    return Err(finding(&url, &late));
                }
                let Delta { tokens, text, .. } = &delta;
                if !(tokens.is_empty() && text.is_empty()) {
                    each(Piece { tokens, text });
                }
                if let Some(ended) = delta.finished {
                    over = true;
                    answer.ended = ended;
                }
                answer.prompt_tokens = delta.prompt_tokens.or(answer.prompt_tokens);
                answer.answer_tokens = delta.answer_tokens.or(answer.answer_tokens);
                timings_ms = delta.timings_ms.or(timings_ms);
                Ok(())
            })?;
        if !over {
            let cut = WireError::Protocol("a stream that ended before its answer did".into());
            return Err(finding(&url, &cut));
        }
        let ns = |ms: f64| (ms * 1e6) as u64;
        answer.transport = Some(engine::Transport {
            engine_prompt_ns: timings_ms.map(|(prompt, _)| ns(prompt)),
            engine_answer_ns: timings_ms.map(|(_, answer)| ns(answer)),
            ..transport
        });
        Ok(answer)
    }

    fn shared(&self) -> Option<&(dyn Model + Sync)> {
        Some(self)
    }
}

/// What an answer that cannot be used says of the engine.
fn finding(url: &str, error: &WireError) -> EngineError {
    let kind = match error {
        WireError::Protocol(_) => FailureKind::Protocol,
        WireError::Numerics(_) => FailureKind::Numerics,
        WireError::Failed(_) => FailureKind::Device,
    };
    EngineError::new(kind, format!("{url}: {error}"))
}
