//! What criterion 0.8 leaves of a benchmark in `target/criterion/…/new/`.
//!
//! `benchmark.json` names it (`BenchmarkId` in criterion's `report.rs`), `sample.json` holds what the clock
//! said (`SavedSample` in its `lib.rs`): how many iterations each sample took, and how many nanoseconds all of
//! them together. Estimates are not read; they are made anew from the samples.
//!
//! ```
//! use std::fs::read_to_string;
//!
//! use harness_reports::import::criterion::{benchmark, timing};
//!
//! let folder = "../harness/tests/vectors/benchmarks/criterion/tokens/bare/new";
//! let named = benchmark(&read_to_string(format!("{folder}/benchmark.json"))?)?;
//! let timing = timing(named, &read_to_string(format!("{folder}/sample.json"))?)?;
//! assert_eq!((timing.id.as_str(), timing.wall_ns().len()), ("tokens/bare", 10));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use serde::Deserialize;

/// Shorter than a clock cycle by far: an iteration that was optimized away takes some picoseconds.
const SHORTEST_NS: f64 = 1e-6;
/// Thirty years.
const LONGEST_NS: f64 = 1e18;

/// A benchmark and its samples.
///
/// ```
/// use harness_reports::import::criterion::{benchmark, timing};
///
/// let named = benchmark(r#"{"full_id": "tokens/bare"}"#)?;
/// let timing = timing(named, r#"{"iters": [1.0, 2.0], "times": [300.0, 590.0]}"#)?;
/// assert_eq!(timing.id, "tokens/bare");
/// assert_eq!(timing.elapsed_ns, [300.0, 590.0]);
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    /// Group, function and parameter with slashes between them.
    pub id: String,
    /// What an iteration gets done.
    pub throughput: Vec<Throughput>,
    /// Iterations of each sample; one or more.
    pub iterations: Vec<f64>,
    /// Wall time of each sample, all its iterations together.
    pub elapsed_ns: Vec<f64>,
}

/// An amount of work.
///
/// ```
/// use harness_reports::import::criterion::{Throughput, benchmark};
///
/// let (_, work) = benchmark(r#"{"full_id": "gemm", "throughput": {"Elements": 1000}}"#)?;
/// assert_eq!(work, [Throughput::Elements(1000)]);
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Throughput {
    /// Bytes that an iteration goes through.
    Bytes(u64),
    /// Of whatever the benchmark counts.
    Elements(u64),
}

#[derive(Deserialize)]
struct BenchmarkFile {
    full_id: String,
    throughput: Option<ThroughputField>,
}

#[derive(Deserialize)]
enum ThroughputField {
    Bits(u64),
    Bytes(u64),
    BytesDecimal(u64),
    Elements(u64),
    ElementsAndBytes { elements: u64, bytes: u64 },
}

#[derive(Deserialize)]
struct SampleFile {
    iters: Vec<f64>,
    times: Vec<f64>,
}

/// Reads the name of a benchmark and what an iteration of it gets done.
///
/// # Errors
/// What is wrong with the file.
///
/// ```
/// use harness_reports::import::criterion::benchmark;
///
/// let file = std::fs::read_to_string(
///     "../harness/tests/vectors/benchmarks/criterion/tokens/bare/new/benchmark.json",
/// )?;
/// let (id, _work) = benchmark(&file)?;
/// assert_eq!(id, "tokens/bare");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn benchmark(json: &str) -> Result<(String, Vec<Throughput>), String> {
    let file: BenchmarkFile = serde_json::from_str(json).map_err(|error| error.to_string())?;
    if file.full_id.is_empty() {
        return Err("the benchmark has no name".into());
    }
    let throughput = match file.throughput {
        None => Vec::new(),
        Some(ThroughputField::Bits(bits)) => vec![Throughput::Bytes(bits / 8)],
        Some(ThroughputField::Bytes(bytes) | ThroughputField::BytesDecimal(bytes)) => {
            vec![Throughput::Bytes(bytes)]
        }
        Some(ThroughputField::Elements(elements)) => vec![Throughput::Elements(elements)],
        Some(ThroughputField::ElementsAndBytes { elements, bytes }) => {
            vec![Throughput::Elements(elements), Throughput::Bytes(bytes)]
        }
    };
    Ok((file.full_id, throughput))
}

/// Reads `benchmark.json` and the `sample.json` beside it.
///
/// # Errors
/// What is wrong with the samples.
///
/// ```
/// use harness_reports::import::criterion::timing;
///
/// let named = ("tokens/bare".to_owned(), Vec::new());
/// let refused = timing(named, r#"{"iters": [1.0, 2.0], "times": [300.0]}"#);
/// assert_eq!(refused, Err("2 counts of iterations, but 1 times".into()));
/// ```
pub fn timing((id, throughput): (String, Vec<Throughput>), sample: &str) -> Result<Timing, String> {
    let file: SampleFile = serde_json::from_str(sample).map_err(|error| error.to_string())?;
    let (iterations, times) = (file.iters.len(), file.times.len());
    if iterations != times {
        return Err(format!(
            "{iterations} counts of iterations, but {times} times"
        ));
    }
    if times == 0 {
        return Err("it holds no sample".into());
    }
    if let Some(count) = file.iters.iter().find(|count| **count < 1.0) {
        return Err(format!("a sample of {count} iterations"));
    }
    let timing = Timing {
        id,
        throughput,
        iterations: file.iters,
        elapsed_ns: file.times,
    };
    let absurd = |time: &&f64| !(SHORTEST_NS..=LONGEST_NS).contains(*time);
    match timing.wall_ns().iter().find(absurd) {
        Some(time) => Err(format!("an iteration that took {time} ns")),
        None => Ok(timing),
    }
}

impl Timing {
    /// Nanoseconds that an iteration took, one a sample.
    ///
    /// ```
    /// use harness_reports::import::criterion::timing;
    ///
    /// let named = ("tokens/bare".to_owned(), Vec::new());
    /// let timing = timing(named, r#"{"iters": [1.0, 2.0], "times": [300.0, 590.0]}"#)?;
    /// assert_eq!(timing.wall_ns(), [300.0, 295.0]);
    /// # Ok::<(), String>(())
    /// ```
    pub fn wall_ns(&self) -> Vec<f64> {
        let samples = self.elapsed_ns.iter().zip(&self.iterations);
        samples.map(|(elapsed, count)| elapsed / count).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn named() -> (String, Vec<Throughput>) {
        ("group/function".into(), Vec::new())
    }

    #[test]
    fn work_is_told_in_bytes_and_elements() {
        let of = |throughput| {
            let file = json!({ "full_id": "a", "throughput": throughput });
            benchmark(&file.to_string()).unwrap().1
        };
        assert_eq!(of(json!(null)), []);
        assert_eq!(of(json!({"Bits": 64})), [Throughput::Bytes(8)]);
        assert_eq!(of(json!({"BytesDecimal": 7})), [Throughput::Bytes(7)]);
        assert_eq!(
            of(json!({"ElementsAndBytes": {"elements": 2, "bytes": 9}})),
            [Throughput::Elements(2), Throughput::Bytes(9)]
        );
    }

    #[test]
    fn what_is_no_sample_is_refused() {
        for (sample, word) in [
            (r#"{"iters": [1.0], "times": []}"#, "1 counts"),
            (r#"{"iters": [], "times": []}"#, "no sample"),
            (r#"{"iters": [0.0], "times": [1.0]}"#, "0 iterations"),
            (r#"{"iters": [1.0], "times": [-1.0]}"#, "took -1 ns"),
            (r#"{"iters": [1e300], "times": [1e-300]}"#, "took 0 ns"),
            (
                r#"{"iters": [1.0], "times": [1e999]}"#,
                "number out of range",
            ),
            (r#"{"iters": [1.0]"#, "EOF"),
        ] {
            let error = timing(named(), sample).unwrap_err();
            assert!(error.contains(word), "{sample}: {error}");
        }
        assert!(benchmark(r#"{"full_id": ""}"#).is_err());
    }

    proptest! {
        #[test]
        fn no_text_is_too_much(text in ".*") {
            let _ = benchmark(&text);
            let _ = timing(named(), &text);
        }

        #[test]
        fn times_are_of_one_iteration(
            samples in prop::collection::vec((1u32..1_000_000, 1e-3..1e12f64), 1..50)
        ) {
            let (iters, times): (Vec<f64>, Vec<f64>) = (samples.iter())
                .map(|(count, time)| (f64::from(*count), *time))
                .unzip();
            let text = json!({"sampling_mode": "Linear", "iters": iters, "times": times});
            let timing = timing(named(), &text.to_string()).unwrap();
            for ((each, count), time) in timing.wall_ns().iter().zip(&iters).zip(&times) {
                prop_assert!((each * count - time).abs() <= 1e-15 * time);
            }
        }
    }
}
