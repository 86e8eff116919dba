//! Text as it comes, held back where it may yet turn out to be a stop string.

use engine::StreamDecoder;

/// Turns the bytes of tokens into text that is certain: whole characters only, and
/// none that may be part of a stop string.
///
/// The text ends before the stop string whose last byte comes first; of several
/// that end there, before the longest. That does not depend on how the bytes are
/// divided into tokens.
///
/// ```
/// use harness_suites::generation::TextStream;
///
/// let stops = ["\nUser:".to_owned()];
/// let mut stream = TextStream::new(&stops);
/// let mut shown = Vec::new();
/// let mut push = |bytes: &[u8]| stream.push(bytes, &mut |text| shown.push(text.to_owned()));
/// assert_eq!(push(b"Yes."), None);
/// assert_eq!(push(b"\nUse"), None);
/// assert_eq!(push(b" it\nUser: "), Some("\nUser:"));
/// assert_eq!(shown, ["Yes.", "\nUse it"]);
/// ```
#[derive(Debug)]
pub struct TextStream<'a> {
    stops: &'a [String],
    decoder: StreamDecoder,
    /// Text that is not certain yet.
    held: String,
}

impl<'a> TextStream<'a> {
    /// A stream that ends at any of `stops`.
    ///
    /// ```
    /// use harness_suites::generation::TextStream;
    ///
    /// let stops = ["\n\n".to_owned(), "END".to_owned()];
    /// let mut stream = TextStream::new(&stops);
    /// let mut shown = String::new();
    /// assert_eq!(stream.push(b"The END\n\n", &mut |text| shown += text), Some("END"));
    /// assert_eq!(shown, "The ");
    /// ```
    #[must_use]
    pub fn new(stops: &'a [String]) -> Self {
        Self {
            stops,
            decoder: StreamDecoder::default(),
            held: String::new(),
        }
    }

    /// Takes the bytes of one token and gives `emit` the text that has become
    /// certain, if any has. Returns the stop string, if the text has come
    /// to one; the stream is over then.
    ///
    /// ```
    /// use harness_suites::generation::TextStream;
    ///
    /// let mut stream = TextStream::new(&[]);
    /// let mut shown = String::new();
    /// // Half a character is not shown.
    /// stream.push(b"caf\xc3", &mut |text| shown += text);
    /// stream.push(b"\xa9", &mut |text| {
    ///     assert_eq!(text, "é");
    ///     shown += text;
    /// });
    /// assert_eq!(shown, "café");
    /// ```
    pub fn push(&mut self, bytes: &[u8], emit: &mut dyn FnMut(&str)) -> Option<&'a str> {
        let text = self.decoder.push(bytes);
        self.take(&text, emit)
    }

    /// Gives `emit` what is left once no more tokens come.
    ///
    /// ```
    /// use harness_suites::generation::TextStream;
    ///
    /// let stops = ["</s>".to_owned()];
    /// let mut stream = TextStream::new(&stops);
    /// let mut shown = String::new();
    /// stream.push(b"a < b and c <", &mut |text| shown += text);
    /// assert_eq!(shown, "a < b and c ");
    /// stream.finish(&mut |text| shown += text);
    /// assert_eq!(shown, "a < b and c <");
    /// ```
    pub fn finish(mut self, emit: &mut dyn FnMut(&str)) -> Option<&'a str> {
        let rest = std::mem::take(&mut self.decoder).finish();
        let stop = self.take(&rest, emit);
        self.release(self.held.len(), emit);
        stop
    }

    fn take(&mut self, text: &str, emit: &mut dyn FnMut(&str)) -> Option<&'a str> {
        self.held.push_str(text);
        let found = self.stops.iter().filter_map(|stop| {
            let start = self.held.find(stop.as_str())?;
            Some((start + stop.len(), start, stop.as_str()))
        });
        // Ordered by end, then by start: the longest of those that end together.
        if let Some((_, start, stop)) = found.min() {
            self.release(start, emit);
            self.held.clear();
            self.decoder = StreamDecoder::default();
            return Some(stop);
        }
        self.release(self.certain(), emit);
        None
    }

    /// Lets go of the first `length` bytes that are held.
    fn release(&mut self, length: usize, emit: &mut dyn FnMut(&str)) {
        if length > 0 {
            emit(&self.held[..length]);
            self.held.drain(..length);
        }
    }

    /// Length of the held text before the first place where a stop string may
    /// have begun.
    fn certain(&self) -> usize {
        let may_begin = |rest: &str| self.stops.iter().any(|stop| stop.starts_with(rest));
        let mut places = self.held.char_indices().map(|(at, _)| at);
        places
            .find(|&at| may_begin(&self.held[at..]))
            .unwrap_or(self.held.len())
    }
}
