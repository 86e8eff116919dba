//! What a cell may take.

use std::time::Duration;

use jiff::SignedDuration;
use machine::Machine;

/// What a cell may take before its worker is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Wall-clock time, all in all.
    pub(crate) budget: Duration,
    /// Time without any progress of the measuring thread.
    pub(crate) stall: Duration,
    /// Memory, in bytes; pages that the kernel can drop at will do not count.
    pub(crate) memory: u64,
}

/// Hung engines are found by [`STALL`]; this one is for those that crawl.
const BUDGET: Duration = Duration::from_secs(6 * 3600);

/// The longest a suite is silent is one call of an engine: a window of a few
/// thousand tokens through a large model on a slow processor.
const STALL: Duration = Duration::from_secs(300);

/// Opening a model is one call too, and reads all of it. No disk and no
/// requantization on load is slower than this.
const SLOWEST_OPENING_BYTES_PER_S: u64 = 10_000_000;

impl Limits {
    /// The limits given, or else the defaults: hours, minutes, and nine tenths of
    /// this machine's memory, beyond which everything on it suffers.
    pub(crate) fn new(
        budget: Option<Duration>,
        stall: Option<Duration>,
        memory: Option<u64>,
    ) -> Self {
        let most = || Machine::detect().memory_bytes.map(|bytes| bytes / 10 * 9);
        Self {
            budget: budget.unwrap_or(BUDGET),
            stall: stall.unwrap_or(STALL),
            memory: memory.or_else(most).unwrap_or(u64::MAX),
        }
    }

    /// How long a worker may be silent.
    pub(crate) fn silence(&self, opening: bool, model_bytes: u64) -> Duration {
        match opening {
            false => self.stall,
            true => self.stall + Duration::from_secs(model_bytes / SLOWEST_OPENING_BYTES_PER_S),
        }
    }
}

/// Reads `90s`, `10m`, `1h 30m`; a bare number is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no duration; write e.g. 90s, 10m or 2h");
    let duration = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).map_err(|_| wrong())?,
        Err(_) => {
            let signed: SignedDuration = text.parse().map_err(|_| wrong())?;
            Duration::try_from(signed).map_err(|_| wrong())?
        }
    };
    match duration.is_zero() {
        false => Ok(duration),
        true => Err("a cell needs some time".into()),
    }
}

/// Reads `2GiB`, `512 MB`; a bare number is bytes.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no amount of memory; write e.g. 512MiB or 2GiB");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: f64 = digits.trim().parse().map_err(|_| wrong())?;
    let unit = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "kib" => 1024.0,
        "mib" => 1024.0 * 1024.0,
        "gib" => 1024.0 * 1024.0 * 1024.0,
        _ => return Err(wrong()),
    };
    let bytes = number * unit;
    match bytes >= 1.0 && bytes < u64::MAX as f64 {
        true => Ok(bytes as u64),
        false => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, seconds) in [
            ("90", 90.0),
            ("0.5", 0.5),
            ("90s", 90.0),
            ("1h 30m", 5400.0),
        ] {
            assert_eq!(duration(text).unwrap().as_secs_f64(), seconds, "{text}");
        }
        for text in [
            "",
            "-1",
            "0",
            "0s",
            "NaN",
            "inf",
            "1e300",
            "ten",
            "-5m",
            "5 parsecs",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn amounts_are_read() {
        for (text, expected) in [
            ("1", 1),
            ("2GiB", 2 << 30),
            ("1.5 kib", 1536),
            ("512 MB", 512_000_000),
        ] {
            assert_eq!(bytes(text).unwrap(), expected, "{text}");
        }
        for text in [
            "", "GiB", "-1", "0", "NaN", "inf", "1e300", "1 TiBi", "1 parsec",
        ] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_large_model_may_take_longer_to_open() {
        let limits = Limits::new(None, Some(Duration::from_secs(10)), Some(1));
        assert_eq!(limits.silence(false, 4_000_000_000).as_secs(), 10);
        assert_eq!(limits.silence(true, 4_000_000_000).as_secs(), 410);
    }
}
