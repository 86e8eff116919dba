use harness_engine::{TokenId, Tokenizer, TokenizerError, sha256_hex};

/// The notes from A to G, a token each, and a bar line that ends a text.
pub(crate) struct Notes {
    sha256: String,
}

const NAMES: &[u8; 8] = b"ABCDEFG|";
const BAR: TokenId = 7;

impl Notes {
    pub(crate) fn new() -> Self {
        Self {
            sha256: sha256_hex(NAMES),
        }
    }
}

fn ids(text: &str, known: &[u8]) -> Result<Vec<TokenId>, TokenizerError> {
    let id = |note| known.iter().position(|&name| char::from(name) == note);
    text.chars()
        .map(|note| match id(note) {
            Some(id) => Ok(id as TokenId),
            None => Err(TokenizerError(format!("{note} is no note from A to G"))),
        })
        .collect()
}

impl Tokenizer for Notes {
    fn encode(&self, text: &str) -> Result<Vec<TokenId>, TokenizerError> {
        ids(text, &NAMES[..BAR as usize])
    }

    fn encode_with_special(&self, text: &str) -> Result<Vec<TokenId>, TokenizerError> {
        ids(text, NAMES)
    }

    fn decode(&self, ids: &[TokenId]) -> Result<String, TokenizerError> {
        let parts: Result<Vec<_>, _> = ids.iter().map(|&id| self.token_bytes(id)).collect();
        Ok(String::from_utf8_lossy(&parts?.concat()).into())
    }

    fn token_bytes(&self, id: TokenId) -> Result<&[u8], TokenizerError> {
        let name = NAMES.get(id as usize).map(std::slice::from_ref);
        name.ok_or_else(|| TokenizerError(format!("token id {id} is outside the vocabulary of 8")))
    }

    fn bos(&self) -> Option<TokenId> {
        None
    }

    fn eos(&self) -> Option<TokenId> {
        Some(BAR)
    }

    fn sha256(&self) -> &str {
        &self.sha256
    }
}
