//! A token with the text that is shown for it.

use serde::{Deserialize, Serialize};

/// A token with the text that is shown for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Id in the tokenizer's vocabulary.
    pub id: u32,
    /// The characters that this token completes; empty for a token that ends within a character. Concatenated over all
    /// tokens this is the text.
    pub text: String,
    /// The token's own bytes, where they differ from `text` (tokens that are a part of a character).
    pub bytes: Option<Vec<u8>>,
    /// Whether it is a control token, such as the beginning of a text or the end of a turn.
    // Files of before have no such field. It is always written, because the page's messages have no names of fields.
    #[serde(default)]
    pub control: bool,
}

impl Token {
    /// Bytes of the text that it stands for; none for a control token.
    pub fn text_bytes(&self) -> usize {
        if self.control { 0 } else { self.text.len() }
    }
}
