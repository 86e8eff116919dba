//! The folder that a report is written to.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use super::SiteError;

/// A file by which an earlier report is known.
const MARKER: &str = ".harness-report";

/// A report being written, beside the place it is meant for.
#[derive(Debug)]
pub(super) struct Output {
    target: PathBuf,
    draft: PathBuf,
}

impl Output {
    pub(super) fn begin(target: &Path) -> Result<Self, SiteError> {
        let occupied = match fs::read_dir(target) {
            Ok(mut entries) => entries.next().is_some() && !target.join(MARKER).exists(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(source) => return Err(failed(target)(source)),
        };
        if occupied {
            return Err(SiteError::Occupied(target.into()));
        }
        let mut name = target.file_name().unwrap_or("report".as_ref()).to_owned();
        name.push(format!(".draft-{}", std::process::id()));
        let this = Self {
            target: target.into(),
            draft: target.with_file_name(name),
        };
        for folder in ["run", "metric", "plots"] {
            let folder = this.draft.join(folder);
            fs::create_dir_all(&folder).map_err(failed(&folder))?;
        }
        let marker = this.draft.join(MARKER);
        fs::write(&marker, "").map_err(failed(&marker))?;
        Ok(this)
    }

    /// A new file, at `place` from the report's root.
    pub(super) fn file(&self, place: &str) -> Result<BufWriter<File>, SiteError> {
        let path = self.draft.join(place);
        let file = File::create(&path).map_err(failed(&path))?;
        Ok(BufWriter::with_capacity(1 << 16, file))
    }

    /// Puts the report in its place.
    pub(super) fn finish(self) -> Result<(), SiteError> {
        for folder in ["run", "metric", "plots"] {
            // Fails if there is something in it.
            let _ = fs::remove_dir(self.draft.join(folder));
        }
        match fs::remove_dir_all(&self.target) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed(&self.target)(error));
            }
            _ => {}
        }
        fs::rename(&self.draft, &self.target).map_err(failed(&self.target))
    }
}

impl Drop for Output {
    /// What was not finished leaves nothing behind.
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.draft);
    }
}

pub(super) fn failed(path: &Path) -> impl Fn(io::Error) -> SiteError + use<> {
    let path = path.to_owned();
    move |source| SiteError::Io {
        path: path.clone(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_reports_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("site");
        for _ in 0..2 {
            let output = Output::begin(&target).unwrap();
            output.file("index.html").unwrap();
            output.finish().unwrap();
            assert!(target.join("index.html").exists());
        }
        fs::remove_file(target.join(MARKER)).unwrap();
        assert!(matches!(
            Output::begin(&target),
            Err(SiteError::Occupied(_))
        ));
        drop(Output::begin(&folder.path().join("other")).unwrap());
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "no draft is left"
        );
    }
}
