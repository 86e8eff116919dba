use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Result<Vec<Item>, Flaw> {
    parse(text.as_bytes(), Normalization::default())
}

const CHOICE: &str = r#"{"id":"a","prompt":"p","choices":["x","y"],"answer":1}"#;

#[test]
fn every_kind_of_item_is_read() {
    let text = [
        CHOICE,
        r#"{"id":"b","category":"Über-1_x","prompt":"p","exact":"x","normalize":["case"]}"#,
        r#"{"id":"c","prompt":"p","contains":["x","y"],"max_tokens":3,"stop":["\n"]}"#,
        r#"{"id":"d","messages":[{"role":"user","content":"hi"}],"regex":"^x"}"#,
    ];
    // Windows' line ends and byte order mark are no reason to refuse a file.
    for text in [
        text.join("\n"),
        text.join("\n") + "\n",
        format!("\u{feff}{}\r\n", text.join("\r\n")),
    ] {
        let items = read(&text).unwrap();
        let ids: Vec<&str> = items.iter().map(|item| item.id.as_str()).collect();
        assert_eq!(ids, ["a", "b", "c", "d"]);
        assert!(
            matches!(&items[0].task, Task::Choose { choices, answer: 1 } if choices.len() == 2)
        );
        assert_eq!(items[1].category.as_deref(), Some("Über-1_x"));
        assert!(matches!(&items[1].task, Task::Write { judge, .. } if judge.accepts("X")));
        let Task::Write {
            max_tokens, stop, ..
        } = &items[2].task
        else {
            panic!("{:?}", items[2])
        };
        assert_eq!(
            (*max_tokens, stop.as_slice()),
            (Some(3), &["\n".to_owned()][..])
        );
        assert!(matches!(&items[3].prompt, Prompt::Chat(turns) if turns[0].role == "user"));
        assert_eq!(items[3].line, 4);
    }
}

#[test]
fn mistakes_are_named_with_their_line() {
    let item = |rest: &str| format!(r#"{{"id":"b","prompt":"p",{rest}}}"#);
    for (line, words) in [
        (
            item(r#""promt":"x""#),
            "unknown field `promt`, expected one of `id`",
        ),
        (
            item(r#""exact":3"#),
            "expected a string or a list of strings",
        ),
        (
            item(r#""choices":["x","y"],"answer":"1""#),
            "invalid type: string \"1\", expected usize (column",
        ),
        (
            item(r#""choices":["x","y"],"answer":-1"#),
            "invalid value: integer `-1`",
        ),
        (
            item(r#""choices":["x","y"],"answer":2"#),
            "`answer` is 2, but 2 choices are numbered 0 to 1",
        ),
        (item(r#""choices":["x","y"]"#), "needs `answer`"),
        (item(r#""choices":["x"],"answer":0"#), "at least two"),
        (item(r#""choices":["x","x"],"answer":0"#), "\"x\" twice"),
        (item(r#""choices":["x",""],"answer":0"#), "empty string"),
        (
            item(r#""choices":["x","y"],"answer":0,"stop":["z"]"#),
            "`stop` is for written answers",
        ),
        (
            item(r#""exact":"x","answer":0"#),
            "`answer` goes with `choices`",
        ),
        (item(r#""exact":"x","contains":"y""#), "give one of"),
        (
            r#"{"id":"b","prompt":"p"}"#.into(),
            "give one of `exact`, `contains`, `regex` and `choices`",
        ),
        (item(r#""exact":[]"#), "list of expected texts is empty"),
        (item(r#""exact":"""#), "nothing is left"),
        (
            item(r#""contains":"...","normalize":["punctuation"]"#),
            "nothing is left",
        ),
        (
            item(r#""exact":"x","normalize":["caps"]"#),
            "unknown variant `caps`, expected one of `case`",
        ),
        (item(r#""regex":"(x""#), "`regex`: unclosed group"),
        (item(r#""regex":"(\\w{1000}){1000}""#), "size limit"),
        (item(r#""regex":"x","normalize":["case"]"#), "(?i)"),
        (item(r#""exact":"x","max_tokens":0"#), "at least 1"),
        (
            item(r#""exact":"x","stop":[""]"#),
            "end every answer at once",
        ),
        (item(r#""exact":"x","category":"a.b""#), "category `a.b`"),
        (
            item(r#""exact":"x","category":"all""#),
            "all items together",
        ),
        (
            item(r#""exact":"x","prompt":"q""#),
            "duplicate field `prompt`",
        ),
        (
            item(r#""exact":"x","messages":[]"#),
            "either `prompt` or `messages`",
        ),
        (
            r#"{"id":"b","messages":[],"exact":"x"}"#.into(),
            "`messages` is empty",
        ),
        (
            r#"{"id":"b","exact":"x"}"#.into(),
            "either `prompt` or `messages`",
        ),
        (
            r#"{"id":"b","prompt":"","exact":"x"}"#.into(),
            "`prompt` is empty",
        ),
        (
            r#"{"id":"","prompt":"p","exact":"x"}"#.into(),
            "`id` is empty",
        ),
        (r#"{"prompt":"p","exact":"x"}"#.into(), "missing field `id`"),
        (CHOICE.into(), "id `a` is already that of line 1"),
        (
            r#"{"id":"b""#.into(),
            "EOF while parsing an object (column 9)",
        ),
        ("[]".into(), "no JSON object"),
        ("7".into(), "no JSON object"),
        (format!("{CHOICE} {CHOICE}"), "trailing characters"),
        (
            item(r#""exact":"x","a\nb\u001b":1"#),
            r"unknown field `a\nb\u{1b}`",
        ),
        ("  ".into(), "blank; delete it"),
        (r#"{"id":"#.to_owned() + &"[".repeat(100_000), "(column"),
    ] {
        let flaw = read(&format!("{CHOICE}\n{line}\n{CHOICE}")).unwrap_err();
        assert_eq!(flaw.line, 2, "{flaw}");
        assert!(flaw.why.contains(words), "{flaw}\nwants {words}");
        assert!(!flaw.why.contains('\n'), "{flaw}");
    }
}

#[test]
fn empty_and_undecodable_files_are_refused() {
    for text in ["", "\u{feff}"] {
        assert!(read(text).unwrap_err().why.contains("the file is empty"));
    }
    let bytes = [CHOICE.as_bytes(), b"\n{\"id\":\"\xff\"}"].concat();
    let flaw = parse(&bytes, Normalization::default()).unwrap_err();
    assert_eq!(flaw.line, 2);
    assert!(
        flaw.why.contains(&format!("byte {}", CHOICE.len() + 8)),
        "{flaw}"
    );
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&bytes, Normalization::default());
    }

    #[test]
    fn texts_come_through_unchanged(prompt in ".+", choices in proptest::collection::hash_set(".+", 2..5), pick in any::<usize>()) {
        let choices: Vec<String> = choices.into_iter().collect();
        let right = pick % choices.len();
        let line = serde_json::json!({"id": "a", "prompt": prompt, "choices": choices, "answer": right});
        let items = read(&line.to_string()).unwrap();
        prop_assert_eq!(&items[0].prompt, &Prompt::Text(prompt));
        let Task::Choose { choices: read, answer } = &items[0].task else {
            return Err(TestCaseError::fail("no choice"));
        };
        prop_assert_eq!((read, *answer), (&choices, right));
    }
}
