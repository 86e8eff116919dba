//! `harness compare … -- ARGUMENTS`: makes the runs that it then compares, in turn.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::exit::Exit;
use crate::run::progress;

/// One of the two builds.
pub(crate) struct Side<'a> {
    /// Folder for its records.
    pub(crate) folder: &'a Path,
    /// Its `harness`; this program if `None`.
    pub(crate) program: Option<&'a PathBuf>,
}

/// Makes `pairs` runs of each side with the same `arguments`: a run of the one, a run of the other,
/// then the other way round, so that neither has the better half of what else the machine does.
pub(crate) fn make(sides: [Side<'_>; 2], pairs: usize, arguments: &[OsString]) -> Result<()> {
    let own = std::env::current_exe().context("cannot find this program")?;
    for side in &sides {
        let folder = side.folder;
        let shown = folder.display();
        ensure!(
            !folder.exists(),
            "{shown} is there already; runs are made into a new folder, name another or compare what it holds"
        );
    }
    let bar = progress::bar("runs in turn");
    bar.set_length(2 * pairs as u64);
    for pair in 0..pairs {
        let order = if pair % 2 == 0 { [0, 1] } else { [1, 0] };
        for side in order.map(|side| &sides[side]) {
            let out = side.folder.join(format!("{:03}", pair + 1));
            one(side.program.unwrap_or(&own), arguments, &out)?;
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    Ok(())
}

fn one(program: &Path, arguments: &[OsString], out: &Path) -> Result<()> {
    if let Some(folder) = out.parent() {
        let shown = folder.display();
        fs::create_dir_all(folder).with_context(|| format!("cannot create {shown}"))?;
    }
    let shown = program.display();
    let output = Command::new(program)
        .arg("run")
        .args(arguments)
        .arg("--out")
        .arg(out)
        .output()
        .with_context(|| format!("cannot start {shown}"))?;
    // A failed gate or engine is in the record, for the comparison to tell.
    let told = [Exit::Passed, Exit::GateFailed, Exit::EngineFailed];
    let code = output.status.code();
    if !told.iter().any(|exit| code == Some(*exit as i32)) {
        let error = String::from_utf8_lossy(&output.stderr);
        bail!("{shown} run ended with {}: {}", output.status, error.trim());
    }
    Ok(())
}
