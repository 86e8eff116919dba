//! GPT-2's alphabet: a printable character for each byte, so that byte-pair
//! merges can be written down as text.

use std::collections::HashMap;
use std::sync::LazyLock;

static ALPHABET: LazyLock<Alphabet> = LazyLock::new(Alphabet::new);

struct Alphabet {
    chars: [char; 256],
    bytes: HashMap<char, u8>,
}

impl Alphabet {
    fn new() -> Self {
        let mut chars = ['\0'; 256];
        // Printable Latin-1 stands for itself, everything else for the next
        // free character from U+0100 on.
        let mut free = '\u{100}'..;
        for byte in 0..=255u8 {
            let printable = matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
            chars[usize::from(byte)] = if printable {
                char::from(byte)
            } else {
                free.next().unwrap_or_default()
            };
        }
        let bytes = (0..=255)
            .map(|byte: u8| (chars[usize::from(byte)], byte))
            .collect();
        Self { chars, bytes }
    }
}

/// `text` with each of its bytes written as a character.
pub(super) fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| ALPHABET.chars[usize::from(byte)])
        .collect()
}

/// The bytes that `token` stands for, unless it holds other characters.
pub(super) fn decode(token: &str) -> Option<Vec<u8>> {
    token
        .chars()
        .map(|c| ALPHABET.bytes.get(&c).copied())
        .collect()
}

#[cfg(test)]
mod tests {
    use tokenizers::pre_tokenizers::byte_level::ByteLevel;

    use super::*;

    #[test]
    fn alphabet_is_the_tokenizers_crates() {
        let theirs = ByteLevel::alphabet();
        assert_eq!(theirs.len(), 256);
        assert!(ALPHABET.chars.iter().all(|c| theirs.contains(c)));
        assert_eq!(encode(" é\n"), "ĠÃ©Ċ");
    }

    #[test]
    fn every_byte_reads_back() {
        for byte in 0..=255u8 {
            let token = ALPHABET.chars[usize::from(byte)].to_string();
            assert_eq!(decode(&token), Some(vec![byte]));
        }
        assert_eq!(decode("日"), None);
    }
}
