//! `harness man`.

use std::fs;

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_mangen::Man;

use crate::args::{Arguments, ManArguments};
use crate::exit::Exit;
use crate::output::emit;

pub(crate) fn man(arguments: &ManArguments) -> Result<Exit> {
    let command = Arguments::command();
    match &arguments.out {
        Some(folder) => fs::create_dir_all(folder)
            .and_then(|()| clap_mangen::generate_to(command, folder))
            .with_context(|| format!("cannot write to {}", folder.display()))?,
        None => {
            let mut page = Vec::new();
            Man::new(command).render(&mut page)?;
            emit(page)?;
        }
    }
    Ok(Exit::Passed)
}
