//! Heap profiles by allocation site, with the feature `dhat-heap`.
//!
//! Every allocation then passes through the profiler, so times and memory figures of such a
//! program are not those of an ordinary one.

use std::path::Path;

use dhat::{Alloc, Profiler};

#[global_allocator]
static ALLOCATOR: Alloc = Alloc;

/// Profiles until it is dropped, then writes `file` for DHAT's viewer (`dh_view.html` of
/// Valgrind, or <https://nnethercote.github.io/dh_view/dh_view.html>).
pub(crate) fn profile(file: &Path) -> Profiler {
    Profiler::builder().file_name(file).build()
}
