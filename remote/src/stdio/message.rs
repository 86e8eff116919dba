//! What is said on the pipes, one JSON object a line; `docs/src/stdio-protocol.md` is the
//! specification.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::{Capability, FailureKind, ModelConfig, Numerics, Pooling, Stage, TokenId};
use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize};

/// The version spoken here. It rises when a message changes its meaning; new fields that may
/// be left out do not raise it.
pub(super) const VERSION: u32 = 1;

/// A request with the number that its reply must carry.
#[derive(Debug, Serialize)]
pub(super) struct Request<'a> {
    /// Counted from one.
    pub(super) id: u64,
    /// What is asked.
    #[serde(flatten)]
    pub(super) ask: Ask<'a>,
}

/// What an engine is asked.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "op")]
pub(super) enum Ask<'a> {
    Hello {
        protocol: u32,
        harness: &'a str,
    },
    Open {
        model: ModelFile<'a>,
        options: BTreeMap<&'a str, &'a str>,
    },
    Session,
    Extend {
        session: u64,
        tokens: &'a [TokenId],
        want: &'a str,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        taps: bool,
    },
    Truncate {
        session: u64,
        len: usize,
    },
    Kv {
        session: u64,
    },
    Embed {
        texts: &'a [&'a [TokenId]],
        pooling: Pooling,
    },
    Close {
        session: u64,
    },
    /// Has no reply of its own.
    Cancel {
        target: u64,
    },
    Shutdown,
}

/// A model on disk.
#[derive(Debug, Serialize)]
pub(super) struct ModelFile<'a> {
    pub(super) path: Cow<'a, str>,
    pub(super) format: &'a str,
    pub(super) name: &'a str,
    pub(super) sha256: &'a str,
}

/// Anything an engine may answer. Which fields there are depends on the request; fields
/// that nobody knows are passed over.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Reply<'a> {
    /// Absent where the engine could not read the request.
    pub(super) id: Option<u64>,
    pub(super) error: Option<Refusal>,
    /// Time of the engine's own, without reading and writing lines.
    pub(super) compute_ns: Option<u64>,
    pub(super) protocol: Option<u32>,
    pub(super) engine: Option<Identity>,
    #[serde(default)]
    pub(super) capabilities: Vec<Power>,
    #[serde(default)]
    pub(super) options: Vec<OptionName>,
    pub(super) config: Option<ModelConfig>,
    pub(super) numerics: Option<Numerics>,
    pub(super) session: Option<u64>,
    /// Tokens in the context after the request.
    pub(super) len: Option<usize>,
    #[serde(borrow)]
    pub(super) logits: Option<Floats<'a>>,
    pub(super) top: Option<Vec<Top>>,
    pub(super) layers: Option<Vec<Layer>>,
    #[serde(borrow)]
    pub(super) embeddings: Option<Floats<'a>>,
    pub(super) width: Option<usize>,
    #[serde(borrow)]
    pub(super) tap: Option<TapLine<'a>>,
}

/// Why a request was not done.
#[derive(Debug, Deserialize)]
pub(super) struct Refusal {
    /// One of the kinds of [`FailureKind`], or `cancelled`.
    pub(super) kind: String,
    /// For people.
    #[serde(default)]
    pub(super) message: String,
}

impl Refusal {
    /// The kind, if it is one that an engine may report.
    #[must_use]
    pub(super) fn failure_kind(&self) -> Option<FailureKind> {
        let kind = serde_json::Value::from(self.kind.as_str());
        serde_json::from_value(kind).ok()
    }

    /// Whether the request was given up because the harness asked for it.
    #[must_use]
    pub(super) fn is_cancelled(&self) -> bool {
        self.kind == "cancelled"
    }
}

/// What an engine says it is.
#[derive(Debug, Deserialize)]
pub(super) struct Identity {
    pub(super) id: String,
    #[serde(default)]
    pub(super) version: String,
    #[serde(default)]
    pub(super) device: String,
}

/// A capability, or a word that a later version may know.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub(super) enum Power {
    /// One of the seam's.
    Known(Capability),
    /// One of the protocol's.
    Own(OwnPower),
    /// Passed over.
    Unknown(serde::de::IgnoredAny),
}

/// Powers that only this protocol knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum OwnPower {
    /// It reads on while it computes, and gives up a request when told to.
    Cancel,
}

/// An option that an engine takes when it opens a model.
#[derive(Debug, Deserialize)]
pub(super) struct OptionName {
    /// Key in the engine spec.
    pub(super) key: String,
}

/// The likeliest tokens of a row.
#[derive(Debug, Deserialize)]
pub(super) struct Top {
    pub(super) tokens: Vec<TokenId>,
    pub(super) logits: Vec<f32>,
    pub(super) logsumexp: f32,
}

/// KV cache of one layer.
#[derive(Debug, Deserialize)]
pub(super) struct Layer {
    pub(super) reserved_bytes: u64,
    pub(super) used_bytes: u64,
    /// Tokens kept, where older ones are dropped.
    #[serde(default)]
    pub(super) window: Option<usize>,
}

/// An intermediate tensor: a line of its own before the reply.
#[derive(Debug, Deserialize)]
pub(super) struct TapLine<'a> {
    #[serde(flatten)]
    pub(super) stage: Stage,
    pub(super) position: usize,
    pub(super) width: usize,
    #[serde(borrow)]
    pub(super) values: Floats<'a>,
}

/// 32-bit floats, little-endian, in base64.
#[derive(Debug)]
pub(super) struct Floats<'a>(Cow<'a, str>);

impl Floats<'_> {
    /// The numbers.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub(super) fn decode(&self) -> Result<Vec<f32>, String> {
        let bytes = STANDARD.decode(self.0.as_bytes());
        let bytes = bytes.map_err(|error| format!("base64: {error}"))?;
        let (words, rest) = bytes.as_chunks::<4>();
        if !rest.is_empty() {
            return Err(format!("{} bytes are no 32-bit floats", bytes.len()));
        }
        Ok(words.iter().copied().map(f32::from_le_bytes).collect())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Floats<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Borrowed unless something was escaped, as some writers escape `/`. Serde's own
        // `Cow` within an `Option` would always copy.
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Cow<'de, str>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("base64 of 32-bit floats")
            }
            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(text))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Cow::Owned(text.to_owned()))
            }
        }
        deserializer.deserialize_str(Text).map(Self)
    }
}

impl<'a> Reply<'a> {
    /// Reads one line, without its end.
    ///
    /// # Errors
    /// Where it stops being a reply.
    pub(super) fn parse(line: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_what_the_specification_shows() {
        let request = Request {
            id: 4,
            ask: Ask::Extend {
                session: 1,
                tokens: &[1, 2],
                want: "last",
                taps: false,
            },
        };
        assert_eq!(
            serde_json::to_string(&request).unwrap(),
            r#"{"id":4,"op":"extend","session":1,"tokens":[1,2],"want":"last"}"#
        );
        let request = Request {
            id: 9,
            ask: Ask::Shutdown,
        };
        assert_eq!(
            serde_json::to_string(&request).unwrap(),
            r#"{"id":9,"op":"shutdown"}"#
        );
    }

    #[test]
    fn replies_are_read() {
        let reply = Reply::parse(
            br#"{"id":1,"protocol":1,"engine":{"id":"x"},"later":[1,{}],
                "capabilities":["full_logits","cancel","a_later_one",{"b":1}]}"#,
        )
        .unwrap();
        assert_eq!((reply.id, reply.protocol), (Some(1), Some(1)));
        let [full, cancel, later, _] = reply.capabilities[..] else {
            panic!("{reply:?}");
        };
        assert_eq!(full, Power::Known(Capability::FullLogits));
        assert_eq!(cancel, Power::Own(OwnPower::Cancel));
        assert!(matches!(later, Power::Unknown(_)));
        // 1.0 and -2.0, once with an escaped letter.
        for line in [
            r#"{"logits":"AACAPwAAAMA="}"#,
            r#"{"logits":"AACA\u0050wAAAMA="}"#,
        ] {
            let logits = Reply::parse(line.as_bytes()).unwrap().logits.unwrap();
            assert_eq!(logits.decode().unwrap(), [1.0, -2.0]);
        }
        let tap = br#"{"id":1,"tap":{"layer":null,"point":"embedding","position":0,"width":1,"values":"AACAPw=="}}"#;
        let tap = Reply::parse(tap).unwrap().tap.unwrap();
        assert_eq!(tap.stage.to_string(), "embedding");
        assert_eq!(tap.values.decode().unwrap(), [1.0]);
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for line in [
            &b""[..],
            b"[]",
            b"{}x",
            b"{\"id\":-1}",
            b"{\"id\":1,\"len\":\"1\"}",
            b"{\"id\":1,\"logits\":[1.0]}",
            b"{\"id\":1,\"engine\":{\"id\":\"\xff\"}}",
        ] {
            assert!(Reply::parse(line).is_err(), "{}", line.escape_ascii());
        }
        for text in ["AACA", "AACAPw", "A*==", "AACAPw==AACAPw=="] {
            let floats = Floats(text.into());
            assert!(floats.decode().is_err(), "{text}");
        }
        let kind = |kind: &str| Refusal {
            kind: kind.into(),
            message: String::new(),
        };
        assert_eq!(
            kind("out_of_memory").failure_kind(),
            Some(FailureKind::OutOfMemory)
        );
        assert_eq!(kind("bad mood").failure_kind(), None);
        assert!(kind("cancelled").is_cancelled());
    }
}
