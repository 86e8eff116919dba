//! What is told of the program behind the pipes when it has ended.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use crate::process::signal_name;

/// Most of its last words that goes into a message, in characters.
const WORDS: usize = 400;

/// How a program ended, for people.
pub(super) fn manner(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(number), _) => format!("killed by {}", signal_name(number)),
        (None, Some(code)) => format!("ended out of turn, exit code {code}"),
        (None, None) => "ended out of turn".into(),
    }
}

/// The last lines of `text` as one and fit to be printed, from the first whole one that fits.
pub(super) fn on_one_line(text: &str) -> Option<String> {
    let mut lines: Vec<&str> = Vec::new();
    let mut length = 0;
    for line in text
        .lines()
        .rev()
        .map(str::trim)
        .filter(|line| !line.is_empty())
    {
        length += line.chars().count();
        if length > WORDS && !lines.is_empty() {
            break;
        }
        lines.push(line);
    }
    lines.reverse();
    let words = lines.join(" | ");
    let words: String = words
        .chars()
        .take(WORDS)
        .filter(|c| !c.is_control())
        .collect();
    (!words.is_empty()).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_lines_are_put_on_one_within_bounds() {
        let mut words = "a".repeat(1000);
        words.push_str("\nthe\n\n end\u{fffd}\x1b\n");
        assert_eq!(on_one_line(&words).unwrap(), "the | end\u{fffd}");
        assert_eq!(on_one_line(" \n"), None);
        assert_eq!(on_one_line(&"a".repeat(1000)).unwrap().len(), WORDS);
    }
}
