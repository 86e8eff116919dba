//! Any bytes at all as a file of texts: refused with the number of a line that is
//! there, or texts that are not blank.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../suites/src/embedding/lines.rs"]
mod lines;

use lines::Layout;

fuzz_target!(|bytes: &[u8]| {
    let breaks = bytes.iter().filter(|&&byte| byte == b'\n').count();
    for layout in [Layout::Plain, Layout::Json] {
        match lines::parse(bytes, layout) {
            Ok(lines) => assert!(lines.iter().all(|line| !line.text.trim().is_empty())),
            Err(bad) => assert!((1..=breaks + 1).contains(&bad.number)),
        }
    }
});
