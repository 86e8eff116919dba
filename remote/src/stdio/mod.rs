//! Engine `stdio`: another program, in any language, that speaks JSON lines over its standard
//! input and output.
//!
//! The protocol is specified in `docs/src/stdio-protocol.md`; `docs/src/your-engine.md` tells
//! how to write such a program. Nothing that one does or leaves undone can hang the harness
//! or make it hold more than an answer takes: every wait has an end, every line a longest
//! length, and the program is ended with the model.

mod command;
mod connection;
mod ending;
mod message;
mod model;
mod pipes;
#[cfg(test)]
mod specification;

use std::time::Duration;

use engine::{
    Availability, Capability, Engine, EngineError, EngineInfo, EngineOptions, FailureKind, Model,
    ModelArtifact, OptionHelp,
};

pub use connection::share_process_group;
use connection::{Connection, Expected};
use message::{Ask, OwnPower, Power, Reply, VERSION};
use model::RemoteModel;

/// The engine, id `stdio`.
///
/// A program answers each line that it reads by one that it writes. This one knows how to say what
/// it is:
///
/// ```
/// use engine::{Engine, EngineOptions};
/// use harness_remote::Stdio;
///
/// let program = r#"
///     read hello
///     echo '{"id": 1, "protocol": 1, "engine": {"id": "mine", "version": "0.3", "device": "npu"}}'
///     read goodbye
/// "#;
/// let path = std::env::temp_dir().join(format!("mine-{}.sh", std::process::id()));
/// std::fs::write(&path, program)?;
/// let mut options = EngineOptions::default();
/// options.set("command", format!("sh {}", path.display()));
/// let info = Stdio.probe(&options);
/// std::fs::remove_file(&path)?;
///
/// let info = info?;
/// assert_eq!((info.version.as_str(), info.device.as_str()), ("mine 0.3", "npu"));
/// assert!(info.capabilities.is_empty(), "it declared none");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Stdio;

const ID: &str = "stdio";

const COMMAND: &str = "command";
const TIMEOUT: &str = "timeout_s";

/// Below the time after which the harness gives up a silent worker, which would know less of
/// the cause.
const TIMEOUT_S: f64 = 240.0;

/// What a program may take longer to start: libraries come from a cold disk.
const START: Duration = Duration::from_secs(30);

/// A day: no answer takes longer.
const LONGEST_S: f64 = 86_400.0;

const HELP: [OptionHelp; 3] = [
    OptionHelp {
        key: COMMAND,
        default: "",
        help: "the program and its arguments, quoted as for a shell; a comma is written \\,",
    },
    OptionHelp {
        key: TIMEOUT,
        default: "240",
        help: "seconds that an answer may take; starting and opening a model may take longer",
    },
    OptionHelp {
        key: "…",
        default: "",
        help: "any option that the program names in its handshake",
    },
];

impl Engine for Stdio {
    /// The protocol can carry every capability; [`probe`](Engine::probe) tells which of them
    /// a program has.
    fn describe(&self) -> EngineInfo {
        EngineInfo {
            id: ID.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            device: "another program".into(),
            about: "any program that speaks JSON lines by pipes".into(),
            availability: Availability::Yes,
            capabilities: vec![
                Capability::FullLogits,
                Capability::AllLogits,
                Capability::ConcurrentSessions,
                Capability::KvUsage,
                Capability::Taps,
                Capability::Embeddings,
            ],
            options: HELP.into(),
        }
    }

    fn probe(&self, options: &EngineOptions) -> Result<EngineInfo, EngineError> {
        let options = Options::parse(options)?;
        let (_, greeting) = options.greet()?;
        Ok(EngineInfo {
            version: format!("{} {}", greeting.id, greeting.version),
            device: greeting.device,
            capabilities: greeting.capabilities,
            ..self.describe()
        })
    }

    fn validate(&self, options: &EngineOptions) -> Result<(), EngineError> {
        Options::parse(options).map(drop)
    }

    fn open(
        &self,
        model: &ModelArtifact,
        options: &EngineOptions,
    ) -> Result<Box<dyn Model>, EngineError> {
        let options = Options::parse(options)?;
        let (connection, greeting) = options.greet()?;
        let model = RemoteModel::open(connection, greeting, model, &options.theirs)?;
        Ok(Box::new(model))
    }
}

/// Options, split into ours and the program's.
struct Options {
    command: String,
    timeout: Duration,
    theirs: EngineOptions,
}

/// What a program says of itself.
struct Greeting {
    id: String,
    version: String,
    device: String,
    capabilities: Vec<Capability>,
    cancels: bool,
    options: Vec<String>,
}

impl Options {
    fn parse(options: &EngineOptions) -> Result<Self, EngineError> {
        let mut theirs = options.clone();
        let seconds = options.parse_or(TIMEOUT, TIMEOUT_S)?;
        theirs.take(TIMEOUT);
        if !(seconds > 0.0 && seconds <= LONGEST_S) {
            return Err(EngineError::invalid(format!(
                "engine option `{TIMEOUT}={seconds}`: more than 0 and at most {LONGEST_S}"
            )));
        }
        let command = theirs.take(COMMAND).unwrap_or_default();
        command::parse(&command)?;
        Ok(Self {
            command,
            timeout: Duration::from_secs_f64(seconds),
            theirs,
        })
    }

    /// Starts the program and hears what it is.
    fn greet(&self) -> Result<(Connection, Greeting), EngineError> {
        let command = command::parse(&self.command)?;
        let mut connection = Connection::start(command, self.timeout + START)?;
        let hello = Ask::Hello {
            protocol: VERSION,
            harness: env!("CARGO_PKG_VERSION"),
        };
        let greeting = connection.ask(hello, Expected::SHORT, Greeting::read)?;
        connection.timeout = self.timeout;
        connection.cancels = greeting.cancels;
        let known: Vec<&str> = greeting.options.iter().map(String::as_str).collect();
        self.theirs.refuse_unknown(&greeting.id, &known)?;
        Ok((connection, greeting))
    }
}

impl Greeting {
    fn read(reply: Reply<'_>) -> Result<Self, String> {
        match reply.protocol {
            Some(VERSION) => {}
            Some(version) => {
                return Err(format!(
                    "it speaks protocol {version}, this harness {VERSION}"
                ));
            }
            None => return Err("its hello names no protocol".into()),
        }
        let identity = reply.engine.ok_or("its hello names no engine")?;
        let known = reply.capabilities.iter().filter_map(|power| match power {
            Power::Known(capability) => Some(*capability),
            Power::Own(_) | Power::Unknown(_) => None,
        });
        Ok(Self {
            id: identity.id,
            version: identity.version,
            device: identity.device,
            capabilities: known.collect(),
            cancels: reply.capabilities.contains(&Power::Own(OwnPower::Cancel)),
            options: reply.options.into_iter().map(|option| option.key).collect(),
        })
    }

    fn can(&self, capability: Capability) -> bool {
        self.capabilities.contains(&capability)
    }
}

/// What an answer lacks that the protocol asks for.
fn missing(field: &str) -> String {
    format!("its reply has no {field}")
}

/// An engine's failure to keep the protocol.
fn protocol(why: impl Into<String>) -> EngineError {
    EngineError::new(FailureKind::Protocol, why)
}
