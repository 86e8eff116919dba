//! What stands in the spec.

use std::time::Duration;

use engine::{EngineError, EngineOptions, NumberFormat, OptionHelp};

use super::secret::Secret;

pub(super) const HELP: &[OptionHelp] = &[
    OptionHelp {
        key: "url",
        default: "",
        help: "where the server is, e.g. http://127.0.0.1:8080/v1",
    },
    OptionHelp {
        key: "served",
        default: "the first it lists",
        help: "the server's name for its model",
    },
    OptionHelp {
        key: "api",
        default: "completions",
        help: "completions, or chat: prompts go into the server's own chat template, so only \
               times can be compared",
    },
    OptionHelp {
        key: "api_key_env",
        default: "",
        help: "environment variable that holds the API key; the key itself is never recorded",
    },
    OptionHelp {
        key: "timeout_s",
        default: "120",
        help: "most time for a request with all its repetitions, whatever the server sends",
    },
    OptionHelp {
        key: "retries",
        default: "4",
        help: "how often a request is repeated that was refused for lack of room (429), failed \
               on the server's side (5xx) or met no server",
    },
    OptionHelp {
        key: "context",
        default: "the server's",
        help: "longest context in tokens, for servers that do not tell",
    },
    OptionHelp {
        key: "vocab",
        default: "the server's",
        help: "size of the vocabulary, for servers that do not tell",
    },
    OptionHelp {
        key: "weights",
        default: "f32",
        help: "what the served weights lost against the baseline's file: f32 for nothing, or \
               e.g. q4_k; gates follow from it",
    },
    OptionHelp {
        key: "activations",
        default: "the server's usual",
        help: "format that the server rounds activations to; gates follow from it",
    },
    OptionHelp {
        key: "kv",
        default: "the server's usual",
        help: "format of the server's keys and values; gates follow from it",
    },
];

/// Which of the two ways to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Api {
    Completions,
    Chat,
}

/// The spec, read.
#[derive(Clone, Debug)]
pub(super) struct Options {
    /// With the path that the OpenAI routes are under, without a slash at its end.
    pub(super) url: String,
    pub(super) served: Option<String>,
    pub(super) api: Api,
    pub(super) key: Option<Secret>,
    pub(super) timeout: Duration,
    pub(super) retries: u32,
    pub(super) context: Option<usize>,
    pub(super) vocab: Option<usize>,
    pub(super) weights: NumberFormat,
    pub(super) activations: Option<NumberFormat>,
    pub(super) kv: Option<NumberFormat>,
}

impl Options {
    /// # Errors
    /// [`FailureKind::InvalidInput`](engine::FailureKind::InvalidInput), naming what is
    /// wrong.
    pub(super) fn parse(options: &EngineOptions) -> Result<Self, EngineError> {
        let known: Vec<&str> = HELP.iter().map(|option| option.key).collect();
        options.refuse_unknown("openai", &known)?;
        let seconds = options.parse_or("timeout_s", 120.0)?;
        let timeout = Duration::try_from_secs_f64(seconds)
            .ok()
            .filter(|timeout| (0.001..=86_400.0).contains(&timeout.as_secs_f64()))
            .ok_or_else(|| refused("timeout_s", "write a number of seconds from 0.001 to 86400"))?;
        let count = |key| match options.get(key) {
            None => Ok(None),
            Some(_) => match options.parse_or(key, 0usize)? {
                0 => Err(refused(key, "at least 1")),
                count => Ok(Some(count)),
            },
        };
        let format = |key| match options.get(key) {
            None => Ok(None),
            Some(_) => options.parse_or(key, NumberFormat::F32).map(Some),
        };
        Ok(Self {
            url: url(options.get("url").unwrap_or_default())?,
            served: options.get("served").map(String::from),
            api: match options.get("api") {
                None | Some("completions") => Api::Completions,
                Some("chat") => Api::Chat,
                Some(_) => return Err(refused("api", "write completions or chat")),
            },
            key: options
                .get("api_key_env")
                .map(Secret::from_env)
                .transpose()?,
            timeout,
            retries: match options.parse_or("retries", 4)? {
                retries @ 0..=100 => retries,
                _ => return Err(refused("retries", "at most 100")),
            },
            context: count("context")?,
            vocab: count("vocab")?,
            weights: options.parse_or("weights", NumberFormat::F32)?,
            activations: format("activations")?,
            kv: format("kv")?,
        })
    }

    /// Where routes are that are not OpenAI's.
    pub(super) fn root(&self) -> &str {
        self.url.strip_suffix("/v1").unwrap_or(&self.url)
    }
}

fn refused(key: &str, why: &str) -> EngineError {
    EngineError::invalid(format!("engine option `{key}`: {why}"))
}

/// An address without anything that ought to be secret: it is recorded.
fn url(text: &str) -> Result<String, EngineError> {
    let example = "write e.g. url=http://127.0.0.1:8080/v1";
    if text.is_empty() {
        return Err(refused("url", &format!("it is missing; {example}")));
    }
    let rest = ["http://", "https://"]
        .iter()
        .find_map(|scheme| text.strip_prefix(scheme))
        .ok_or_else(|| refused("url", &format!("http:// and https:// only; {example}")))?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') || rest.contains(['?', '#']) {
        return Err(refused(
            "url",
            "it would be recorded with the name, password or query in it; leave them out \
             (an API key goes into an environment variable, see api_key_env)",
        ));
    }
    let plain = |byte: u8| byte.is_ascii_graphic();
    if authority.is_empty() || !text.bytes().all(plain) {
        return Err(refused("url", &format!("it names no host; {example}")));
    }
    Ok(text.trim_end_matches('/').into())
}

#[cfg(test)]
mod tests {
    use engine::EngineSpec;

    use super::*;

    fn parse(spec: &str) -> Result<Options, EngineError> {
        Options::parse(&spec.parse::<EngineSpec>().unwrap().options)
    }

    #[test]
    fn secrets_in_the_address_are_refused_and_not_repeated() {
        for url in [
            "http://me:hunter2@host/v1",
            "http://host/v1?key=hunter2",
            "http://host/v1#hunter2",
            "file:///etc/hunter2",
            "http:///hunter2",
        ] {
            let error = parse(&format!("openai:url={url}")).unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn routes_of_the_servers_own_are_beside_v1() {
        let options = parse("openai:url=https://host:1/x/v1/").unwrap();
        assert_eq!(options.url, "https://host:1/x/v1");
        assert_eq!(options.root(), "https://host:1/x");
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for option in [
            "timeout_s=0",
            "timeout_s=nan",
            "timeout_s=-1",
            "retries=101",
            "retries=-1",
            "context=0",
            "api=telepathy",
            "kv=q99",
            "wieghts=f16",
            "api_key_env=NO_SUCH_KEY_HERE",
        ] {
            let error = parse(&format!("openai:url=http://h/v1,{option}")).unwrap_err();
            let key = option.split('=').next().unwrap();
            assert!(error.to_string().contains(key), "{error}");
        }
    }
}
