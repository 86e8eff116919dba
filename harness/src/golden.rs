//! `harness golden`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use clap::Parser;
use engine::{Engine, EngineSpec};
use suites::SuiteError;
use suites::generation::{Finish, Sampling};
use suites::golden::{Body, Prompt, Recorder, Transcript};

use crate::args::{
    Arguments, Command, GoldenArguments, GoldenCommand, RecordArguments, VerifyArguments,
};
use crate::engines::Engines;
use crate::exit::Exit;
use crate::output::emit;
use crate::plan::{self, LoadedModel};
use crate::run::{self, progress};

pub(crate) fn run(engines: &Engines, arguments: &GoldenArguments) -> Result<Exit> {
    match &arguments.command {
        GoldenCommand::Record(arguments) => record(engines, arguments),
        GoldenCommand::Show { paths } => show(paths),
        GoldenCommand::Verify(arguments) => verify(engines, arguments),
    }
}

fn record(engines: &Engines, arguments: &RecordArguments) -> Result<Exit> {
    let prompts = match &arguments.prompts {
        Some(path) => Prompt::read(path)?,
        None => Prompt::parse(Path::new("embedded prompts"), fixtures::PROMPTS)?,
    };
    refuse_to_overwrite(arguments, &prompts)?;
    let model = plan::load(arguments.model.as_deref(), None)?;
    let spec: EngineSpec = arguments.engine.parse()?;
    let engine = engines
        .find(&spec)
        .with_context(|| format!("--engine {spec}"))?;
    let transcripts = match answers(arguments, &prompts, &model, &spec, engine) {
        Err(SuiteError::Engine(error)) => {
            anstream::eprintln!(
                "\x1b[1;31mFAIL\x1b[0m  {spec}: {} failure: {}",
                error.kind(),
                run::worker::chain(&error)
            );
            return Ok(Exit::EngineFailed);
        }
        other => other?,
    };
    let folder = &arguments.out;
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let (mut tokens, mut closest) = (0, f64::MAX);
    for transcript in &transcripts {
        transcript.write(folder, arguments.force)?;
        tokens += transcript.steps.len();
        let margins = transcript.steps.iter().map(|step| step.margin);
        closest = margins.fold(closest, f64::min);
    }
    anstream::println!(
        "recorded {} transcripts of {tokens} tokens by {spec} in {}; \
         the closest choice has a margin of {closest:.6} nats",
        transcripts.len(),
        folder.display()
    );
    Ok(Exit::Passed)
}

fn answers(
    arguments: &RecordArguments,
    prompts: &[Prompt],
    loaded: &LoadedModel,
    spec: &EngineSpec,
    engine: &dyn Engine,
) -> Result<Vec<Transcript>, SuiteError> {
    let info = engine.probe(&spec.options)?;
    let variant = |key: &str, value: &str| {
        info.options
            .iter()
            .any(|option| option.key == key)
            .then(|| {
                let mut options = spec.options.clone();
                options.set(key, value);
                engine.open(&loaded.artifact, &options)
            })
    };
    let recorder = Recorder {
        engine: &format!("{spec} {}", info.version),
        model_sha256: &loaded.artifact.sha256,
        tokenizer: &*loaded.tokenizer,
        sampling: &arguments.sampling,
        stop: &arguments.stop,
        max_tokens: arguments.max_tokens.get(),
        top: arguments.top,
    };
    let model = engine.open(&loaded.artifact, &spec.options)?;
    let bar = progress::bar(&format!("golden/{spec}"));
    let made = recorder.record(&*model, &variant, prompts, &|done, total| {
        bar.set_length(total);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    made
}

/// Before any work is done.
fn refuse_to_overwrite(arguments: &RecordArguments, prompts: &[Prompt]) -> Result<()> {
    if arguments.force {
        return Ok(());
    }
    let path = |prompt: &Prompt| Transcript::path(&arguments.out, &prompt.id);
    match prompts.iter().map(path).find(|path| path.exists()) {
        None => Ok(()),
        Some(path) => bail!(
            "{} exists; choose another folder with --out, or replace it with --force",
            path.display()
        ),
    }
}

fn verify(engines: &Engines, arguments: &VerifyArguments) -> Result<Exit> {
    let mut words: Vec<String> = ["harness", "run", "--suite", "golden"]
        .map(Into::into)
        .into();
    let mut option = |name: &str, value: String| words.push(format!("--{name}={value}"));
    if let Some(path) = &arguments.path {
        let text = path.to_str();
        let text = text.ok_or_else(|| anyhow!("{} is no plain text", path.display()))?;
        option("set", format!("golden.path={text}"));
    }
    if let Some(format) = arguments.other_model {
        option("set", format!("golden.other_model={format}"));
    }
    for engine in &arguments.engines {
        option("engine", engine.clone());
    }
    // Transcripts are the baseline: the first engine is judged like the rest.
    option("baseline", arguments.engines[0].clone());
    for (name, path) in [("model", &arguments.model), ("out", &arguments.out)] {
        if let Some(path) = path {
            let text = path.to_str();
            let text = text.ok_or_else(|| anyhow!("{} is no plain text", path.display()))?;
            option(name, text.into());
        }
    }
    let Some(format) = clap::ValueEnum::to_possible_value(&arguments.format) else {
        bail!("--format has no name");
    };
    option("format", format.get_name().into());
    match Arguments::try_parse_from(words)?.command {
        Command::Run(arguments) => run::run(engines, &arguments),
        _ => bail!("`harness golden verify` is a `harness run`"),
    }
}

fn show(paths: &[PathBuf]) -> Result<Exit> {
    let mut text = String::new();
    for path in paths {
        for (_, transcript) in Transcript::read(path)? {
            text += &page(&transcript);
        }
    }
    emit(&text)?;
    Ok(Exit::Passed)
}

/// A transcript for people: no control characters reach the terminal.
fn page(transcript: &Transcript) -> String {
    let mut text = format!(
        "── {} ── {} · {} · harness {}\n",
        transcript.id,
        transcript.engine.escape_debug(),
        transcript.sampling,
        transcript.harness.escape_debug(),
    );
    match &transcript.body {
        Body::Prompt(prompt) => text += &format!("prompt: {prompt:?}\n"),
        Body::Messages(messages) => {
            for message in messages {
                text += &format!("{}: {:?}\n", message.role.escape_debug(), message.content);
            }
        }
    }
    text += &format!("answer: {:?}\n", transcript.text);
    text += &match &transcript.finish {
        Finish::StopToken => "ends with a stop token\n".into(),
        Finish::StopString(stop) => format!("ends before {stop:?}\n"),
        Finish::Length => "ends at its greatest length\n".into(),
        Finish::Context => "ends with the context\n".into(),
    };
    text += "  step   token  log-prob    margin  piece\n";
    for (position, step) in transcript.steps.iter().enumerate() {
        text += &format!(
            "{position:6} {:7} {:9.4} {:9.4}  {:?}\n",
            step.token, step.log_probability, step.margin, step.piece
        );
    }
    text + "\n"
}

/// `--sampling`.
pub(crate) fn sampling(text: &str) -> Result<Sampling, String> {
    text.parse()
}
