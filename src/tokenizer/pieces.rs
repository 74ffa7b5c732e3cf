//! Joins byte-level tokens into characters. A character may be cut into several tokens: the last of them carries the
//! character, and those before it carry only their bytes. So an appended token never changes how earlier tokens are
//! shown, and no replacement character appears.

use super::token::Token;

/// Joins tokens into characters, one token after the other.
#[derive(Default)]
pub struct Pieces {
    pending: Vec<u8>,
}

impl Pieces {
    /// Adds the token `id` with its `bytes`. Returns the token as it is shown.
    pub fn push(&mut self, id: u32, bytes: &[u8]) -> Token {
        self.pending.extend_from_slice(bytes);
        let mut text = String::new();
        loop {
            match std::str::from_utf8(&self.pending) {
                Ok(rest) => {
                    text.push_str(rest);
                    self.pending.clear();
                    break;
                }
                Err(error) => {
                    let valid = error.valid_up_to();
                    text.push_str(std::str::from_utf8(&self.pending[..valid]).expect("checked just above"));
                    let Some(wrong) = error.error_len() else {
                        self.pending.drain(..valid);
                        break;
                    };
                    // Bytes that can never become a character are not part of the text. A model may generate them.
                    self.pending.drain(..valid + wrong);
                }
            }
        }
        let bytes = (text.as_bytes() != bytes).then(|| bytes.to_vec());
        Token { id, text, bytes, control: false }
    }
}

/// How a vocabulary writes bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alphabet {
    /// Each byte as one printable character (GPT-2).
    ByteLevel,
    /// Each character as itself, a space as U+2581, and a single byte as `<0xE4>` (SentencePiece).
    Characters,
}

/// The bytes that a vocabulary entry stands for.
pub fn token_bytes(token: &str, alphabet: Alphabet) -> Vec<u8> {
    match alphabet {
        Alphabet::ByteLevel => token.chars().map(byte_of_char).collect::<Option<_>>().unwrap_or_else(|| token.into()),
        Alphabet::Characters => match byte_entry(token) {
            Some(byte) => vec![byte],
            None => token.replace('\u{2581}', " ").into_bytes(),
        },
    }
}

/// The byte that `<0xE4>` stands for.
fn byte_entry(token: &str) -> Option<u8> {
    u8::from_str_radix(token.strip_prefix("<0x")?.strip_suffix('>')?, 16).ok()
}

/// The byte that a character of GPT-2's byte alphabet stands for: printable Latin-1 characters stand for
/// themselves, the other 68 bytes are U+0100 onwards in order (`bytes_to_unicode` in GPT-2's encoder.py).
pub fn byte_of_char(character: char) -> Option<u8> {
    let code = character as u32;
    match code {
        0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => Some(code as u8),
        0x100..=0x120 => Some((code - 0x100) as u8),
        0x121..=0x142 => Some((code - 0x121 + 0x7F) as u8),
        0x143 => Some(0xAD),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_byte_alphabet_is_whole() {
        let mut bytes: Vec<u8> = (0..=0x143u32).filter_map(char::from_u32).filter_map(byte_of_char).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
        assert_eq!(byte_of_char('Ġ'), Some(b' '));
        assert_eq!(byte_of_char('Ċ'), Some(b'\n'));
    }

    #[test]
    fn the_completing_piece_carries_the_character() {
        let mut pieces = Pieces::default();
        let tokens = [pieces.push(1, &[b'a', 0xE4]), pieces.push(2, &[0xBD]), pieces.push(3, &[0xA0, b'!'])];
        assert_eq!(tokens.map(|t| t.text), ["a", "", "你!"].map(String::from));
    }

    #[test]
    fn bytes_that_are_no_character_are_kept_out_of_the_text() {
        let mut pieces = Pieces::default();
        let token = |id, text: &str, bytes: &[u8]| {
            let bytes = (text.as_bytes() != bytes).then(|| bytes.to_vec());
            Token { id, text: text.into(), bytes, control: false }
        };
        assert_eq!(pieces.push(1, &[0xFF, b'x']), token(1, "x", &[0xFF, b'x']));
        assert_eq!(pieces.push(2, &[0xE4]), token(2, "", &[0xE4]));
        assert_eq!(pieces.push(3, b"y"), token(3, "y", b"y"));
    }

    #[test]
    fn sentencepiece_entries() {
        assert_eq!(token_bytes("\u{2581}thé", Alphabet::Characters), " thé".as_bytes());
        assert_eq!(token_bytes("<0xE4>", Alphabet::Characters), [0xE4]);
    }

    #[test]
    fn byte_level_entries() {
        assert_eq!(token_bytes("Ġthe", Alphabet::ByteLevel), b" the");
        assert_eq!(token_bytes("<0xE4>", Alphabet::ByteLevel), b"<0xE4>");
    }
}
