//! What gungraun 0.20 leaves of a benchmark in `target/gungraun/…/summary.json`, if it is run with
//! `--save-summary=json`: `BenchmarkSummary` of `gungraun-runner`'s `summary/model.rs`, schema 7.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

/// The schema that is read.
const SCHEMA: &str = "7";

/// A benchmark and what Valgrind counted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Counts {
    /// Package, benchmark, group, function and case with slashes between them.
    pub id: String,
    /// When it began, as RFC 3339 has it.
    pub started: String,
    /// How long it took, Valgrind included.
    pub duration_ns: u64,
    /// Its figures.
    pub figures: Vec<Figure>,
}

/// One of the figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Figure {
    /// What is counted.
    pub name: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// Whether the program alone decides it; else also where the linker and the system put things.
    pub exact: bool,
    /// How many.
    pub value: f64,
}

/// Callgrind's and Cachegrind's events: as gungraun calls it, as records do, and whether it is exact.
const EVENTS: [(&str, &str, bool); 6] = [
    ("Ir", "instructions", true),
    ("TotalRW", "memory_accesses", true),
    ("L1hits", "l1_hits", false),
    ("LLhits", "ll_hits", false),
    ("RamHits", "ram_hits", false),
    ("EstimatedCycles", "estimated_cycles", false),
];

/// DHAT's figures: as gungraun calls it, as records do, and the unit.
const HEAP: [(&str, &str, &str); 4] = [
    ("TotalBytes", "heap_total_bytes", "B"),
    ("TotalBlocks", "heap_total_blocks", "1"),
    ("AtTGmaxBytes", "heap_peak_bytes", "B"),
    ("AtTGmaxBlocks", "heap_peak_blocks", "1"),
];

#[derive(Deserialize)]
struct Version {
    version: String,
}

#[derive(Deserialize)]
struct Summary {
    duration_ns: u64,
    id: Option<String>,
    module_path: String,
    package_dir: String,
    profiles: Vec<Profile>,
    started_at: String,
}

#[derive(Deserialize)]
struct Profile {
    data: Data,
    tool: String,
}

#[derive(Deserialize)]
struct Data {
    total: Total,
}

#[derive(Deserialize)]
struct Total {
    metrics: BTreeMap<String, Change>,
}

#[derive(Deserialize)]
struct Change {
    values: Values,
}

/// Now, and in the run that it was held against.
#[derive(Deserialize)]
struct Values {
    new: Option<serde_json::Value>,
}

/// Reads `summary.json`. Figures that this version does not know are left out.
///
/// # Errors
/// What is wrong with the file.
pub(crate) fn counts(json: &str) -> Result<Counts, String> {
    let told = |error: serde_json::Error| error.to_string();
    // Before anything else: another layout may have nothing that this one asks for.
    let Version { version } = serde_json::from_str(json).map_err(told)?;
    if version != SCHEMA {
        return Err(format!(
            "its schema is {version}, not {SCHEMA}, which is that of gungraun 0.20"
        ));
    }
    let summary: Summary = serde_json::from_str(json).map_err(told)?;
    let mut figures = Vec::new();
    for profile in &summary.profiles {
        let metrics = &profile.data.total.metrics;
        match profile.tool.as_str() {
            "Callgrind" | "Cachegrind" => {
                for (key, name, exact) in EVENTS {
                    figures.extend(figure(metrics, key, name, "1", exact)?);
                }
            }
            "DHAT" => {
                for (key, name, unit) in HEAP {
                    figures.extend(figure(metrics, key, name, unit, true)?);
                }
            }
            _ => {}
        }
    }
    if figures.is_empty() {
        return Err("it holds no figures of Callgrind, Cachegrind or DHAT".into());
    }
    let package = Path::new(&summary.package_dir).file_name();
    let package = package.map(|name| name.to_string_lossy().into_owned());
    let path = summary.module_path.split("::").map(str::to_owned);
    let parts: Vec<String> = package.into_iter().chain(path).chain(summary.id).collect();
    Ok(Counts {
        id: parts.join("/"),
        started: summary.started_at,
        duration_ns: summary.duration_ns,
        figures,
    })
}

fn figure(
    metrics: &BTreeMap<String, Change>,
    key: &str,
    name: &'static str,
    unit: &'static str,
    exact: bool,
) -> Result<Option<Figure>, String> {
    let Some(change) = metrics.get(key) else {
        return Ok(None);
    };
    let value = change.values.new.as_ref().and_then(|new| new.as_f64());
    let value = value.filter(|value| *value >= 0.0);
    let value = value.ok_or_else(|| format!("{key} has no new count"))?;
    Ok(Some(Figure {
        name,
        unit,
        exact,
        value,
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn summary(tool: &str, metrics: Value) -> String {
        json!({
            "version": "7", "duration_ns": 5, "id": "small", "module_path": "bench::group::function",
            "package_dir": "crates/stats", "started_at": "2026-09-21T14:03:22.1Z",
            "profiles": [{"tool": tool, "data": {"parts": [], "total": {"metrics": metrics}}}],
        })
        .to_string()
    }

    #[test]
    fn figures_have_names_and_units() {
        let metrics = json!({
            "AtTGmaxBytes": {"values": {"new": 64, "old": 32}}, "Unheard": {"values": {"new": 1}},
        });
        let counts = counts(&summary("DHAT", metrics)).unwrap();
        assert_eq!(counts.id, "stats/bench/group/function/small");
        let [peak] = counts.figures[..] else {
            panic!("{:?}", counts.figures)
        };
        assert_eq!(
            (peak.name, peak.unit, peak.value),
            ("heap_peak_bytes", "B", 64.0)
        );
    }

    #[test]
    fn what_counts_nothing_is_refused() {
        for (text, word) in [
            (json!({"version": "6"}).to_string(), "schema is 6"),
            (json!({"version": "7"}).to_string(), "duration_ns"),
            (summary("Memcheck", json!({})), "no figures"),
            (
                summary("Callgrind", json!({"Ir": {"values": {"old": 1}}})),
                "Ir has no new",
            ),
            (
                summary("Callgrind", json!({"Ir": {"values": {"new": -1}}})),
                "Ir has no new",
            ),
        ] {
            let error = counts(&text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_much(text in ".*") {
            let _ = counts(&text);
        }

        #[test]
        fn counts_come_back(count in 0..1u64 << 53) {
            let text = summary("Callgrind", json!({"Ir": {"values": {"new": count}}}));
            prop_assert_eq!(counts(&text).unwrap().figures[0].value, count as f64);
        }
    }
}
