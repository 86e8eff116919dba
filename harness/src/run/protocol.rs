//! What parent and worker tell each other: one JSON object a line. The job goes
//! to the worker's standard input, events come back from its standard output.

use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;

use engine::{ArtifactFormat, ArtifactSource, FailureKind, ModelArtifact};
use reports::Work;
use serde::{Deserialize, Serialize};
use suites::{Measurement, Role, Sample, Settings};

/// It rises when a message changes its meaning. Both sides are the same
/// program, unless it was replaced in between.
pub(crate) const VERSION: u32 = 1;

/// Longest line that is read, which bounds what a worker gone wild can make its
/// parent hold.
const LINE_BYTES: u64 = 4 << 20;

/// One cell to run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) version: u32,
    pub(crate) suite: String,
    pub(crate) settings: Settings,
    /// Spec without the harness's own options.
    pub(crate) engine: String,
    /// Id, version and options, for what a suite keeps.
    pub(crate) engine_name: String,
    pub(crate) model: ModelFile,
    /// The model whose tokenizer reads the text: the baseline's where tokens are
    /// compared, else the engine's own.
    pub(crate) reader: ModelFile,
    pub(crate) role: Role,
    pub(crate) candidates: usize,
    /// `I/N`.
    pub(crate) shard: String,
    pub(crate) scratch: PathBuf,
    pub(crate) artifacts: PathBuf,
    /// What names this engine among the artifacts.
    pub(crate) stem: String,
}

/// A model that has been hashed already.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ModelFile {
    name: String,
    /// `None` for the embedded one.
    path: Option<PathBuf>,
    format: ArtifactFormat,
    sha256: String,
    size_bytes: u64,
}

impl ModelFile {
    pub(crate) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }
}

impl From<&ModelArtifact> for ModelFile {
    fn from(artifact: &ModelArtifact) -> Self {
        Self {
            name: artifact.name.clone(),
            path: match &artifact.source {
                ArtifactSource::Path(path) => Some(path.clone()),
                ArtifactSource::Embedded(_) => None,
            },
            format: artifact.format,
            sha256: artifact.sha256.clone(),
            size_bytes: artifact.size_bytes,
        }
    }
}

impl From<&ModelFile> for ModelArtifact {
    fn from(file: &ModelFile) -> Self {
        Self {
            name: file.name.clone(),
            source: match &file.path {
                Some(path) => ArtifactSource::Path(path.clone()),
                None => ArtifactSource::Embedded(fixtures::MODEL),
            },
            format: file.format,
            sha256: file.sha256.clone(),
            size_bytes: file.size_bytes,
        }
    }
}

/// What a worker tells. The last one is `done`, `failed` or `refused`.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub(crate) enum Event {
    /// It runs.
    Started { version: u32 },
    /// A model is being opened, which may take long and gives no sign.
    Opening,
    /// It is open.
    Opened,
    /// The measuring thread got on since the last one; steps done, in all.
    Progress { done: u64, total: u64 },
    /// Raw samples, in order.
    Samples { samples: Vec<Sample> },
    /// The suite came to its end.
    Done {
        measurements: Vec<Measurement>,
        work: Work,
    },
    /// The engine failed.
    Failed {
        kind: FailureKind,
        message: String,
        work: Work,
    },
    /// The model keeps the logits that the suite needs, which is no failure.
    Skipped { why: String, work: Work },
    /// The input is unusable, which is nobody's failure.
    Refused { message: String },
}

/// Something else than an event.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Violation {
    #[error("a line of more than {LINE_BYTES} bytes")]
    TooLong,
    #[error("the last line was cut off")]
    CutOff,
    #[error("`{line}` is no event: {why}")]
    Malformed { line: String, why: String },
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The messages in a stream, until it ends or one cannot be read.
pub(crate) struct Messages<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
}

impl<R: Read> Messages<R> {
    pub(crate) fn new(stream: R) -> Self {
        Self {
            reader: BufReader::new(stream),
            line: Vec::new(),
        }
    }

    /// The next one; `None` at the end of the stream.
    pub(crate) fn next<T: for<'a> Deserialize<'a>>(&mut self) -> Result<Option<T>, Violation> {
        self.line.clear();
        let mut bounded = (&mut self.reader).take(LINE_BYTES);
        bounded.read_until(b'\n', &mut self.line)?;
        match self.line.strip_suffix(b"\n") {
            Some(line) => {
                serde_json::from_slice(line)
                    .map(Some)
                    .map_err(|error| Violation::Malformed {
                        line: excerpt(line),
                        why: error.to_string(),
                    })
            }
            None if self.line.is_empty() => Ok(None),
            None if self.line.len() as u64 == LINE_BYTES => Err(Violation::TooLong),
            None => Err(Violation::CutOff),
        }
    }
}

/// The beginning of a line, fit to be printed.
fn excerpt(line: &[u8]) -> String {
    const LONGEST: usize = 60;
    line[..line.len().min(LONGEST)].escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(bytes: &[u8]) -> (Vec<Event>, Option<Violation>) {
        let mut messages = Messages::new(bytes);
        let mut events = Vec::new();
        loop {
            match messages.next() {
                Ok(Some(event)) => events.push(event),
                Ok(None) => return (events, None),
                Err(violation) => return (events, Some(violation)),
            }
        }
    }

    fn line(event: &Event) -> Vec<u8> {
        let mut line = serde_json::to_vec(event).unwrap();
        line.push(b'\n');
        line
    }

    fn progress(done: u64) -> Event {
        Event::Progress {
            done,
            total: u64::MAX,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let events = [Event::Started { version: VERSION }, progress(1)];
        let bytes: Vec<u8> = events.iter().flat_map(line).collect();
        let (read, violation) = all(&bytes);
        assert!(violation.is_none());
        assert_eq!(read, events);
        // Cut off anywhere, whole lines are read and the rest is told.
        let first = line(&events[0]).len();
        for end in 0..bytes.len() {
            let (read, violation) = all(&bytes[..end]);
            assert_eq!(read.len(), usize::from(end >= first), "{end}");
            let whole = end == 0 || end == first;
            assert_eq!(violation.is_none(), whole, "{end}: {violation:?}");
        }
    }

    #[test]
    fn a_line_without_end_is_given_up() {
        let endless = io::repeat(b'x').take(1 << 40);
        let violation = Messages::new(endless).next::<Event>().unwrap_err();
        assert!(matches!(violation, Violation::TooLong), "{violation}");
    }

    proptest! {
        #[test]
        fn garbage_is_refused_and_quoted(garbage in proptest::collection::vec(any::<u8>(), 1..200)) {
            let bytes = [&line(&progress(7))[..], &garbage, b"\n"].concat();
            let (events, violation) = all(&bytes);
            prop_assert_eq!(&events[0], &progress(7));
            prop_assert!(violation.is_some());
            prop_assert!(violation.unwrap().to_string().is_ascii());
        }

        #[test]
        fn samples_keep_every_bit(bits in proptest::collection::vec(any::<u64>(), 0..20)) {
            let samples: Vec<Sample> = bits
                .iter()
                .map(|&bits| Sample {
                    case: "a,\"\n".into(),
                    metric: "µ".into(),
                    unit: "1".into(),
                    index: bits,
                    value: f64::from_bits(bits),
                })
                .collect();
            let (events, _) = all(&line(&Event::Samples { samples }));
            let [Event::Samples { samples }] = &events[..] else {
                panic!("{events:?}");
            };
            for (sample, bits) in samples.iter().zip(bits) {
                let value = f64::from_bits(bits);
                prop_assert_eq!(sample.index, bits);
                prop_assert!(sample.value.to_bits() == bits || value.is_nan() && sample.value.is_nan());
            }
        }
    }
}
