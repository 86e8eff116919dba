//! `harness report`: a site made of runs.

use std::path::PathBuf;

use anyhow::{Result, bail};
use jiff::Timestamp;
use reports::history::{DEFAULT_URL, Filter, History, HistoryError};
use reports::site::{self, RunFolders, RunHistory, Source};

use crate::args::{ReportArguments, SiteFormat};
use crate::exit::Exit;

pub(crate) fn report(arguments: &ReportArguments) -> Result<Exit> {
    let mut source = source(arguments)?;
    for note in source.notes() {
        anstream::eprintln!("{note}");
    }
    let (written, first) = match arguments.format {
        SiteFormat::Html => {
            let written = site::write(&mut *source, &arguments.out, Timestamp::now())?;
            (written, "index.html")
        }
        SiteFormat::Markdown => {
            let written = site::write_markdown(&mut *source, &arguments.out)?;
            (written, "report.md")
        }
        SiteFormat::Png => {
            let written = site::write_picture(&mut *source, &arguments.out)?;
            (written, "report.png")
        }
    };
    anstream::println!(
        "{}: {} runs, {} metrics, {} figures, {} change points",
        arguments.out.join(first).display(),
        written.runs,
        written.metrics,
        written.points,
        written.changes,
    );
    Ok(Exit::Passed)
}

/// What is named; else the project's history; else its runs.
fn source(arguments: &ReportArguments) -> Result<Box<dyn Source>> {
    let filter = Filter::from(&arguments.filter);
    let history = match (&arguments.history, arguments.runs.as_slice()) {
        (Some(url), _) => Some(History::open(url)?),
        (None, []) => match std::env::var("HARNESS_HISTORY") {
            Ok(url) => Some(History::open(&url)?),
            Err(_) => match History::open(DEFAULT_URL) {
                Err(HistoryError::Missing(_)) => None,
                opened => Some(opened?),
            },
        },
        (None, _) => None,
    };
    if let Some(history) = history {
        return Ok(Box::new(RunHistory::open(
            history,
            filter,
            &arguments.runs,
        )?));
    }
    if filter != Filter::default() {
        bail!("there is no history to take a part of; name one with --history");
    }
    Ok(Box::new(match arguments.runs.as_slice() {
        [] => RunFolders::open(&[PathBuf::from(".harness/runs")])?,
        places => RunFolders::open(places)?,
    }))
}
