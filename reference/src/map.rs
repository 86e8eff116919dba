//! Files as memory.

use std::fs::File;
use std::io;
use std::path::Path;

use bytes::Bytes;
use memmap2::Mmap;

/// Maps the file at `path`. Slices of the bytes keep the map alive, so that a
/// kernel can hold on to the weights of a file without holding on to the file.
pub(crate) fn map(path: &Path) -> io::Result<Bytes> {
    let file = File::open(path)?;
    // SAFETY: the map is private to this process and never written through.
    // What no program can rule out is another one changing the file underneath:
    // shrinking it raises SIGBUS on access, rewriting it changes weights under
    // the reader. Every model loader that maps files lives with this; cells run
    // in worker processes, so that a crash stays a recorded finding, and the
    // hash in the run record names the bytes that were there at the start. No
    // reference to the bytes has a type with invalid bit patterns.
    let map = unsafe { Mmap::map(&file) }?;
    Ok(Bytes::from_owner(map))
}
