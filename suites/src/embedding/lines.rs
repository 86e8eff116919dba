//! Texts in a file: one a line, or one JSON object a line.

use std::collections::HashMap;

use serde::Deserialize;

/// One text of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Where it stands, from one.
    pub(super) number: usize,
    /// Its name; in a file without names the number.
    pub(super) id: String,
    pub(super) text: String,
}

/// A line that holds no text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadLine {
    /// Where it stands, from one.
    pub(super) number: usize,
    pub(super) why: String,
}

/// How a file holds texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// The line is the text.
    Plain,
    /// `{"id": …, "text": …}`; further keys are passed over.
    Json,
}

#[derive(Deserialize)]
struct Record {
    id: String,
    text: String,
}

/// The texts in `bytes`, which must be UTF-8 without a blank line.
pub(super) fn parse(bytes: &[u8], layout: Layout) -> Result<Vec<Line>, BadLine> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let start = before.iter().rposition(|&byte| byte == b'\n');
        BadLine {
            number: 1 + before.iter().filter(|&&byte| byte == b'\n').count(),
            why: format!(
                "byte {} begins no character; the file must be UTF-8",
                before.len() - start.map_or(0, |at| at + 1) + 1
            ),
        }
    })?;
    // Windows editors begin files with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines: Vec<Line> = Vec::new();
    let mut seen: HashMap<String, usize> = HashMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        let bad = |why: String| BadLine { number, why };
        let (id, text) = match layout {
            _ if line.trim().is_empty() => return Err(bad("it is blank".into())),
            Layout::Plain => (number.to_string(), line.to_owned()),
            Layout::Json => {
                let record: Record =
                    serde_json::from_str(line).map_err(|error| bad(json(&error)))?;
                (record.id, record.text)
            }
        };
        if text.trim().is_empty() {
            return Err(bad("its text is blank".into()));
        }
        if let Some(first) = seen.insert(id.clone(), number) {
            return Err(bad(format!("id `{id}` stands in line {first} too")));
        }
        lines.push(Line { number, id, text });
    }
    Ok(lines)
}

/// What is wrong with a line of JSON, less the parser's own count of lines.
fn json(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let why = text.split(" at line ").next().unwrap_or_default();
    format!(
        "{why}, at column {}; expected {{\"id\": \"…\", \"text\": \"…\"}}",
        error.column()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_layouts_are_read() {
        let plain = parse("\u{feff}one\r\ntwo words\n".as_bytes(), Layout::Plain).unwrap();
        let found: Vec<_> = plain.iter().map(|l| (&*l.id, &*l.text)).collect();
        assert_eq!(found, [("1", "one"), ("2", "two words")]);
        let json = br#"{"id": "a", "text": "one", "more": 1}
{"text": "two", "id": "b"}"#;
        let json = parse(json, Layout::Json).unwrap();
        assert_eq!(
            (json[1].number, &*json[1].id, &*json[1].text),
            (2, "b", "two")
        );
        assert_eq!(parse(b"", Layout::Plain), Ok(vec![]));
    }

    #[test]
    fn bad_lines_are_named() {
        for (bytes, layout, number, why) in [
            (&b"good\nb\xffd"[..], Layout::Plain, 2, "byte 2 begins"),
            (b"good\n \nmore", Layout::Plain, 2, "blank"),
            (
                b"{\"id\": \"a\", \"text\": \" \"}",
                Layout::Json,
                1,
                "blank",
            ),
            (
                b"{\"id\": \"a\", \"text\": \"x\"}\n{\"id\": \"b\"}",
                Layout::Json,
                2,
                "missing field `text`, at column",
            ),
            (b"nonsense", Layout::Json, 1, "at column"),
            (
                b"{\"id\": \"a\", \"text\": \"x\"}\n{\"id\": \"a\", \"text\": \"y\"}",
                Layout::Json,
                2,
                "line 1 too",
            ),
        ] {
            let bad = parse(bytes, layout).unwrap_err();
            assert_eq!(bad.number, number, "{bad:?}");
            assert!(
                bad.why.contains(why) && !bad.why.contains(" at line "),
                "{bad:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_texts_or_a_named_line(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            json in any::<bool>(),
        ) {
            let layout = if json { Layout::Json } else { Layout::Plain };
            let breaks = bytes.iter().filter(|&&byte| byte == b'\n').count();
            match parse(&bytes, layout) {
                Ok(lines) => prop_assert!(lines.iter().all(|line| !line.text.trim().is_empty())),
                Err(bad) => prop_assert!((1..=breaks + 1).contains(&bad.number)),
            }
        }

        #[test]
        fn lines_are_texts_to_the_letter(texts in prop::collection::vec("[^\n\r\u{feff}]*[^ \t\n\r\u{feff}\\s]", 1..9)) {
            let lines = parse(texts.join("\n").as_bytes(), Layout::Plain).unwrap();
            let found: Vec<String> = lines.into_iter().map(|line| line.text).collect();
            prop_assert_eq!(found, texts);
        }
    }
}
