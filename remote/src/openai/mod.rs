//! Engine `openai`: a server with OpenAI's routes.
//!
//! Servers keep their logits. What suites are given instead is told in
//! [`Predictions`](engine::Predictions), by what the server was found to offer; nothing
//! is made up for what it does not.

mod http;
mod model;
mod options;
mod secret;
mod server;
mod sse;
mod wire;

use engine::{
    Availability, Capability, Engine, EngineError, EngineInfo, EngineOptions, Model, ModelArtifact,
};

use http::Client;
use model::Served;
use options::Options;
use server::Server;

/// The engine, id `openai`.
///
/// ```
/// use engine::{Engine, EngineSpec};
/// use harness_remote::OpenAi;
///
/// let spec: EngineSpec = "openai:url=http://127.0.0.1:8080/v1,served=llama-3.2-1b".parse()?;
/// // No server is asked before a model is opened.
/// assert!(OpenAi.validate(&spec.options).is_ok());
///
/// let spec: EngineSpec = "openai:url=http://127.0.0.1:8080/v1,api_key=sk-123".parse()?;
/// let error = OpenAi.validate(&spec.options).map_err(|error| error.to_string());
/// assert!(error.is_err_and(|message| message.contains("no option `api_key`")));
/// # Ok::<(), engine::SpecError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenAi;

impl Engine for OpenAi {
    fn describe(&self) -> EngineInfo {
        EngineInfo {
            id: "openai".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            device: "server".into(),
            about: "a server with OpenAI's routes: llama-server, vLLM, mlx_lm.server, Ollama …"
                .into(),
            availability: Availability::Yes,
            capabilities: vec![Capability::Scores, Capability::Generation],
            options: options::HELP.into(),
        }
    }

    fn validate(&self, options: &EngineOptions) -> Result<(), EngineError> {
        Options::parse(options).map(drop)
    }

    /// Finds out what the server is. It has its model open already; that it is `model` is
    /// taken on trust, and shows in the figures if it is not.
    fn open(
        &self,
        _model: &ModelArtifact,
        options: &EngineOptions,
    ) -> Result<Box<dyn Model>, EngineError> {
        let options = Options::parse(options)?;
        let client = Client::new(&options);
        let server = Server::ask(&client, &options)?;
        Ok(Box::new(Served::new(client, options, server)))
    }
}
