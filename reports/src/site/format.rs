//! Figures, names and links as pages have them.

use serde::Serialize;

use crate::plot::{Drawing, Plot};
use crate::render::grid::figure;
use crate::{Better, Metric};

/// A cell of a table with a number in it.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Value {
    pub(super) text: String,
    /// What to sort by.
    pub(super) sort: Option<f64>,
    /// Verdict.
    pub(super) class: &'static str,
}

impl Value {
    /// A figure over `divisor`.
    pub(super) fn of(metric: Option<&Metric>, divisor: f64) -> Self {
        metric.map_or(Self::default(), |metric| Self {
            text: figure(metric, divisor),
            sort: metric.value,
            class: metric.verdict.name(),
        })
    }

    pub(super) fn number(value: Option<f64>) -> Self {
        Self {
            text: value.map_or("–".into(), crate::render::number),
            sort: value,
            class: "",
        }
    }
}

/// A plot as a page has it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Figure {
    pub(super) title: String,
    pub(super) note: String,
    svg: String,
    hover: String,
}

impl Figure {
    pub(super) fn of(plot: &Plot, note: String) -> Self {
        let Drawing { svg, hover } = plot.draw();
        Self {
            title: plot.title.clone(),
            note,
            svg,
            hover,
        }
    }
}

/// A unit as pages show it: none where records have 1.
pub(super) fn unit(unit: &str) -> &str {
    if unit == "1" { "" } else { unit }
}

pub(super) fn interval(interval: Option<(f64, f64)>) -> String {
    let number = crate::render::number;
    interval.map_or(String::new(), |(low, high)| {
        format!("[{}, {}]", number(low), number(high))
    })
}

pub(super) fn better(better: Better) -> &'static str {
    match better {
        Better::Lower => "lower",
        Better::Higher => "higher",
        Better::Equal => "unchanged",
    }
}

pub(super) fn with_unit(value: f64, of: &str) -> String {
    let value = crate::render::number(value);
    match unit(of) {
        "" => value,
        unit => format!("{value} {unit}"),
    }
}

/// `1 run`, `2 runs`.
pub(super) fn count(n: usize, one: &str) -> String {
    format!("{n} {one}{}", if n == 1 { "" } else { "s" })
}

/// Enough of a fingerprint to tell machines apart.
pub(super) fn short_machine(fingerprint: &str) -> String {
    fingerprint.chars().take(8).collect()
}

/// The page of a metric, from the site's root.
pub(super) fn metric_link(metric: &str) -> String {
    format!("metric/{}.html", slug(metric))
}

/// A file name for `name`: itself where that is safe on every file system, else with a hash of it.
pub(super) fn slug(name: &str) -> String {
    let safe = |letter: char| matches!(letter, 'a'..='z' | '0'..='9' | '_' | '-' | '.');
    let plain: String = name
        .chars()
        .map(|letter| if safe(letter) { letter } else { '-' })
        .take(100)
        .collect();
    if plain == name && !name.starts_with('.') {
        return plain;
    }
    // FNV-1a, 64 bits.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{}-{hash:016x}", plain.trim_start_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_are_safe_and_different() {
        assert_eq!(slug("kv.growth.used_bytes"), "kv.growth.used_bytes");
        let names = ["a/b", "a b", "A b", "../a", "ä", "", "a:b", "<script>"];
        let slugs: std::collections::HashSet<String> =
            names.iter().map(|name| slug(name)).collect();
        assert_eq!(slugs.len(), names.len());
        assert!(
            slugs
                .iter()
                .all(|slug| !slug.contains('/') && !slug.starts_with('.'))
        );
        assert!(slug(&"x".repeat(500)).len() < 130);
    }
}
