//! The engine and the tokenizer of this crate's documentation: puts the engine through the
//! conformance kit, and lets it continue a text.

mod engine;
mod tokenizer;

use std::error::Error;
use std::process::ExitCode;

use engine::Successor;
use harness_engine::{Engine, EngineOptions, ModelArtifact, Tokenizer, Want, conformance};
use tokenizer::Notes;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let artifact = ModelArtifact::embedded("nothing", b"");
    let options = EngineOptions::default();
    let report = conformance::check(&Successor, &artifact, &options)?;
    print!("{report}");

    let (model, notes) = (Successor.open(&artifact, &options)?, Notes::new());
    let mut session = model.session()?;
    let mut tokens = notes.encode("ABC")?;
    while !tokens.ends_with(&notes.ends()) {
        let logits = session.extend(&tokens[session.len()..], Want::Last)?;
        let row = logits.row(0);
        let best = (0..).zip(row).max_by(|(_, a), (_, b)| a.total_cmp(b));
        tokens.extend(best.map(|(token, _)| token));
    }
    println!("{}", notes.decode(&tokens)?);
    Ok(match report.passed() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}
