//! The command line of an engine.

use std::path::Path;
use std::process::Command;

use engine::EngineError;

/// Reads `text` as a shell would read one simple command: words, quotes and backslashes;
/// no variables, no wildcards.
///
/// # Errors
/// [`engine::FailureKind::InvalidInput`] for a quote that is not closed, and for nothing.
pub(super) fn parse(text: &str) -> Result<Command, EngineError> {
    let split = |text: &str| {
        shlex::split(text)
            .ok_or_else(|| EngineError::invalid(format!("command `{text}`: a quote is not closed")))
    };
    let mut words = split(text)?;
    // Quotes around the whole, which no shell has taken away.
    if let [whole] = &words[..]
        && whole.contains(' ')
        && !Path::new(whole).exists()
    {
        words = split(&whole.clone())?;
    }
    let Some((program, arguments)) = words.split_first() else {
        return Err(EngineError::invalid(
            "no program to start; write e.g. stdio:command=\"python3 engine.py\"",
        ));
    };
    let mut command = Command::new(program);
    command.args(arguments);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let command = parse(text).unwrap();
        std::iter::once(command.get_program())
            .chain(command.get_args())
            .map(|word| word.to_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn quotes_are_a_shells() {
        assert_eq!(words("python3  a.py"), ["python3", "a.py"]);
        assert_eq!(words(r#""python3 a.py""#), ["python3", "a.py"]);
        assert_eq!(
            words(r#"sh -c 'exec "$0" b' "a  b" c\ d """#),
            ["sh", "-c", r#"exec "$0" b"#, "a  b", "c d", ""]
        );
        for text in ["", "  ", "'a", "a \"b"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
