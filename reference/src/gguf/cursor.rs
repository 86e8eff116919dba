//! A position in a byte slice, with errors that say where.

use std::fmt::Display;

use super::GgufError;
use super::parse::malformed;

pub(super) struct Cursor<'a> {
    file: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(file: &'a [u8]) -> Self {
        Self { file, position: 0 }
    }

    pub(super) fn position(&self) -> usize {
        self.position
    }

    pub(super) fn at(&self) -> u64 {
        self.position as u64
    }

    pub(super) fn len(&self) -> usize {
        self.file.len()
    }

    fn rest(&self) -> &'a [u8] {
        self.file.get(self.position..).unwrap_or_default()
    }

    /// Up to `n` bytes, without moving.
    pub(super) fn peek(&self, n: usize) -> &'a [u8] {
        let rest = self.rest();
        rest.get(..n).unwrap_or(rest)
    }

    fn take(&mut self, n: u64, what: impl Display) -> Result<&'a [u8], GgufError> {
        let rest = self.rest();
        let taken = usize::try_from(n).ok().and_then(|n| rest.get(..n));
        let taken = taken.ok_or_else(|| GgufError::Truncated {
            what: what.to_string(),
            at: self.at(),
            needs: n,
            left: rest.len() as u64,
        })?;
        self.position += taken.len();
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(
        &mut self,
        what: impl Display,
    ) -> Result<[u8; N], GgufError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64, what)?);
        Ok(array)
    }

    pub(super) fn u32(&mut self, what: impl Display) -> Result<u32, GgufError> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: impl Display) -> Result<u64, GgufError> {
        self.array(what).map(u64::from_le_bytes)
    }

    pub(super) fn bool(&mut self, what: impl Display + Copy) -> Result<bool, GgufError> {
        match self.array(what)? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => {
                let why = format!("a bool is 0 or 1, not {other}");
                Err(malformed(what, self.at() - 1, why))
            }
        }
    }

    pub(super) fn string(&mut self, what: impl Display + Copy) -> Result<&'a str, GgufError> {
        let len = self.u64(format_args!("the length of {what}"))?;
        let at = self.at();
        std::str::from_utf8(self.take(len, what)?).map_err(|error| {
            let at = at + error.valid_up_to() as u64;
            malformed(what, at, "its text is no UTF-8")
        })
    }

    /// A count of items that take `item_bytes` or more each. What it returns is
    /// safe to reserve memory for: the file has the bytes.
    pub(super) fn count(
        &mut self,
        item_bytes: usize,
        what: impl Display + Copy,
    ) -> Result<usize, GgufError> {
        let at = self.at();
        let count = self.u64(what)?;
        let left = self.rest().len();
        match usize::try_from(count) {
            Ok(count) if count <= left / item_bytes => Ok(count),
            _ => Err(GgufError::Count {
                what: what.to_string(),
                at,
                count,
                needs: u128::from(count) * item_bytes as u128,
                left: left as u64,
            }),
        }
    }

    /// A count, then as many numbers of `N` bytes.
    pub(super) fn vec<const N: usize, T>(
        &mut self,
        what: impl Display + Copy,
        read: impl Fn([u8; N]) -> T,
    ) -> Result<Vec<T>, GgufError> {
        let count = self.count(N, what)?;
        let bytes = self.take((count * N) as u64, what)?;
        let (items, _) = bytes.as_chunks::<N>();
        Ok(items.iter().map(|&item| read(item)).collect())
    }

    /// A count, then as many items of `item_bytes` or more.
    pub(super) fn vec_with<T>(
        &mut self,
        item_bytes: usize,
        what: impl Display + Copy,
        mut read: impl FnMut(&mut Self) -> Result<T, GgufError>,
    ) -> Result<Vec<T>, GgufError> {
        let count = self.count(item_bytes, what)?;
        // Items are larger in memory than their least size in the file: what a
        // hostile count reserves ahead stays small.
        let mut items = Vec::with_capacity(count.min(1 << 16));
        for _ in 0..count {
            items.push(read(self)?);
        }
        Ok(items)
    }
}
