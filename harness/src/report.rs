//! `harness report`: a site made of runs.

use std::path::PathBuf;

use anyhow::Result;
use jiff::Timestamp;
use reports::site::{self, RunFolders, Source};

use crate::args::{ReportArguments, SiteFormat};
use crate::exit::Exit;

pub(crate) fn report(arguments: &ReportArguments) -> Result<Exit> {
    let places = match arguments.runs.as_slice() {
        [] => vec![PathBuf::from(".harness/runs")],
        places => places.to_vec(),
    };
    let mut source = RunFolders::open(&places)?;
    for note in source.notes() {
        anstream::eprintln!("{note}");
    }
    let (written, first) = match arguments.format {
        SiteFormat::Html => {
            let written = site::write(&mut source, &arguments.out, Timestamp::now())?;
            (written, "index.html")
        }
        SiteFormat::Markdown => {
            let written = site::write_markdown(&mut source, &arguments.out)?;
            (written, "report.md")
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
