//! Making the system forget what it has read of a file, so that the next read is the
//! disk's.
//!
//! ```
//! use std::{fs, time::Instant};
//! use harness_machine::page_cache::evict;
//!
//! let path = std::env::temp_dir().join(format!("cold-{}", std::process::id()));
//! fs::write(&path, [7; 1 << 16])?;
//! let cold = evict(&path).is_ok(); // Not on macOS, and not of a file system in memory.
//! let start = Instant::now();
//! let bytes = fs::read(&path)?;
//! println!("{} {:?}", if cold { "cold" } else { "warm" }, start.elapsed());
//! fs::remove_file(&path)?;
//! assert_eq!(bytes, [7; 1 << 16], "contents are kept");
//! # Ok::<(), std::io::Error>(())
//! ```

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Share of a file that may stay in memory and the file still be called cold: a page
/// or two are read with a folder's entries or by another program in passing.
const RESIDENT_SHARE_LIMIT: f64 = 0.01;

/// Why a file cannot be had cold.
///
/// ```
/// use std::path::Path;
/// use harness_machine::page_cache::{EvictError, evict};
///
/// let why = match evict(Path::new("/no/such/model.gguf")) {
///     Err(EvictError::Io { path, .. }) => format!("{} cannot be read", path.display()),
///     Err(EvictError::Resident { .. }) => "load times are of a warm file".into(),
///     Err(EvictError::Unsupported) => "only root can drop it here".into(),
///     Ok(()) => "cold".into(),
/// };
/// assert_eq!(why, "/no/such/model.gguf cannot be read");
/// ```
#[derive(Debug, thiserror::Error)]
pub enum EvictError {
    /// A file cannot be opened or mapped.
    #[error("cannot evict {path}: {source}")]
    Io {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The system keeps it, whatever it was advised to do.
    #[error(
        "{resident_bytes} of {bytes} bytes stay in the page cache: another program maps them, \
         or this user may not know"
    )]
    Resident {
        /// Bytes of the file in memory, by whole pages.
        resident_bytes: u64,
        /// Bytes of the file.
        bytes: u64,
    },
    /// This system has no way to do it.
    #[error("this system drops a file's pages for root alone")]
    Unsupported,
}

/// Drops the pages of the file `path`, or of every file in the folder `path`, from the
/// page cache, and looks whether they are gone.
///
/// On Linux by `posix_fadvise(POSIX_FADV_DONTNEED)`, which leaves pages that anyone
/// maps; `mincore` tells. Disks and hosts of virtual machines have caches of their own,
/// which nobody here can drop. Unsupported on macOS, where only root's `purge` does it.
///
/// # Errors
/// [`EvictError`]; the file may then be warm.
///
/// A file that somebody maps stays:
///
/// ```
/// use std::fs::{self, File};
/// use harness_machine::page_cache::evict;
///
/// let path = std::env::temp_dir().join(format!("mapped-{}", std::process::id()));
/// fs::write(&path, [7; 1 << 16])?;
/// // SAFETY: nobody writes the file.
/// let map = unsafe { memmap2::Mmap::map(&File::open(&path)?) }?;
/// assert_eq!(map.iter().map(|&byte| u64::from(byte)).sum::<u64>(), 7 << 16);
/// let evicted = evict(&path);
/// fs::remove_file(&path)?;
/// assert!(evicted.is_err());
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn evict(path: &Path) -> Result<(), EvictError> {
    let (mut resident_bytes, mut bytes) = (0, 0);
    for path in files(path)? {
        let (resident, size) = evict_file(&path).map_err(|source| match source.kind() {
            io::ErrorKind::Unsupported => EvictError::Unsupported,
            _ => EvictError::Io { path, source },
        })?;
        resident_bytes += resident;
        bytes += size;
    }
    match resident_bytes as f64 <= RESIDENT_SHARE_LIMIT * bytes as f64 {
        true => Ok(()),
        false => Err(EvictError::Resident {
            resident_bytes,
            bytes,
        }),
    }
}

fn files(path: &Path) -> Result<Vec<PathBuf>, EvictError> {
    if !path.is_dir() {
        return Ok(vec![path.into()]);
    }
    let entries = fs::read_dir(path)
        .and_then(|entries| entries.collect::<io::Result<Vec<_>>>())
        .map_err(|source| EvictError::Io {
            path: path.into(),
            source,
        })?;
    let paths = entries.into_iter().map(|entry| entry.path());
    Ok(paths.filter(|path| path.is_file()).collect())
}

/// Bytes still resident, and bytes in all.
#[cfg(target_os = "linux")]
fn evict_file(path: &Path) -> io::Result<(u64, u64)> {
    use std::os::fd::AsRawFd;

    let file = File::open(path)?;
    // Pages that are not yet on disk cannot be dropped.
    file.sync_data()?;
    // SAFETY: the descriptor is open, and the call touches no memory of ours.
    match unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) } {
        0 => Ok((resident_bytes(&file)?, file.metadata()?.len())),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

#[cfg(not(target_os = "linux"))]
fn evict_file(path: &Path) -> io::Result<(u64, u64)> {
    File::open(path)?;
    Err(io::ErrorKind::Unsupported.into())
}

/// Bytes of `file` in the page cache, by whole pages.
#[cfg(target_os = "linux")]
fn resident_bytes(file: &File) -> io::Result<u64> {
    let length = file.metadata()?.len() as usize;
    if length == 0 {
        return Ok(0);
    }
    // SAFETY: nothing is read through the map, so it does not matter who writes the file.
    let map = unsafe { memmap2::Mmap::map(file) }?;
    // SAFETY: a question without arguments in memory.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) }.max(1) as usize;
    let mut pages = vec![0_u8; length.div_ceil(page)];
    let start = map.as_ptr().cast_mut().cast();
    // SAFETY: the range is mapped, and `pages` has a byte for each of its pages.
    if unsafe { libc::mincore(start, length, pages.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let resident = pages.iter().filter(|&&flags| flags & 1 == 1).count();
    Ok((resident * page) as u64)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn pages_that_were_read_are_gone_unless_someone_maps_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model");
        fs::write(&path, vec![7; 1 << 20]).unwrap();
        let file = File::open(&path).unwrap();
        fs::read(&path).unwrap();
        // A file system in memory (tmpfs) keeps everything and says so.
        match evict(folder.path()) {
            Ok(()) => assert_eq!(resident_bytes(&file).unwrap(), 0),
            Err(EvictError::Resident { bytes, .. }) => assert_eq!(bytes, 1 << 20),
            Err(error) => panic!("{error}"),
        }
        assert_eq!(fs::read(&path).unwrap(), vec![7; 1 << 20]);
        assert_eq!(resident_bytes(&file).unwrap(), 1 << 20);
        // SAFETY: nobody writes the file.
        let map = unsafe { memmap2::Mmap::map(&file) }.unwrap();
        assert!(map.iter().all(|&byte| byte == 7));
        assert!(matches!(evict(&path), Err(EvictError::Resident { .. })));
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = evict(Path::new("/nonexistent/model")).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/model"), "{error}");
    }
}
