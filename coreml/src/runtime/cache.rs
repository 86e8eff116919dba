//! Compiled packages on disk, by the content of what they were compiled from.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use engine::{EngineError, FailureKind, sha256_hex};

/// How long a compiled package stays that nobody asks for.
const UNUSED: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long something half made stays: longer than any copying takes.
const UNFINISHED: Duration = Duration::from_secs(3600);
/// Begins the name of what is half made.
const PARTIAL: &str = ".partial-";
/// Ends the name of what is whole.
const COMPILED: &str = ".mlmodelc";

/// A folder of entries `SHA256-SYSTEM.mlmodelc`. Each appears whole, by a rename, so that
/// any number of processes may share the folder without locks.
pub(crate) struct Cache {
    folder: PathBuf,
    /// Tells the system's version: another may not load what this one compiled.
    system: String,
}

impl Cache {
    /// Opens the cache in `folder` and clears away what is stale: what other versions of
    /// the system compiled, what was not used for a month, what a killed process left.
    ///
    /// # Errors
    /// `Load` when there can be no such folder.
    pub(crate) fn open(folder: &Path, system: &str) -> Result<Self, EngineError> {
        let cache = Self {
            folder: folder.into(),
            system: sha256_hex(system.as_bytes())[..12].into(),
        };
        fs::create_dir_all(folder).map_err(|error| cache.cannot("make", &error))?;
        cache.clean(SystemTime::now());
        Ok(cache)
    }

    /// The compiled package with that hash, if it is there; from now on it counts as used.
    pub(crate) fn find(&self, sha256: &str) -> Option<PathBuf> {
        let entry = self.entry(sha256);
        let folder = File::open(&entry).ok()?;
        // Where the time cannot be set it is compiled again after a month.
        let _ = folder.set_modified(SystemTime::now());
        Some(entry)
    }

    /// Takes over the folder `made`, compiled from the package with that hash.
    ///
    /// # Errors
    /// `Load` when the disk is full or not to be written.
    pub(crate) fn keep(&self, sha256: &str, made: &Path) -> Result<PathBuf, EngineError> {
        let entry = self.entry(sha256);
        let cannot = |error: io::Error| self.cannot("write to", &error);
        let kept = match fs::rename(made, &entry) {
            Ok(()) => Ok(()),
            // Another process was faster.
            Err(_) if entry.is_dir() => fs::remove_dir_all(made).or(Ok(())),
            // Perhaps it is on another disk.
            Err(_) => self.copy(made, &entry),
        };
        kept.map(|()| entry).map_err(cannot)
    }

    /// Forgets an entry that cannot be loaded.
    pub(crate) fn forget(&self, sha256: &str) {
        // Then the next attempt fails in the same way, and says why.
        let _ = self.remove(&self.entry(sha256));
    }

    fn entry(&self, sha256: &str) -> PathBuf {
        self.folder
            .join(format!("{sha256}-{}{COMPILED}", self.system))
    }

    fn copy(&self, made: &Path, entry: &Path) -> io::Result<()> {
        let partial = self.partial();
        let copied = copy_folder(made, &partial).and_then(|()| fs::rename(&partial, entry));
        let copied = match copied {
            Err(_) if entry.is_dir() => fs::remove_dir_all(&partial),
            other => other,
        };
        let _ = fs::remove_dir_all(made);
        copied.inspect_err(|_| drop(fs::remove_dir_all(&partial)))
    }

    /// A name that nobody else has.
    fn partial(&self) -> PathBuf {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let nanos = now.map_or(0, |now| now.as_nanos());
        let process = std::process::id();
        self.folder.join(format!("{PARTIAL}{process}-{nanos}"))
    }

    /// Renamed first, so that nobody opens half of it.
    fn remove(&self, entry: &Path) -> io::Result<()> {
        let partial = self.partial();
        fs::rename(entry, &partial)?;
        fs::remove_dir_all(&partial)
    }

    /// What cannot be cleared away now can be later.
    fn clean(&self, now: SystemTime) {
        let ours = format!("-{}{COMPILED}", self.system);
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let modified = entry.metadata().and_then(|metadata| metadata.modified());
            let age = modified.map_or(Duration::ZERO, |modified| {
                now.duration_since(modified).unwrap_or_default()
            });
            let path = entry.path();
            if name.starts_with(PARTIAL) && age > UNFINISHED {
                let _ = fs::remove_dir_all(&path);
            } else if name.ends_with(COMPILED) && (!name.ends_with(&ours) || age > UNUSED) {
                let _ = self.remove(&path);
            }
        }
    }

    fn cannot(&self, what: &str, error: &io::Error) -> EngineError {
        EngineError::new(
            FailureKind::Load,
            format!(
                "cannot {what} the folder of compiled packages, {}: {error}; name another by cache=",
                self.folder.display()
            ),
        )
    }
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy_folder(&entry.path(), &target)?,
            false => drop(fs::copy(entry.path(), target)?),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn compiled(folder: &Path, text: &str) -> PathBuf {
        let made = folder.join(format!("made-{text}"));
        fs::create_dir_all(made.join("inner")).unwrap();
        fs::write(made.join("inner/model.mil"), text).unwrap();
        made
    }

    fn text(entry: &Path) -> String {
        fs::read_to_string(entry.join("inner/model.mil")).unwrap()
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn age(path: &Path, by: Duration) {
        let folder = File::open(path).unwrap();
        folder.set_modified(SystemTime::now() - by).unwrap();
    }

    #[test]
    fn what_is_kept_is_found_by_the_same_system_alone() {
        let (folder, made) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let cache = Cache::open(folder.path(), "15.1").unwrap();
        assert_eq!(cache.find("aa"), None);
        let kept = cache.keep("aa", &compiled(made.path(), "one")).unwrap();
        assert_eq!(text(&kept), "one");
        assert_eq!(cache.find("aa"), Some(kept));
        assert_eq!(cache.find("bb"), None);
        assert!(names(made.path()).is_empty());
        // A second process that compiled the same package.
        let kept = cache.keep("aa", &compiled(made.path(), "two")).unwrap();
        assert_eq!(text(&kept), "one");
        assert!(names(made.path()).is_empty());
        // An update of the system.
        let newer = Cache::open(folder.path(), "15.2").unwrap();
        assert_eq!(newer.find("aa"), None);
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn copies_appear_whole_too() {
        let (folder, made) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let cache = Cache::open(folder.path(), "15.1").unwrap();
        let entry = cache.entry("aa");
        cache.copy(&compiled(made.path(), "one"), &entry).unwrap();
        cache.copy(&compiled(made.path(), "two"), &entry).unwrap();
        assert_eq!(text(&entry), "one");
        assert_eq!(names(folder.path()).len(), 1);
        assert!(
            cache
                .copy(&made.path().join("none"), &cache.entry("bb"))
                .is_err()
        );
        assert_eq!(names(folder.path()).len(), 1);
    }

    #[test]
    fn the_stale_is_cleared_away_and_the_used_stays() {
        let (folder, made) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let cache = Cache::open(folder.path(), "15.1").unwrap();
        let [old, used, new] = ["old", "used", "new"]
            .map(|name| cache.keep(name, &compiled(made.path(), name)).unwrap());
        age(&old, UNUSED + Duration::from_secs(60));
        age(&used, UNUSED + Duration::from_secs(60));
        assert!(cache.find("used").is_some());
        let killed = folder.path().join(".partial-1-1");
        let writing = folder.path().join(".partial-2-2");
        let foreign = folder.path().join("notes");
        for path in [&killed, &writing, &foreign] {
            fs::create_dir(path).unwrap();
        }
        age(&killed, UNFINISHED + Duration::from_secs(60));
        age(&foreign, UNUSED * 2);
        Cache::open(folder.path(), "15.1").unwrap();
        let left = [&old, &used, &new, &killed, &writing, &foreign].map(|path| path.exists());
        assert_eq!(left, [false, true, true, false, true, true]);
        cache.forget("new");
        assert!(!new.exists());
    }

    #[test]
    fn a_folder_that_cannot_be_is_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Cache::open(&file.path().join("x"), "15.1").err().unwrap();
        assert_eq!(error.kind(), FailureKind::Load);
        assert!(error.to_string().contains("cache="), "{error}");
    }
}
