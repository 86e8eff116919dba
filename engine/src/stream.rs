//! Text from bytes that come in pieces.

/// Decodes UTF-8 as tokens bring it, and holds bytes back until they make whole
/// characters.
///
/// ```
/// use harness_engine::StreamDecoder;
///
/// // A smile of four bytes, in two tokens.
/// let mut decoder = StreamDecoder::default();
/// assert_eq!(decoder.push(b"so \xf0\x9f"), "so ");
/// assert_eq!(decoder.push(b"\x98\x80!"), "😀!");
/// assert_eq!(decoder.finish(), "");
/// ```
#[derive(Clone, Debug, Default)]
pub struct StreamDecoder {
    pending: Vec<u8>,
}

impl StreamDecoder {
    /// The text that `bytes` complete, often less or more than their own.
    /// Bytes that no continuation can make valid become U+FFFD.
    ///
    /// ```
    /// use harness_engine::StreamDecoder;
    ///
    /// let mut decoder = StreamDecoder::default();
    /// assert_eq!(decoder.push(&[0xc3]), "");
    /// assert_eq!(decoder.push(&[0xa9]), "é");
    /// assert_eq!(decoder.push(&[0xff]), "\u{fffd}", "nothing can follow that makes it valid");
    /// ```
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let complete = complete_len(&self.pending);
        let text = String::from_utf8_lossy(&self.pending[..complete]).into_owned();
        self.pending.drain(..complete);
        text
    }

    /// What is left at the end: nothing, or U+FFFD for a character cut short.
    ///
    /// ```
    /// use harness_engine::StreamDecoder;
    ///
    /// let mut decoder = StreamDecoder::default();
    /// decoder.push("caf\u{e9}".as_bytes().split_at(4).0); // Cut within the é.
    /// assert_eq!(decoder.finish(), "\u{fffd}");
    /// ```
    #[must_use]
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.pending).into_owned()
    }
}

/// Length of `bytes` without a last character that more bytes could complete.
fn complete_len(bytes: &[u8]) -> usize {
    let mut at = 0;
    for chunk in bytes.utf8_chunks() {
        at += chunk.valid().len();
        let invalid = chunk.invalid();
        let last = at + invalid.len() == bytes.len();
        if last && !invalid.is_empty() && could_continue(invalid) {
            return at;
        }
        at += invalid.len();
    }
    at
}

/// Whether `bytes`, an invalid sequence at the end of input, is a prefix of a
/// character. `utf8_chunks` cuts sequences at the first byte that rules one
/// out, so only the length is left to tell.
fn could_continue(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unfinished_characters_are_held_back() {
        assert_eq!(complete_len("aé".as_bytes()), 3);
        assert_eq!(complete_len(b"a\xc3"), 1);
        assert_eq!(complete_len(b"\xf0\x9f\xa6"), 0);
        assert_eq!(complete_len(b"\xff"), 1);
        // A lead byte that another lead byte follows will never be finished.
        assert_eq!(complete_len(b"\xe2\x82a"), 3);
        assert_eq!(complete_len(b"\xc3\xc3"), 1);
    }
}
