//! Server-sent events, as far as answers are streamed by them.
//!
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation>

/// Longest event, in bytes: far beyond any token with all its log-probabilities.
const LONGEST_EVENT: usize = 16 << 20;

/// An event stream that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SseError {
    /// The stream is text, and this is none.
    #[error("an event that is no UTF-8")]
    NotUtf8,
    /// More than can be an answer's.
    #[error("an event of more than {LONGEST_EVENT} bytes")]
    TooLong,
}

/// Takes bytes as they come and gives the data of whole events.
#[derive(Debug, Default)]
pub(crate) struct Events {
    /// The line that is not over yet.
    line: Vec<u8>,
    /// Data of the event that is not over yet, a newline after each line.
    data: Vec<u8>,
    /// Whether the last byte was a carriage return, which a newline may follow.
    after_return: bool,
}

impl Events {
    /// Gives `each` the data of every event that `bytes` complete. Fields other than
    /// `data` say nothing about answers and are passed over, as are comments.
    ///
    /// # Errors
    /// [`SseError`], after which the stream is not to be read on.
    pub(crate) fn push(
        &mut self,
        bytes: &[u8],
        each: &mut dyn FnMut(&str),
    ) -> Result<(), SseError> {
        for &byte in bytes {
            let second_half = std::mem::replace(&mut self.after_return, byte == b'\r');
            match byte {
                b'\n' if second_half => {}
                b'\n' | b'\r' => self.end_line(each)?,
                _ if self.line.len() + self.data.len() >= LONGEST_EVENT => {
                    return Err(SseError::TooLong);
                }
                _ => self.line.push(byte),
            }
        }
        Ok(())
    }

    fn end_line(&mut self, each: &mut dyn FnMut(&str)) -> Result<(), SseError> {
        if self.line.is_empty() {
            if self.data.pop().is_some() {
                let event = std::str::from_utf8(&self.data).map_err(|_| SseError::NotUtf8)?;
                each(event);
            }
            self.data.clear();
            return Ok(());
        }
        if let Some(value) = self.line.strip_prefix(b"data:") {
            self.data
                .extend_from_slice(value.strip_prefix(b" ").unwrap_or(value));
            self.data.push(b'\n');
        } else if self.line == b"data" {
            self.data.push(b'\n');
        }
        self.line.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(pieces: &[&[u8]]) -> Result<Vec<String>, SseError> {
        let (mut events, mut data) = (Events::default(), Vec::new());
        for piece in pieces {
            events.push(piece, &mut |event| data.push(event.to_owned()))?;
        }
        Ok(data)
    }

    #[test]
    fn examples_of_the_standard() {
        let stock = b"data: YHOO\ndata: +2\ndata: 10\n\n";
        assert_eq!(all(&[stock]).unwrap(), ["YHOO\n+2\n10"]);
        let streams = b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n";
        assert_eq!(
            all(&[streams]).unwrap(),
            ["first event", "second event", " third event"]
        );
        // An event whose last blank line does not come is none.
        assert_eq!(all(&[b"data\n\ndata\ndata\n\ndata:"]).unwrap(), ["", "\n"]);
    }

    #[test]
    fn lines_end_in_three_ways() {
        for end in ["\n", "\r", "\r\n"] {
            let text = format!("data: a{end}{end}data: b{end}{end}");
            assert_eq!(all(&[text.as_bytes()]).unwrap(), ["a", "b"], "{end:?}");
        }
    }

    #[test]
    fn what_is_no_text_is_refused() {
        assert_eq!(all(&[b"data: \xff\xfe\n\n"]), Err(SseError::NotUtf8));
        let endless = vec![b'x'; LONGEST_EVENT + 1];
        assert_eq!(all(&[&endless]), Err(SseError::TooLong));
    }

    proptest! {
        #[test]
        fn how_a_stream_is_cut_does_not_matter(
            bytes in prop::collection::vec(prop_oneof![
                Just(b'\n'), Just(b'\r'), Just(b':'), Just(b' '),
                Just(b'd'), Just(b'a'), Just(b't'), any::<u8>(),
            ], 0..200),
            cut in 0usize..200,
        ) {
            let cut = cut.min(bytes.len());
            prop_assert_eq!(all(&[&bytes[..cut], &bytes[cut..]]), all(&[&bytes]));
        }
    }
}
