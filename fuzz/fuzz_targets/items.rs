//! Any bytes at all as a file of items: refused with one of its lines, or items
//! whose judges take any answer.

#![no_main]

use items::{Task, parse};
use judge::Normalization;
use libfuzzer_sys::fuzz_target;

#[allow(dead_code, unreachable_pub)]
#[path = "../../suites/src/accuracy/items.rs"]
mod items;
#[allow(dead_code, unreachable_pub)]
#[path = "../../suites/src/accuracy/judge.rs"]
mod judge;

/// What the parser takes from its neighbour, without the templates there.
mod chat {
    #[derive(Clone, Debug, PartialEq, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(crate) struct Message {
        pub(crate) role: String,
        pub(crate) content: String,
    }
}

fuzz_target!(|bytes: &[u8]| {
    let lines = 1 + bytes.iter().filter(|&&byte| byte == b'\n').count();
    match parse(bytes, Normalization::default()) {
        Err(flaw) => assert!((1..=lines).contains(&flaw.line) && !flaw.why.contains('\n')),
        Ok(items) => {
            assert!(!items.is_empty() && items.len() <= lines);
            for item in items {
                if let Task::Write { judge, .. } = item.task {
                    judge.accepts(&judge.essence("Yes, indeed."));
                }
            }
        }
    }
});
