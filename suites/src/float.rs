//! Figures in JSON, which has no NaN and no infinity: those are written as the
//! strings `NaN`, `inf` and `-inf`.

use std::fmt;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use stats::Interval;

pub(crate) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if value.is_finite() {
        serializer.serialize_f64(*value)
    } else {
        serializer.collect_str(value)
    }
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    struct Figure;
    impl Visitor<'_> for Figure {
        type Value = f64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number, `NaN`, `inf` or `-inf`")
        }
        fn visit_f64<E>(self, value: f64) -> Result<f64, E> {
            Ok(value)
        }
        fn visit_u64<E>(self, value: u64) -> Result<f64, E> {
            Ok(value as f64)
        }
        fn visit_i64<E>(self, value: i64) -> Result<f64, E> {
            Ok(value as f64)
        }
        fn visit_str<E: Error>(self, text: &str) -> Result<f64, E> {
            match text {
                "NaN" => Ok(f64::NAN),
                "inf" => Ok(f64::INFINITY),
                "-inf" => Ok(f64::NEG_INFINITY),
                _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
            }
        }
    }
    deserializer.deserialize_any(Figure)
}

/// The same for the ends of an interval.
pub(crate) mod interval {
    use super::{Deserialize, Deserializer, Interval, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Ends {
        #[serde(with = "super")]
        low: f64,
        #[serde(with = "super")]
        high: f64,
        confidence: f64,
    }

    pub(crate) fn serialize<S: Serializer>(
        interval: &Option<Interval>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let ends = interval.map(|interval| Ends {
            low: interval.low,
            high: interval.high,
            confidence: interval.confidence,
        });
        ends.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Interval>, D::Error> {
        let ends = Option::<Ends>::deserialize(deserializer)?;
        Ok(ends.map(|ends| Interval {
            low: ends.low,
            high: ends.high,
            confidence: ends.confidence,
        }))
    }
}
