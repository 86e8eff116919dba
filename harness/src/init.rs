//! `harness init`: a first `harness.toml`, and a workflow for GitHub Actions.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail};
use clap::CommandFactory;
use toml::Value;

use crate::args::{Arguments, InitArguments};
use crate::config;
use crate::exit::Exit;

const WORKFLOW: &str = include_str!("init/harness.yml");

/// What the workflow is called where it stands for this project.
const ACTION: &str = "OWNER/harness@v0.1.0";

/// Widest line of a comment.
const COLUMNS: usize = 100;

pub(crate) fn init(arguments: &InitArguments) -> Result<Exit> {
    let folder = &arguments.folder;
    let workflow = match &arguments.action {
        Some(action) => WORKFLOW.replace(ACTION, action),
        None => WORKFLOW.into(),
    };
    let files = [
        (folder.join(config::DEFAULT_FILE), configuration()),
        (folder.join(".github/workflows/harness.yml"), workflow),
    ];
    // Before anything is written.
    if !arguments.force
        && let Some((path, _)) = files.iter().find(|(path, _)| path.exists())
    {
        bail!(
            "{} exists; replace it with --force, or choose another folder",
            path.display()
        );
    }
    for (path, text) in &files {
        write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
        anstream::println!("wrote {}", path.display());
    }
    if arguments.action.is_none() {
        anstream::println!(
            "in the workflow, put the repository that holds harness in the place of OWNER/harness"
        );
    }
    anstream::println!("next: harness run");
    Ok(Exit::Passed)
}

/// Whole or not at all.
fn write(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().context("it has no folder")?;
    fs::create_dir_all(folder)?;
    // Made here for the permissions of any other file: temporary ones are private.
    let mut file = tempfile::Builder::new().make_in(folder, |path| File::create_new(path))?;
    file.write_all(text.as_bytes())?;
    file.persist(path)?;
    Ok(())
}

/// `harness.toml` with every key, all but the suites and engines commented out. What a key means is
/// said by the tables that the command itself reads.
fn configuration() -> String {
    let mut text = String::new();
    comment(
        &mut text,
        "What `harness run` does in this folder. A line that is commented out shows a default or an \
         example; the command line stands above this file. See `harness run --help`, `harness suites` \
         and `harness engines`.",
    );
    for (key, example) in EXAMPLES {
        text.push('\n');
        comment(&mut text, &help(key));
        text += &format!("{example}\n");
    }
    for suite in suites::all() {
        text += &format!("\n[{}]\n", suite.name());
        comment(&mut text, suite.about());
        for setting in suite.settings() {
            text.push('\n');
            comment(&mut text, &format!("{} ({})", setting.help, setting.unit));
            if setting.quick != setting.default {
                comment(&mut text, &format!("With --quick: {}", setting.quick));
            }
            text += &format!("#{} = {}\n", setting.key, literal(setting.default));
        }
    }
    text
}

/// A line for each key outside the suites' tables.
const EXAMPLES: [(&str, &str); config::KEYS.len()] = [
    ("suites", r#"suites = ["parity", "perplexity"]"#),
    (
        "engines",
        r#"engines = ["reference", "reference:weights=q8_0", "reference:weights=q4_k"]"#,
    ),
    ("baseline", r#"#baseline = "reference""#),
    ("model", r#"#model = "model.gguf""#),
    ("gates", r#"#gates = ["perplexity.delta_pct <= 2"]"#),
    (
        "fallback",
        r#"#fallback = "reference:activations=f16,weights=f16""#,
    ),
    ("budget", r#"#budget = "6h""#),
    ("stall", r#"#stall = "5m""#),
    ("memory_limit", r#"#memory_limit = "8GiB""#),
    (
        "history",
        r#"#history = { url = "sqlite:.harness/history.db", branch = "main", alpha = 0.05, threshold_pct = 2 }"#,
    ),
];

/// What `harness run --help` says of the argument that a key stands for.
fn help(key: &str) -> String {
    let command = Arguments::command();
    let run = command.find_subcommand("run");
    let argument = run.and_then(|run| {
        run.get_arguments()
            .find(|argument| argument.get_id() == key)
    });
    let help = argument.and_then(|argument| argument.get_long_help().or(argument.get_help()));
    help.map_or_else(|| key.into(), ToString::to_string)
}

/// Appends `words` as comments, broken into lines.
fn comment(text: &mut String, words: &str) {
    for paragraph in words.split("\n\n") {
        let mut line = String::from("#");
        for word in paragraph.split_whitespace() {
            if line.len() > 1 && line.chars().count() + 1 + word.chars().count() > COLUMNS {
                *text += &line;
                text.push('\n');
                line = "#".into();
            }
            line.push(' ');
            line += word;
        }
        *text += &line;
        text.push('\n');
    }
}

/// A setting's default as TOML: bare where that reads back as the same text.
fn literal(default: &str) -> String {
    let bare = default
        .parse::<i64>()
        .is_ok_and(|n| n.to_string() == default)
        || default
            .parse::<f64>()
            .is_ok_and(|x| x.is_finite() && x.to_string() == default)
        || default.parse::<bool>().is_ok();
    match bare {
        true => default.into(),
        false => Value::from(default).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn load(text: &str) -> Config {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("harness.toml");
        fs::write(&path, text).unwrap();
        Config::load(Some(&path)).unwrap()
    }

    #[test]
    fn every_key_is_there_and_means_its_default() {
        let text = configuration();
        assert_eq!(EXAMPLES.map(|(key, _)| key), config::KEYS);
        // A comment has a blank behind the sign, a key has none.
        let bare = |line: &str| line.starts_with('#') && !line.starts_with("# ");
        let uncommented: String = text
            .lines()
            .map(|line| if bare(line) { &line[1..] } else { line })
            .flat_map(|line| [line, "\n"])
            .collect();
        let (config, full) = (load(&text), load(&uncommented));
        assert_eq!(config.baseline, None);
        assert_eq!(full.baseline.as_deref(), Some("reference"));
        for suite in suites::all() {
            let defaults = Config::default().settings(*suite, false);
            assert_eq!(config.settings(*suite, false), defaults, "{}", suite.name());
            assert_eq!(full.settings(*suite, false), defaults, "{}", suite.name());
            let keys = full.settings(*suite, false).iter().count();
            assert_eq!(keys, suite.settings().len(), "{}", suite.name());
        }
    }

    #[test]
    fn lines_are_short_and_helps_are_found() {
        let text = configuration();
        assert!(
            text.lines()
                .all(|line| line.chars().count() <= COLUMNS || !line.starts_with("# "))
        );
        for key in config::KEYS {
            assert_ne!(
                help(key),
                key,
                "no argument of `harness run` is called {key}"
            );
        }
    }

    #[test]
    fn the_workflow_names_this_version() {
        assert!(WORKFLOW.contains(ACTION));
        assert!(ACTION.ends_with(&format!("@v{}", env!("CARGO_PKG_VERSION"))));
    }
}
