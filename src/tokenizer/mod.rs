//! Text to ids by `tokenizer.json` (the `tokenizers` crate), and ids to what is shown of them.
//!
//! ```
//! use moescope::tokenizer::Tokenizer;
//!
//! let json = std::fs::read("www/models/main/tokenizer.json").unwrap();
//! let tokenizer = Tokenizer::new(&json, 2048)?;
//! let (ids, _) = tokenizer.encode("a na\u{ef}ve text")?;
//! let text: String = tokenizer.tokens(&ids, 0).into_iter().map(|token| token.text).collect();
//! assert_eq!(text, "a na\u{ef}ve text");
//! # Ok::<(), moescope::error::Error>(())
//! ```

mod pieces;
mod token;

pub use pieces::{Alphabet, Pieces, byte_of_char};
pub use token::Token;

use crate::error::{Error, Result};
use std::collections::HashMap;
use tokenizers::Tokenizer as HfTokenizer;

/// A model's tokenizer.
pub struct Tokenizer {
    inner: HfTokenizer,
    bytes: HashMap<u32, Vec<u8>>,
}

impl Tokenizer {
    /// Reads `tokenizer.json` for a model whose vocabulary has `vocabulary` entries.
    pub fn new(json: &[u8], vocabulary: usize) -> Result<Self> {
        let inner = HfTokenizer::from_bytes(json)
            .map_err(|e| Error::model("tokenizer.json", format!("is no tokenizer of Hugging Face's format ({e})")))?;
        let vocab = inner.get_vocab(true);
        if let Some((token, id)) = vocab.iter().max_by_key(|(_, id)| **id).filter(|(_, id)| **id as usize >= vocabulary)
        {
            let why = format!(
                "gives \"{token}\" the id {id}, but the model's vocab_size is {vocabulary}; the two files do not \
                 belong together"
            );
            return Err(Error::model("tokenizer.json", why));
        }
        let special = inner.get_added_tokens_decoder();
        let alphabet = alphabet(json);
        let bytes = vocab.into_iter().map(|(token, id)| match special.contains_key(&id) {
            true => (id, token.into_bytes()),
            false => (id, pieces::token_bytes(&token, alphabet)),
        });
        let bytes = bytes.collect();
        Ok(Self { inner, bytes })
    }

    /// The ids of `text`, with the byte offset where each token ends.
    pub fn encode(&self, text: &str) -> Result<(Vec<u32>, Vec<usize>)> {
        let encoding = self
            .inner
            .encode(text, true)
            .map_err(|e| Error::Input(format!("the text could not be tokenized ({e})")))?;
        let ends = encoding.get_offsets().iter().map(|&(_, end)| end).collect();
        Ok((encoding.get_ids().to_vec(), ends))
    }

    /// What the token `id` is in bytes; an id that the tokenizer does not know has none.
    pub fn bytes(&self, id: u32) -> &[u8] {
        self.bytes.get(&id).map_or(&[], Vec::as_slice)
    }

    /// What the token looks like by itself: its text, or its bytes in hexadecimal where they are no whole
    /// characters.
    pub fn show(&self, id: u32) -> String {
        match std::str::from_utf8(self.bytes(id)) {
            Ok("") => format!("<{id}>"),
            Ok(text) => text.to_owned(),
            Err(_) => self.bytes(id).iter().map(|byte| format!("\\x{byte:02X}")).collect(),
        }
    }

    /// The shown tokens of `ids`, from `from` on; the ids before it only complete characters.
    pub fn tokens(&self, ids: &[u32], from: usize) -> Vec<Token> {
        let mut pieces = Pieces::default();
        let shown = ids.iter().map(|&id| pieces.push(id, self.bytes(id)));
        shown.skip(from).collect()
    }
}

/// Byte-level where the pre-tokenizer or the decoder is.
fn alphabet(json: &[u8]) -> Alphabet {
    let tokenizer: serde_json::Value = serde_json::from_slice(json).unwrap_or_default();
    let byte_level = |part: &str| tokenizer[part].to_string().contains("\"ByteLevel\"");
    if byte_level("pre_tokenizer") || byte_level("decoder") { Alphabet::ByteLevel } else { Alphabet::Characters }
}
