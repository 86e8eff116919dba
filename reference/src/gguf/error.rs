//! What can be wrong with a GGUF file.

use std::io;
use std::path::PathBuf;

/// A file that cannot be read as GGUF. Positions count bytes from the start
/// of the file.
///
/// ```
/// use harness_reference::gguf::Header;
///
/// let why = Header::parse(b"GGUF").map_err(|error| error.to_string()).err();
/// let expected = "file is truncated: the version at byte 4 needs 4 bytes but 0 are left; \
///                 download it again";
/// assert_eq!(why.as_deref(), Some(expected));
/// ```
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// The file cannot be opened or mapped.
    #[error("cannot read {path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The first bytes are not GGUF's.
    #[error("this is no GGUF file: it begins with `{}` instead of `GGUF`", .0.escape_ascii())]
    Magic(Vec<u8>),
    /// A version of the format that is not read here.
    #[error(
        "GGUF version {0} is not read here, only 2 and 3; convert the model again with a \
         current llama.cpp"
    )]
    Version(u32),
    /// The file was written for a big-endian machine.
    #[error(
        "this GGUF file (version {0}) is big-endian, and only little-endian files are read here; \
         convert the model again, or swap it with gguf-py's gguf_convert_endian.py"
    )]
    BigEndian(u32),
    /// The file ends inside its header.
    #[error(
        "file is truncated: {what} at byte {at} needs {needs} bytes but {left} are left; \
         download it again"
    )]
    Truncated {
        /// What was being read.
        what: String,
        /// Where it starts.
        at: u64,
        /// Its length.
        needs: u64,
        /// What the file still holds.
        left: u64,
    },
    /// A count of items that the rest of the file cannot hold.
    #[error(
        "{what} at byte {at}: {count} items take {needs} bytes or more but {left} are left; \
         the file is damaged or truncated, download it again"
    )]
    Count {
        /// What was being counted.
        what: String,
        /// Where the count stands.
        at: u64,
        /// The count.
        count: u64,
        /// The least number of bytes that so many items take.
        needs: u128,
        /// What the file still holds.
        left: u64,
    },
    /// The file ends inside the data of a tensor.
    #[error(
        "file is truncated: tensor `{tensor}` needs bytes {start}..{end} but the file has \
         {len}; download it again"
    )]
    TruncatedData {
        /// Which tensor.
        tensor: String,
        /// First byte.
        start: u64,
        /// One past the last byte.
        end: u64,
        /// Length of the file.
        len: u64,
    },
    /// A name that stands for two things.
    #[error("{what} `{name}` at byte {at} has appeared before; the file is damaged")]
    Duplicate {
        /// `key` or `tensor`.
        what: &'static str,
        /// The name.
        name: String,
        /// Where it stands for the second time.
        at: u64,
    },
    /// Two tensors claim the same bytes.
    #[error("tensors `{first}` and `{second}` overlap at byte {at}; the file is damaged")]
    Overlap {
        /// The tensor that starts first.
        first: String,
        /// The tensor that starts inside it.
        second: String,
        /// Where the second starts.
        at: u64,
    },
    /// A tensor type that is not known here.
    #[error(
        "tensor `{tensor}` at byte {at} is of GGML type {id}, which is unknown here \
         (withdrawn, or newer than this program)"
    )]
    UnknownType {
        /// Which tensor.
        tensor: String,
        /// Where its type stands.
        at: u64,
        /// Number of the type.
        id: u32,
    },
    /// Anything else that the format forbids.
    #[error("{what} at byte {at}: {why}")]
    Malformed {
        /// What was being read.
        what: String,
        /// Where it stands.
        at: u64,
        /// What is wrong with it.
        why: String,
    },
}

/// A metadata value that was asked for and cannot be had.
///
/// ```
/// use harness_reference::gguf::{Metadata, MetadataError};
///
/// let absent = Metadata::new().get::<u32>("llama.block_count");
/// assert_eq!(absent, Err(MetadataError::Missing("llama.block_count".into())));
/// ```
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MetadataError {
    /// There is no such key.
    #[error("the model file has no metadata key `{0}`")]
    Missing(String),
    /// The value is of another type.
    #[error("metadata key `{key}` should be {wanted} but is {found}")]
    WrongType {
        /// The key.
        key: String,
        /// What was asked for.
        wanted: &'static str,
        /// What the file holds.
        found: String,
    },
    /// The value is a number that does not fit.
    #[error("metadata key `{key}` is {found}, which does not fit {wanted}")]
    OutOfRange {
        /// The key.
        key: String,
        /// What was asked for.
        wanted: &'static str,
        /// What the file holds.
        found: String,
    },
}
