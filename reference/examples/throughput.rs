//! Times the reference engine the way `llama-bench` times llama.cpp: prompts of
//! so many tokens, then tokens one by one, each test on an empty context.
//!
//! ```text
//! throughput MODEL [--engine OPTIONS] [--prompt N] [--generate N] [--logits N] [--repeat N]
//! ```
//!
//! Prints one JSON object a line: test, tokens, seconds. `--logits N` runs
//! prompts of N tokens and returns the logits of their second half, which is
//! what perplexity takes.

use std::path::Path;
use std::time::Instant;

use engine::{Engine, EngineSpec, ModelArtifact, Session, Want};
use harness_reference::Reference;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next().ok_or("which model?")?;
    let mut spec = "reference".to_owned();
    let (mut tests, mut repeat) = (Vec::new(), 3);
    while let Some(key) = arguments.next() {
        let value = arguments.next().ok_or("a value is missing")?;
        match key.as_str() {
            "--engine" => spec = value,
            "--prompt" => tests.push(("pp", value.parse::<usize>()?)),
            "--generate" => tests.push(("tg", value.parse()?)),
            "--logits" => tests.push(("ppl", value.parse()?)),
            "--repeat" => repeat = value.parse()?,
            other => return Err(format!("unknown option {other}").into()),
        }
    }
    let artifact = ModelArtifact::from_path(Path::new(&model))?;
    let spec: EngineSpec = spec.parse()?;
    let model = Reference.open(&artifact, &spec.options)?;
    let vocab = model.config().vocab;
    let mut session = model.session()?;
    for (test, tokens) in tests {
        // Token ids of no meaning, as llama-bench's; speed does not depend on them.
        let ids: Vec<u32> = (0..tokens).map(|i| (i * 7919 % vocab) as u32).collect();
        run(&mut *session, test, &ids)?;
        for _ in 0..repeat {
            let start = Instant::now();
            run(&mut *session, test, &ids)?;
            let seconds = start.elapsed().as_secs_f64();
            println!(
                r#"{{"test":"{test}{tokens}","tokens":{tokens},"seconds":{seconds},"tok_per_s":{:.2}}}"#,
                tokens as f64 / seconds
            );
        }
    }
    Ok(())
}

fn run(session: &mut dyn Session, test: &str, ids: &[u32]) -> Result<()> {
    session.truncate(0)?;
    match test {
        "pp" => drop(session.extend(ids, Want::Last)?),
        "ppl" => {
            let (first, second) = ids.split_at(ids.len() / 2);
            session.extend(first, Want::None)?;
            session.extend(second, Want::All)?;
        }
        _ => {
            for id in ids {
                session.extend(std::slice::from_ref(id), Want::Last)?;
            }
        }
    }
    Ok(())
}
