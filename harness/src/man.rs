//! `harness man`.

use std::fs;

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_mangen::Man;

use crate::args::{Arguments, ManArguments};
use crate::exit::Exit;

pub(crate) fn man(arguments: &ManArguments) -> Result<Exit> {
    let command = Arguments::command();
    match &arguments.out {
        Some(folder) => fs::create_dir_all(folder)
            .and_then(|()| clap_mangen::generate_to(command, folder))
            .with_context(|| format!("cannot write to {}", folder.display()))?,
        None => Man::new(command)
            .render(&mut std::io::stdout())
            .context("cannot write to standard output")?,
    }
    Ok(Exit::Passed)
}
