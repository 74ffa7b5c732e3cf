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
}
