//! A token as people see it.

use serde::{Deserialize, Serialize};

/// A token as it is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Id in the tokenizer's vocabulary.
    pub id: u32,
    /// The characters that this token completes. Concatenated over the tokens it is the text.
    /// Empty for a piece of a character: the piece that completes the character carries it.
    pub text: String,
    /// This token's own bytes, where they are not `text` to the letter (pieces of a character).
    pub bytes: Option<Vec<u8>>,
}
