//! `--resume`: what was begun, if it is the same thing that is asked for.

use std::fs;
use std::path::Path;

use anyhow::{Result, bail};
use jiff::Timestamp;
use reports::{GitRevision, Provenance, RunWriter, StoredRun};

use super::SCRATCH;

/// Opens the record in `folder`, which must be of a run that would have the
/// provenance `ours`.
pub(super) fn open(folder: &Path, ours: &Provenance) -> Result<(RunWriter, StoredRun)> {
    let (mut writer, stored) = RunWriter::resume(folder)?;
    let theirs = &stored.record.provenance;
    if let Some(what) = difference(ours, theirs) {
        bail!(
            "{} was begun with another {what}; to complete it, use what it was begun with: {}",
            folder.display(),
            theirs.command_line.join(" ")
        );
    }
    // A run that was killed could not clear up.
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(SCRATCH) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    if theirs.ended.is_none() {
        writer.update(|record| record.provenance.resumed.push(Timestamp::now()))?;
    }
    Ok((writer, stored))
}

/// What keeps cells of two runs from standing in one record.
fn difference(ours: &Provenance, theirs: &Provenance) -> Option<&'static str> {
    let revision = |project: &Option<GitRevision>| {
        let project = project.as_ref();
        project.map(|project| project.revision.clone())
    };
    let (here, there) = (&ours.machine.fingerprint, &theirs.machine.fingerprint);
    [
        (
            "version of the harness",
            ours.harness_version == theirs.harness_version,
        ),
        (
            "revision of the project",
            revision(&ours.project) == revision(&theirs.project),
        ),
        ("machine", here == there),
        ("choice of suites", ours.plan.suites == theirs.plan.suites),
        (
            "choice of engines",
            ours.plan.engines == theirs.plan.engines,
        ),
        ("fallback", ours.plan.fallback == theirs.plan.fallback),
        ("model", ours.models == theirs.models),
        ("value of a setting", ours.settings == theirs.settings),
        ("choice of gates", ours.gates == theirs.gates),
        ("gate against history", ours.history == theirs.history),
        ("choice of seeds", ours.seeds == theirs.seeds),
        ("shard", ours.shard == theirs.shard),
    ]
    .into_iter()
    .find_map(|(what, same)| (!same).then_some(what))
}
