//! How things go wrong.

use std::fs::{self, OpenOptions};
use std::hint::black_box;
use std::io::Write;
use std::os::unix::fs::FileTypeExt;
use std::thread;
use std::time::Duration;

use engine::{EngineError, FailureKind, Logits};

/// What a session leaves behind.
const LEAK_BYTES: usize = 64 << 10;

/// Memory taken before giving up, lest a machine without limits goes down.
const OOM_BYTES: usize = 4 << 30;
const OOM_STEP_BYTES: usize = 16 << 20;

/// Longer than any line a protocol should allow.
const GARBAGE_BYTES: usize = 4 << 20;

pub(crate) fn segv() {
    // The first page is never mapped.
    let nowhere = std::ptr::without_provenance_mut::<u8>(8);
    // SAFETY: no Rust object is at that address, and a volatile write to it is not assumed to
    // return: it traps, which is all that is wanted of it.
    unsafe { nowhere.write_volatile(0) };
}

pub(crate) fn hang() -> ! {
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}

pub(crate) fn leak() {
    // Ones: zeros would be mapped without being touched.
    black_box(vec![1u8; LEAK_BYTES].leak());
}

/// Takes memory until the process is killed, or tells how much it got.
pub(crate) fn oom() -> EngineError {
    let mut taken = Vec::new();
    while taken.len() * OOM_STEP_BYTES < OOM_BYTES {
        taken.push(black_box(vec![1u8; OOM_STEP_BYTES]));
    }
    EngineError::new(
        FailureKind::OutOfMemory,
        format!("took {OOM_BYTES} bytes, and nothing stopped it: set a lower limit"),
    )
}

/// Writes a line without end into every open pipe and standard output, as a
/// program does that has lost track of its descriptors.
pub(crate) fn garbage() {
    let bytes = vec![b'\xfe'; GARBAGE_BYTES];
    // Nobody may be reading; then that is that.
    let _ = std::io::stdout().write_all(&bytes);
    for entry in fs::read_dir("/dev/fd").into_iter().flatten().flatten() {
        let path = entry.path();
        if fs::metadata(&path).is_ok_and(|file| file.file_type().is_fifo())
            && let Ok(mut pipe) = OpenOptions::new().write(true).open(&path)
        {
            let _ = pipe.write_all(&bytes);
        }
    }
}

/// `logits` with `value` at the end.
pub(crate) fn last_value(logits: &Logits, value: f32) -> Logits {
    let mut values = logits.values().to_vec();
    if let Some(last) = values.last_mut() {
        *last = value;
    }
    Logits::new(logits.vocab(), values).unwrap_or_default()
}

/// `logits` without the last value of each row.
pub(crate) fn narrowed(logits: &Logits) -> Logits {
    let width = logits.vocab().saturating_sub(1);
    let rows = (0..logits.rows()).flat_map(|row| &logits.row(row)[..width]);
    Logits::new(width, rows.copied().collect()).unwrap_or_default()
}

/// Finite logits of the same shape that have nothing to do with the model.
pub(crate) fn noise(logits: &Logits) -> Logits {
    // Knuth's multiplicative hash of the index.
    let value = |index: usize| (index as u32).wrapping_mul(2_654_435_761) as f32 / u32::MAX as f32;
    let values = (0..logits.values().len()).map(|index| 20.0 * value(index) - 10.0);
    Logits::new(logits.vocab(), values.collect()).unwrap_or_default()
}
