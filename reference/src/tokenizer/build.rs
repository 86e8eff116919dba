//! From metadata to a tokenizer.

use engine::{ChatTemplate, TokenId};
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::utils::SysRegex;

use super::atoms::{Atom, Atoms};
use super::ends;
use super::hash::{self, Rules};
use super::merges::{self, Merges, is_text};
use super::pre::{self, PreTokenizer};
use super::vocabulary::{SCORES, Spelling, TokenType, Vocabulary};
use super::{Cut, GgufTokenizer, TokenizerBuildError};
use crate::gguf::{Metadata, MetadataError};

pub(super) const MODEL: &str = "tokenizer.ggml.model";
pub(super) const PRE: &str = "tokenizer.ggml.pre";
const ADD_SPACE_PREFIX: &str = "tokenizer.ggml.add_space_prefix";
pub(super) const ADD_BOS: &str = "tokenizer.ggml.add_bos_token";
pub(super) const BOS: &str = "tokenizer.ggml.bos_token_id";
pub(super) const EOS: &str = "tokenizer.ggml.eos_token_id";
const EOT: &str = "tokenizer.ggml.eot_token_id";
const EOM: &str = "tokenizer.ggml.eom_token_id";
pub(super) const CHAT_TEMPLATE: &str = "tokenizer.chat_template";

impl GgufTokenizer {
    /// Builds the tokenizer that `metadata` describes.
    ///
    /// # Errors
    /// [`TokenizerBuildError`] for algorithms and pre-tokenizers that are not
    /// known here, and for vocabularies that contradict themselves.
    ///
    /// ```
    /// use engine::Tokenizer;
    /// use harness_reference::gguf::Metadata;
    /// use harness_reference::tokenizer::GgufTokenizer;
    ///
    /// let mut metadata = Metadata::new();
    /// metadata.set("tokenizer.ggml.model", "gpt2");
    /// metadata.set("tokenizer.ggml.tokens", ["h", "i", "hi"].map(String::from).to_vec());
    /// metadata.set("tokenizer.ggml.merges", vec!["h i".to_owned()]);
    /// let tokenizer = GgufTokenizer::from_metadata(&metadata)?;
    /// assert_eq!(tokenizer.encode("hihh")?, [2, 0, 0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_metadata(metadata: &Metadata) -> Result<Self, TokenizerBuildError> {
        let model = metadata.get::<&str>(MODEL)?;
        match model {
            "gpt2" => {
                let name = metadata.find::<&str>(PRE)?.unwrap_or("default");
                Self::with_merges(metadata, model, pre::named(name)?)
            }
            // Its files may name no pre-tokenizer, or another's.
            "gemma4" => Self::with_merges(metadata, model, pre::named(model)?),
            "llama" => Self::with_scores(metadata),
            other => Err(TokenizerBuildError::Model {
                found: other.into(),
                known: "gpt2, llama, gemma4",
            }),
        }
    }

    fn with_merges(
        metadata: &Metadata,
        model: &str,
        pre: &PreTokenizer,
    ) -> Result<Self, TokenizerBuildError> {
        let spelling = if pre.raw_text {
            Spelling::Text
        } else {
            Spelling::ByteLevel
        };
        let vocabulary = Vocabulary::read(metadata, spelling)?;
        let merges = merges::read(metadata, &vocabulary)?;
        let patterns = pre
            .patterns
            .iter()
            .map(|pattern| SysRegex::new(pattern))
            .collect::<Result<_, _>>()
            .map_err(TokenizerBuildError::Refused)?;
        let cut = match pre.raw_text {
            true => Cut::Text(patterns),
            false => Cut::Bytes(patterns),
        };
        let rules = Rules {
            model,
            pre: pre.name(),
            add_space_prefix: false,
            bos: bos(metadata, &vocabulary, pre.add_bos, None)?,
            eos: special_id(metadata, &vocabulary, EOS)?,
        };
        Self::assemble(metadata, vocabulary, merges, cut, pre.ignore_merges, &rules)
    }

    fn with_scores(metadata: &Metadata) -> Result<Self, TokenizerBuildError> {
        let vocabulary = Vocabulary::read(metadata, Spelling::Text)?;
        if vocabulary.scores.is_empty() {
            return Err(MetadataError::Missing(SCORES.into()).into());
        }
        let merges = merges::from_scores(&vocabulary);
        let add_space_prefix = metadata.find(ADD_SPACE_PREFIX)?.unwrap_or(true);
        // Files older than the keys have Llama's ids.
        let default = |id: TokenId| ((id as usize) < vocabulary.len()).then_some(id);
        let rules = Rules {
            model: "llama",
            pre: "",
            add_space_prefix,
            bos: bos(metadata, &vocabulary, true, default(1))?,
            eos: special_id(metadata, &vocabulary, EOS)?.or(default(2)),
        };
        let cut = Cut::Nowhere { add_space_prefix };
        Self::assemble(metadata, vocabulary, merges, cut, false, &rules)
    }

    fn assemble(
        metadata: &Metadata,
        vocabulary: Vocabulary,
        merges: Merges,
        cut: Cut,
        ignore_merges: bool,
        rules: &Rules<'_>,
    ) -> Result<Self, TokenizerBuildError> {
        let sha256 = hash::sha256(rules, &vocabulary, &merges);
        // Without special tokens the merges cannot spell one out of plain text.
        let texts: Vocab = vocabulary
            .of_type(is_text)
            .map(|(text, id)| (text.into(), id))
            .collect();
        let spelled = |id: TokenId| vocabulary.tokens[id as usize].clone();
        let merges = merges
            .into_iter()
            .map(|(left, right)| (spelled(left), spelled(right)))
            .collect();
        let bpe = BPE::builder()
            .vocab_and_merges(texts, merges)
            .byte_fallback(!matches!(cut, Cut::Bytes(_)))
            .ignore_merges(ignore_merges)
            .build()
            .map_err(TokenizerBuildError::Refused)?;
        let phi3 = is_phi3(metadata);
        let mut ends: Vec<TokenId> = rules.eos.into_iter().collect();
        for key in [EOT, EOM] {
            ends.extend(special_id(metadata, &vocabulary, key)?);
        }
        let name = |id: Option<TokenId>| id.map(spelled);
        let chat_template = match metadata.find::<&str>(CHAT_TEMPLATE)? {
            Some(source) => Some(ChatTemplate {
                source: source.into(),
                bos: name(special_id(metadata, &vocabulary, BOS)?.or(rules.bos)),
                eos: name(rules.eos),
            }),
            None => None,
        };
        let atoms = |wanted: fn(TokenType) -> bool| {
            Atoms::new(vocabulary.of_type(wanted).map(|(text, id)| {
                let swallows_space = phi3 && !matches!(text, "<unk>" | "<s>" | "<|endoftext|>");
                (text, Atom { id, swallows_space })
            }))
        };
        Ok(Self {
            bpe,
            cut,
            user_defined: atoms(|ty| ty == TokenType::UserDefined)?,
            special: atoms(|ty| ty == TokenType::UserDefined || !is_text(ty))?,
            ends: ends::of(&vocabulary, ends),
            chat_template,
            vocabulary,
            bos: rules.bos,
            eos: rules.eos,
            sha256,
        })
    }
}

fn special_id(
    metadata: &Metadata,
    vocabulary: &Vocabulary,
    key: &'static str,
) -> Result<Option<TokenId>, TokenizerBuildError> {
    match metadata.find::<TokenId>(key)? {
        Some(id) if id as usize >= vocabulary.len() => Err(TokenizerBuildError::SpecialToken {
            key,
            id,
            tokens: vocabulary.len(),
        }),
        id => Ok(id),
    }
}

/// BOS, if the model wants one.
fn bos(
    metadata: &Metadata,
    vocabulary: &Vocabulary,
    wanted_by_default: bool,
    default: Option<TokenId>,
) -> Result<Option<TokenId>, TokenizerBuildError> {
    let wanted = metadata.find(ADD_BOS)?.unwrap_or(wanted_by_default);
    let id = special_id(metadata, vocabulary, BOS)?.or(default);
    Ok(id.filter(|_| wanted))
}

/// Phi-3's special tokens, but for three, take the white space after them
/// along; GGUF has no key for that, so llama.cpp goes by the name too.
fn is_phi3(metadata: &Metadata) -> bool {
    let name = metadata
        .find::<&str>("general.name")
        .ok()
        .flatten()
        .unwrap_or_default();
    let name = name.to_ascii_lowercase();
    name.contains("phi-3") || name.contains("phi3")
}
