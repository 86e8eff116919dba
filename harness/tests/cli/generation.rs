//! Text of the reference engine against what transformers generates from the same weights.
//!
//! `scripts/oracles/generation.py` wrote the vectors.

use std::path::Path;

use engine::{Engine, EngineOptions, ModelArtifact, TokenId, Tokenizer, TokenizerError};
use reference::Reference;
use serde::Deserialize;
use suites::generation::{Request, Sampling, Stop, generate};

#[derive(Deserialize)]
struct Vectors {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    model: String,
    prompt: Vec<TokenId>,
    sampling: Sampling,
    tokens: Vec<TokenId>,
}

/// The tiny models come without one.
struct Nothing;

impl Tokenizer for Nothing {
    fn encode(&self, _: &str) -> Result<Vec<TokenId>, TokenizerError> {
        Ok(Vec::new())
    }
    fn decode(&self, _: &[TokenId]) -> Result<String, TokenizerError> {
        Ok(String::new())
    }
    fn token_bytes(&self, _: TokenId) -> Result<&[u8], TokenizerError> {
        Ok(b"")
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

#[test]
fn tokens_are_those_of_transformers() {
    let vectors: Vectors =
        serde_json::from_str(include_str!("../vectors/generation.json")).unwrap();
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../reference/tests/vectors/models");
    for case in vectors.cases {
        let path = models.join(&case.model).join("model.gguf");
        let artifact = ModelArtifact::from_path(&path).unwrap();
        let model = Reference
            .open(&artifact, &EngineOptions::default())
            .unwrap();
        let request = Request {
            prompt: &case.prompt,
            sampling: &case.sampling,
            stop: &Stop::default(),
            max_tokens: case.tokens.len(),
            top: 0,
        };
        let mut session = model.session().unwrap();
        let config = model.config();
        let generated = generate(&mut *session, config, &Nothing, &request, &mut |_| {}).unwrap();
        let tokens: Vec<TokenId> = generated.steps.iter().map(|step| step.token).collect();
        assert_eq!(tokens, case.tokens, "{} {}", case.model, case.sampling);
    }
}
