//! Logits on disk, lossless, as NumPy arrays.
//!
//! A file is NumPy's `.npy` version 1.0 holding `<f4 [windows, length,
//! vocab]`, so `numpy.load(path, mmap_mode="r")` reads it as it is. All bits of
//! every f32 are kept: differences of 1e-6 between engines matter here, and
//! half precision would drown them.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use engine::Logits;

/// Everything before the array data.
const HEADER_BYTES: usize = 128;

/// How much is turned into bytes and back at a time.
const BUFFER_BYTES: usize = 1 << 16;

/// Logits could not be kept or read back.
#[derive(Debug, thiserror::Error)]
#[error("logits file {path}: {source}")]
pub struct LogitsFileError {
    path: PathBuf,
    source: io::Error,
}

impl LogitsFileError {
    /// What went wrong with the file `path`.
    pub(crate) fn new(path: &Path, source: io::Error) -> Self {
        Self {
            path: path.into(),
            source,
        }
    }
}

/// Writes logits window by window.
#[derive(Debug)]
pub(crate) struct LogitsWriter {
    file: BufWriter<File>,
    path: PathBuf,
}

impl LogitsWriter {
    /// Starts the file `path` for logits of the given shape.
    ///
    /// # Errors
    /// [`LogitsFileError`] when it cannot be created.
    pub(crate) fn create(
        path: &Path,
        windows: usize,
        length: usize,
        vocab: usize,
    ) -> Result<Self, LogitsFileError> {
        let create = || {
            let mut file = BufWriter::new(File::create(path)?);
            file.write_all(&npy_header("<f4", &[windows, length, vocab]))?;
            Ok(file)
        };
        Ok(Self {
            file: create().map_err(at(path))?,
            path: path.into(),
        })
    }

    /// Appends one window.
    ///
    /// # Errors
    /// [`LogitsFileError`] when the disk refuses.
    pub(crate) fn push(&mut self, logits: &Logits) -> Result<(), LogitsFileError> {
        let mut bytes = Vec::with_capacity(BUFFER_BYTES);
        for values in logits.values().chunks(BUFFER_BYTES / 4) {
            bytes.clear();
            bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            self.file.write_all(&bytes).map_err(at(&self.path))?;
        }
        Ok(())
    }

    /// Completes the file.
    ///
    /// # Errors
    /// [`LogitsFileError`] when the disk refuses.
    pub(crate) fn finish(mut self) -> Result<(), LogitsFileError> {
        self.file.flush().map_err(at(&self.path))
    }
}

/// Reads back what [`LogitsWriter`] wrote.
#[derive(Debug)]
pub(crate) struct LogitsFile {
    file: File,
    path: PathBuf,
    rows: usize,
    vocab: usize,
}

impl LogitsFile {
    /// Opens `path`, which must hold windows of `rows` × `vocab`.
    ///
    /// # Errors
    /// [`LogitsFileError`] when it is missing or too short for `windows`.
    pub(crate) fn open(
        path: &Path,
        windows: usize,
        rows: usize,
        vocab: usize,
    ) -> Result<Self, LogitsFileError> {
        let file = File::open(path).map_err(at(path))?;
        let bytes = file.metadata().map_err(at(path))?.len();
        let expected = (HEADER_BYTES + 4 * windows * rows * vocab) as u64;
        if bytes != expected {
            let why = format!("{bytes} bytes instead of {expected}");
            return Err(at(path)(io::Error::other(why)));
        }
        Ok(Self {
            file,
            path: path.into(),
            rows,
            vocab,
        })
    }

    /// Opens `path`, which must hold windows of `rows` rows as wide as they are.
    ///
    /// # Errors
    /// [`LogitsFileError`] when it is missing or no whole number of columns.
    pub(crate) fn open_as_wide_as_it_is(
        path: &Path,
        windows: usize,
        rows: usize,
    ) -> Result<Self, LogitsFileError> {
        let bytes = fs::metadata(path).map_err(at(path))?.len();
        let values = bytes.saturating_sub(HEADER_BYTES as u64) / 4;
        let vocab = values.checked_div((windows * rows) as u64).unwrap_or(0);
        Self::open(path, windows, rows, vocab as usize)
    }

    /// The logits of `window`.
    ///
    /// # Errors
    /// [`LogitsFileError`] past the end or when the disk refuses.
    pub(crate) fn window(&mut self, window: usize) -> Result<Logits, LogitsFileError> {
        self.rows(window * self.rows, self.rows)
    }

    /// `count` rows from `first` on, windows regardless.
    ///
    /// # Errors
    /// [`LogitsFileError`] past the end or when the disk refuses.
    pub(crate) fn rows(&mut self, first: usize, count: usize) -> Result<Logits, LogitsFileError> {
        let mut values = Vec::with_capacity(count * self.vocab);
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut left = 4 * count * self.vocab;
        let start = (HEADER_BYTES + 4 * first * self.vocab) as u64;
        self.file
            .seek(SeekFrom::Start(start))
            .map_err(at(&self.path))?;
        while left > 0 {
            let bytes = &mut buffer[..left.min(BUFFER_BYTES)];
            self.file.read_exact(bytes).map_err(at(&self.path))?;
            left -= bytes.len();
            let (words, _) = bytes.as_chunks();
            values.extend(words.iter().copied().map(f32::from_le_bytes));
        }
        Ok(Logits::new(self.vocab, values).unwrap_or_default())
    }
}

/// Writes token ids as `<u4 [windows, length]`.
pub(crate) fn write_tokens(
    path: &Path,
    windows: usize,
    tokens: &[engine::TokenId],
) -> Result<(), LogitsFileError> {
    let mut bytes = npy_header("<u4", &[windows, tokens.len() / windows]);
    bytes.extend(tokens.iter().flat_map(|id| id.to_le_bytes()));
    std::fs::write(path, bytes).map_err(at(path))
}

/// NumPy format 1.0: magic, version, header length, then a Python literal
/// padded with blanks (NEP 1).
fn npy_header(dtype: &str, shape: &[usize]) -> Vec<u8> {
    let shape: Vec<String> = shape.iter().map(usize::to_string).collect();
    let literal = format!(
        "{{'descr': '{dtype}', 'fortran_order': False, 'shape': ({}), }}",
        shape.join(", ")
    );
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    header.extend(((HEADER_BYTES - 10) as u16).to_le_bytes());
    header.extend(literal.as_bytes());
    header.resize(HEADER_BYTES - 1, b' ');
    header.push(b'\n');
    header
}

fn at(path: &Path) -> impl Fn(io::Error) -> LogitsFileError + use<> {
    let path = path.to_owned();
    move |source| LogitsFileError::new(&path, source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npy");
        let window = |seed: u32| {
            let values = (0..6)
                .map(|i| f32::from_bits(0x3f80_0001 + seed * 977 + i))
                .collect();
            Logits::new(3, values).unwrap()
        };
        let mut writer = LogitsWriter::create(&path, 2, 2, 3).unwrap();
        writer.push(&window(0)).unwrap();
        writer.push(&window(1)).unwrap();
        writer.finish().unwrap();
        let mut file = LogitsFile::open(&path, 2, 2, 3).unwrap();
        assert_eq!(file.window(1).unwrap(), window(1));
        assert_eq!(file.window(0).unwrap(), window(0));
        assert_eq!(file.rows(1, 1).unwrap().row(0), window(0).row(1));
        assert_eq!(file.rows(1, 2).unwrap().row(1), window(1).row(0));
        assert!(file.window(2).is_err());
        assert!(LogitsFile::open(&path, 3, 2, 3).is_err());
    }
}
