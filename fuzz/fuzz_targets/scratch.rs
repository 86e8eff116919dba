//! The folder that a target writes its input to, one a process.

use std::path::PathBuf;
use std::sync::LazyLock;

pub static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("harness-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
});

pub fn put(name: &str, text: &[u8]) {
    std::fs::write(FOLDER.join(name), text).unwrap();
}
