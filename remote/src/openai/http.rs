//! Requests that end in time, whatever the server does.

use std::cell::Cell;
use std::io::{self, Read};
use std::thread;
use std::time::{Duration, Instant};

use engine::{EngineError, FailureKind, Transport};
use ureq::http::Response;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{
    ConnectionDetails, Connector, DefaultConnector, Transport as Connection,
};
use ureq::{Agent, Body};

use super::options::Options;
use super::secret::Secret;
use super::sse::Events;

/// Longest body that is read at once, and longest stream.
const MOST_BODY: u64 = 64 << 20;
const MOST_STREAM: u64 = 256 << 20;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// First and longest wait before a request is repeated, where the server names none.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Characters of an error's body that are shown.
const EXCERPT: usize = 300;

/// Asks one server.
#[derive(Debug)]
pub(super) struct Client {
    agent: Agent,
    key: Option<Secret>,
    timeout: Duration,
    retries: u32,
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct Reply {
    /// What the server calls itself.
    pub(super) server: String,
    pub(super) body: Vec<u8>,
}

/// An attempt that came to nothing.
struct Failed {
    error: EngineError,
    /// Whether another may come to something, and how long the server wants to be left
    /// alone.
    again: Option<Option<Duration>>,
}

impl Failed {
    fn for_good(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            error: EngineError::new(kind, message),
            again: None,
        }
    }
}

/// What comes of an event of a stream.
pub(super) type Heard = Result<(), EngineError>;

impl Client {
    pub(super) fn new(options: &Options) -> Self {
        let mut tls = TlsConfig::builder();
        if options.url.starts_with("https:") {
            // The system's, which may know a company's own; else Mozilla's.
            let found = rustls_native_certs::load_native_certs().certs;
            let certs: Vec<Certificate<'static>> = found
                .iter()
                .map(|cert| Certificate::from_der(cert).to_owned())
                .collect();
            if !certs.is_empty() {
                tls = tls.root_certs(RootCerts::new_with_certs(&certs));
            }
        }
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // A redirect may lead anywhere; nobody asked for what is there.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .save_redirect_history(false)
            // A proxy would be measured with the server.
            .proxy(None)
            .user_agent("harness")
            .tls_config(tls.build())
            .build();
        Self {
            agent: Agent::with_parts(config, Timed::default(), DefaultResolver::default()),
            key: options.key.clone(),
            timeout: options.timeout,
            retries: options.retries,
        }
    }

    /// Fetches `url`.
    pub(super) fn get(&self, url: &str) -> Result<Reply, EngineError> {
        self.persist(url, |left| self.whole(url, None, left))
    }

    /// Sends `body` to `url`.
    pub(super) fn post(&self, url: &str, body: &[u8]) -> Result<Reply, EngineError> {
        self.persist(url, |left| self.whole(url, Some(body), left))
    }

    /// Sends `body` to `url` and tells `each` the data of every event of the answer as it
    /// comes. It is repeated only while none has come.
    pub(super) fn stream(
        &self,
        url: &str,
        body: &[u8],
        each: &mut dyn FnMut(&str) -> Heard,
    ) -> Result<Transport, EngineError> {
        self.persist(url, |left| self.events(url, body, left, each))
    }

    fn whole(&self, url: &str, body: Option<&[u8]>, left: Duration) -> Result<Reply, Failed> {
        let mut response = self.send(url, body, left)?;
        let server = header(&response, "server").unwrap_or_default().to_owned();
        let mut body = Vec::new();
        let reader = response.body_mut().with_config().limit(u64::MAX).reader();
        reader
            .take(MOST_BODY + 1)
            .read_to_end(&mut body)
            .map_err(lost)?;
        if body.len() as u64 > MOST_BODY {
            return Err(Failed::for_good(
                FailureKind::OutOfMemory,
                format!("an answer of more than {MOST_BODY} bytes"),
            ));
        }
        self.redact(&mut body);
        Ok(Reply { server, body })
    }

    fn events(
        &self,
        url: &str,
        body: &[u8],
        left: Duration,
        each: &mut dyn FnMut(&str) -> Heard,
    ) -> Result<Transport, Failed> {
        CONNECT_NS.set(0);
        let begun = Instant::now();
        let since = |connect_ns: u64| nanoseconds(begun).saturating_sub(connect_ns);
        let mut response = self.send(url, Some(body), left)?;
        let connect_ns = CONNECT_NS.get();
        let mut transport = Transport {
            connect_ns,
            first_byte_ns: since(connect_ns),
            sent_bytes: body.len() as u64,
            ..Transport::default()
        };
        let mut reader = response.body_mut().with_config().limit(u64::MAX).reader();
        let (mut events, mut heard) = (Events::default(), Ok(()));
        let mut buffer = vec![0; 1 << 16];
        let mut told = false;
        loop {
            let read = match reader.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let failed = lost(error);
                    let again = failed.again.filter(|_| !told);
                    return Err(Failed { again, ..failed });
                }
                Ok(0) => break,
                Ok(read) => read,
            };
            transport.received_bytes += read as u64;
            if transport.received_bytes > MOST_STREAM {
                return Err(Failed::for_good(
                    FailureKind::OutOfMemory,
                    format!("a stream of more than {MOST_STREAM} bytes"),
                ));
            }
            let taken = events.push(&buffer[..read], &mut |event| {
                told = true;
                if heard.is_ok() {
                    heard = match &self.key {
                        None => each(event),
                        Some(key) => {
                            let mut bytes = event.as_bytes().to_vec();
                            key.redact(&mut bytes);
                            each(&String::from_utf8_lossy(&bytes))
                        }
                    };
                }
            });
            taken.map_err(|error| Failed::for_good(FailureKind::Protocol, error.to_string()))?;
            std::mem::replace(&mut heard, Ok(())).map_err(|error| Failed { error, again: None })?;
        }
        transport.whole_ns = since(connect_ns);
        Ok(transport)
    }

    /// One request, to the end of the response's headers.
    fn send(
        &self,
        url: &str,
        body: Option<&[u8]>,
        left: Duration,
    ) -> Result<Response<Body>, Failed> {
        let key = self.key.as_ref().map(Secret::bearer);
        let connect = Some(CONNECT.min(left));
        let sent = match body {
            None => {
                let request = self.agent.get(url).config();
                let request = request.timeout_global(Some(left)).timeout_connect(connect);
                let mut request = request.build();
                if let Some(key) = &key {
                    request = request.header("Authorization", key);
                }
                request.call()
            }
            Some(body) => {
                let request = self.agent.post(url).config();
                let request = request.timeout_global(Some(left)).timeout_connect(connect);
                let mut request = request.build();
                if let Some(key) = &key {
                    request = request.header("Authorization", key);
                }
                request.content_type("application/json").send(body)
            }
        };
        let response = sent.map_err(unsent)?;
        match response.status().as_u16() {
            200..=299 => Ok(response),
            _ => Err(self.refusal(response)),
        }
    }

    /// What a status other than success means.
    fn refusal(&self, mut response: Response<Body>) -> Failed {
        let status = response.status();
        let wait = header(&response, "retry-after").and_then(|text| text.parse().ok());
        let wait = wait.map(Duration::from_secs);
        let mut body = Vec::new();
        let reader = response.body_mut().with_config().limit(u64::MAX).reader();
        // Whatever can be had of it.
        let _ = reader.take(1 << 16).read_to_end(&mut body);
        self.redact(&mut body);
        let (kind, again) = match status.as_u16() {
            300..=399 => (FailureKind::Protocol, None),
            404 | 405 | 501 => (FailureKind::Unsupported, None),
            // It never found the time.
            429 => (FailureKind::Timeout, Some(wait)),
            400..=499 => (FailureKind::InvalidInput, None),
            500..=599 => (FailureKind::Device, Some(wait)),
            _ => (FailureKind::Protocol, None),
        };
        let mut message = format!("the server answered {status}");
        if status.is_redirection() {
            message += ", and redirects are not followed: name the address that it is at";
        } else if !body.is_empty() {
            message += &format!(": {}", excerpt(&body));
        }
        Failed {
            error: EngineError::new(kind, message),
            again,
        }
    }

    fn redact(&self, body: &mut [u8]) {
        if let Some(key) = &self.key {
            key.redact(body);
        }
    }

    /// Makes attempts until one succeeds, none can, or time is up. Each is given the time
    /// that is left.
    fn persist<T>(
        &self,
        url: &str,
        mut attempt: impl FnMut(Duration) -> Result<T, Failed>,
    ) -> Result<T, EngineError> {
        let begun = Instant::now();
        let mut attempts = 0u32;
        loop {
            let left = self.timeout.saturating_sub(begun.elapsed());
            let failed = match attempt(left) {
                Ok(result) => return Ok(result),
                Err(failed) => failed,
            };
            attempts += 1;
            let backoff = LONGEST_WAIT.min(FIRST_WAIT * 2u32.saturating_pow(attempts - 1).min(64));
            let wait = failed.again.map(|asked| asked.unwrap_or(backoff));
            let left = self.timeout.saturating_sub(begun.elapsed());
            match wait.filter(|&wait| attempts <= self.retries && wait < left) {
                Some(wait) => thread::sleep(wait),
                None => {
                    let how_often = match attempts {
                        1 => String::new(),
                        n => format!(" ({n} attempts in {:.1} s)", begun.elapsed().as_secs_f64()),
                    };
                    let message = format!("{url}: {}{how_often}", failed.error);
                    return Err(EngineError::new(failed.error.kind(), message));
                }
            }
        }
    }
}

fn header<'a>(response: &'a Response<Body>, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

/// The failure of a request that had no response.
fn unsent(error: ureq::Error) -> Failed {
    let again = |kind, message: String| Failed {
        error: EngineError::new(kind, message),
        again: Some(None),
    };
    match error {
        ureq::Error::Timeout(what) => Failed::for_good(
            FailureKind::Timeout,
            format!("no answer within timeout_s ({what:?})"),
        ),
        ureq::Error::Io(error) => again(FailureKind::Crash, format!("no answer: {error}")),
        ureq::Error::HostNotFound => {
            Failed::for_good(FailureKind::InvalidInput, "there is no such host")
        }
        ureq::Error::ConnectionFailed => again(FailureKind::Crash, "no connection".into()),
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) | ureq::Error::Pem(_) => {
            Failed::for_good(FailureKind::Protocol, format!("no TLS: {error}"))
        }
        ureq::Error::BadUri(why) => Failed::for_good(FailureKind::InvalidInput, why),
        other => Failed::for_good(FailureKind::Protocol, format!("no HTTP: {other}")),
    }
}

/// The failure of a response that broke off.
fn lost(error: io::Error) -> Failed {
    match ureq::Error::from(error) {
        ureq::Error::Timeout(what) => Failed::for_good(
            FailureKind::Timeout,
            format!("the answer was not whole within timeout_s ({what:?})"),
        ),
        ureq::Error::Io(error) => Failed {
            error: EngineError::new(
                FailureKind::Crash,
                format!("the connection ended before the answer did: {error}"),
            ),
            again: Some(None),
        },
        other => Failed::for_good(FailureKind::Protocol, format!("no HTTP: {other}")),
    }
}

/// The beginning of a text that somebody else wrote, on one line.
pub(super) fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(EXCERPT)
        .collect();
    if line.len() < text.len() {
        line.push('…');
    }
    line
}

fn nanoseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

thread_local! {
    /// How long this thread's last connection took to set up.
    static CONNECT_NS: Cell<u64> = const { Cell::new(0) };
}

/// Connects, and takes the time. A request connects on the thread that makes it.
#[derive(Debug, Default)]
struct Timed(DefaultConnector);

impl Connector for Timed {
    type Out = Box<dyn Connection>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<()>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let begun = Instant::now();
        let connected = self.0.connect(details, chained);
        CONNECT_NS.set(nanoseconds(begun));
        connected
    }
}
