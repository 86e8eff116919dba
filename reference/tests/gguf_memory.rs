//! How much memory a hostile GGUF file can make the reader take.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use harness_reference::gguf::Header;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

struct Counting;

fn count(change: isize) {
    // A thread that is being torn down has lost its counters.
    let _ = LIVE.try_with(|live| {
        live.set(live.get() + change);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(live.get())));
    });
}

// SAFETY: defers to the system's allocator and only counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most memory that parsing `file` held at a time.
fn peak(file: &[u8]) -> usize {
    let before = LIVE.get();
    PEAK.set(before);
    let parsed = Header::parse(file);
    let peak = PEAK.get() - before;
    drop(parsed);
    peak as usize
}

/// A file that claims `keys` metadata keys and `tensors` tensors.
fn file(keys: u64, tensors: u64, body: &[u8]) -> Vec<u8> {
    let mut file = b"GGUF\x03\0\0\0".to_vec();
    file.extend(tensors.to_le_bytes());
    file.extend(keys.to_le_bytes());
    file.extend(body);
    file
}

/// Items in a hostile file, enough to drown what small files cost anyway.
const MANY: u64 = 20_000;

/// Peak over file size. A `String` in a `Vec` that has just grown, copied into
/// an index, is the worst a file can ask for; 64 leaves room for that and
/// stays far from what a count taken on trust would cost.
fn assert_modest(what: &str, file: &[u8]) {
    let peak = peak(file);
    let ratio = peak as f64 / file.len() as f64;
    println!("{what}: {ratio:.1} bytes a byte");
    assert!(ratio < 64.0, "{what}: {peak} bytes for {}", file.len());
}

#[test]
fn memory_stays_in_proportion_to_the_file() {
    let mut keys = Vec::new();
    for n in 0..MANY {
        let key = format!("{n:x}");
        keys.extend((key.len() as u64).to_le_bytes());
        keys.extend(key.as_bytes());
        keys.extend(0u32.to_le_bytes());
        keys.push(0);
    }
    assert_modest("many keys", &file(MANY, 0, &keys));

    let mut tensors = Vec::new();
    for n in 0..MANY {
        let name = format!("{n:x}");
        tensors.extend((name.len() as u64).to_le_bytes());
        tensors.extend(name.as_bytes());
        tensors.extend(0u32.to_le_bytes());
        tensors.extend(24u32.to_le_bytes());
        tensors.extend((n * 32).to_le_bytes());
    }
    assert_modest("many tensors", &file(0, MANY, &tensors));

    let head = |element: u32, count: u64| {
        let mut head = 1u64.to_le_bytes().to_vec();
        head.push(b'k');
        head.extend(9u32.to_le_bytes());
        head.extend(element.to_le_bytes());
        head.extend(count.to_le_bytes());
        head
    };
    let mut strings = head(8, 16 * MANY);
    strings.resize(strings.len() + 8 * 16 * MANY as usize, 0);
    assert_modest("empty strings", &file(1, 0, &strings));

    let mut arrays = head(9, 16 * MANY);
    arrays.resize(arrays.len() + 12 * 16 * MANY as usize, 0);
    assert_modest("empty arrays", &file(1, 0, &arrays));

    // A count that fits the file at each level, and nothing behind it.
    let mut nested = head(9, 16 * MANY);
    for _ in 0..6 {
        nested.extend(9u32.to_le_bytes());
        nested.extend((16 * MANY).to_le_bytes());
    }
    nested.extend(0u32.to_le_bytes());
    nested.extend((64 * MANY).to_le_bytes());
    nested.resize(nested.len() + 12 * 16 * MANY as usize, 9);
    assert_modest("nested counts", &file(1, 0, &nested));

    for element in 0..13 {
        let mut lie = head(element, u64::MAX / 16);
        lie.resize(1 << 16, 0);
        assert_modest("a count out of all proportion", &file(1, 0, &lie));
    }
}
