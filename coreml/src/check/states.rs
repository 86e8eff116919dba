//! Whether a function sees its own writes.
//!
//! `read_state` takes a state as it is at that point of the program. A converter
//! that holds two reads of one state for the same value, with a write between
//! them, leaves a program that looks sound and loses what was written:
//!
//! ```text
//! a = read_state(cache)        a = read_state(cache)
//! b = slice_update(a, …)       b = slice_update(a, …)
//! write_state(cache, b)        write_state(cache, b)
//! c = read_state(cache)   →                              merged into a
//! d = slice_update(c, …)       d = slice_update(a, …)    without b's rows
//! write_state(cache, d)        write_state(cache, d)     b's rows are lost
//! ```

use std::collections::{HashMap, HashSet};

use super::Severity;
use super::function::Checker;

/// A value that is a state as it was, perhaps with rows of its own.
#[derive(Clone, Copy)]
struct Copy<'a> {
    state: &'a str,
    /// Writes to the state before it was read.
    writes: usize,
    /// Whether nothing was added since.
    pure: bool,
}

impl<'a> Copy<'a> {
    fn new(state: &'a str, writes: usize) -> Self {
        Self {
            state,
            writes,
            pure: true,
        }
    }
}

pub(super) fn check(checker: &mut Checker<'_>) {
    let function = checker.function;
    let states: HashSet<&str> = function
        .states
        .iter()
        .map(|port| port.name.as_str())
        .collect();
    let mut writes: HashMap<&str, Vec<String>> = HashMap::new();
    let mut read: HashSet<&str> = HashSet::new();
    let mut copies: HashMap<&str, Copy<'_>> = HashMap::new();
    let mut stale: HashMap<(&str, String), Vec<String>> = HashMap::new();
    for operation in &function.operations {
        let place = checker.at(operation);
        let state = match operation.kind.as_str() {
            "read_state" | "write_state" => operation.read("input"),
            "coreml_update_state" => operation.read("state"),
            _ => None,
        };
        let state = state.and_then(|name| states.get(name).copied());
        let output = operation.outputs.first().map(|port| port.name.as_str());
        match (operation.kind.as_str(), state) {
            ("read_state", Some(state)) => {
                read.insert(state);
                if let Some(output) = output {
                    let writes = writes.get(state).map_or(0, Vec::len);
                    copies.insert(output, Copy::new(state, writes));
                }
            }
            ("write_state" | "coreml_update_state", Some(state)) => {
                let data = operation.read("data").or_else(|| operation.read("value"));
                let done = writes.entry(state).or_default();
                if let Some(copy) = data.and_then(|data| copies.get(data))
                    && copy.state == state
                    && copy.writes < done.len()
                {
                    let lost = &done[copy.writes];
                    let what = format!(
                        "writes `{state}` back as it was before {lost}, whose update is lost. \
                         (A converter that takes two reads of a state for one does this; use the \
                         value that the update returns instead of reading again)"
                    );
                    checker.add(Severity::Error, place.clone(), what);
                }
                done.push(format!("`{}`", operation.name));
                if let Some(output) = output {
                    copies.insert(output, Copy::new(state, done.len()));
                }
            }
            ("read_state" | "write_state" | "coreml_update_state", None) => {
                checker.add(
                    Severity::Error,
                    place.clone(),
                    "names no state of its function",
                );
            }
            (kind, _) => {
                // Only what continues a state counts as it: the first operand.
                let base = operation.read("x").or_else(|| operation.read("data"));
                let base = base.and_then(|base| copies.get(base)).copied();
                let continues =
                    matches!(kind, "slice_update" | "scatter" | "scatter_nd" | "identity");
                if let (true, Some(base), Some(output)) = (continues, base, output) {
                    copies.insert(
                        output,
                        Copy {
                            pure: false,
                            ..base
                        },
                    );
                    continue;
                }
                for copy in operation.reads().filter_map(|name| copies.get(name)) {
                    let done = writes.get(copy.state).map_or(&[][..], Vec::as_slice);
                    if copy.pure && copy.writes < done.len() {
                        let key = (copy.state, done[copy.writes].clone());
                        stale
                            .entry(key)
                            .or_default()
                            .push(format!("`{}`", operation.name));
                    }
                }
            }
        }
    }
    for ((state, write), readers) in stale {
        let what = format!(
            "state `{state}` is used as it was before {write}, by {} operation(s), the first {}",
            readers.len(),
            readers[0]
        );
        checker.add(Severity::Warning, checker.place.clone(), what);
    }
    for state in states {
        let what = match (read.contains(state), writes.contains_key(state)) {
            (true, true) => continue,
            (true, false) => format!("state `{state}` is never written"),
            (false, true) => format!("state `{state}` is never read"),
            (false, false) => format!("state `{state}` is never used"),
        };
        checker.add(Severity::Warning, checker.place.clone(), what);
    }
}
