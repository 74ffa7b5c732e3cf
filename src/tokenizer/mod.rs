//! Turns text into ids by `tokenizer.json` (the `tokenizers` crate), and ids into text to show.
//!
//! ```
//! use moescope::tokenizer::Tokenizer;
//!
//! let json = std::fs::read("www/models/main/tokenizer.json").unwrap();
//! let tokenizer = Tokenizer::new(&json, 8192)?;
//! let (ids, _) = tokenizer.encode("a na\u{ef}ve text")?;
//! let text: String = tokenizer.tokens(&ids, 0).into_iter().map(|token| token.text).collect();
//! assert_eq!(text, "a na\u{ef}ve text");
//! # Ok::<(), moescope::error::Error>(())
//! ```

mod charsmap;
#[cfg(not(target_arch = "wasm32"))]
pub mod chat;
mod file;
mod guard;
mod parts;
mod pattern;
mod pieces;
mod token;

pub use pieces::{Alphabet, Pieces, byte_of_char};
pub use token::Token;

use crate::error::{Error, Result};
use guard::guarded;
use parts::{Parts, TOO_LONG};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A model's tokenizer.
pub struct Tokenizer {
    inner: Parts,
    bytes: HashMap<u32, Vec<u8>>,
    /// Ids of control tokens.
    control: HashSet<u32>,
    /// Ids of the model's vocabulary for which the tokenizer has no token.
    nameless: Vec<u32>,
    /// Set where a pattern takes too long in a normalizer.
    failed: Arc<AtomicBool>,
}

impl Tokenizer {
    /// Reads `tokenizer.json` for a model with `vocabulary` entries. As in `transformers`, added tokens may have
    /// larger ids; a text that contains them is rejected when it runs.
    pub fn new(json: &[u8], vocabulary: usize) -> Result<Self> {
        let wrong = |why: String| Error::model("tokenizer.json", why);
        let refused = |why: String| {
            wrong(format!(
                "is no tokenizer of Hugging Face's format that can be used ({why}); \
                 fetch it again, or save it with a newer version of transformers"
            ))
        };
        let json: serde_json::Value = serde_json::from_slice(json).map_err(|e| refused(format!("no JSON: {e}")))?;
        let (alphabet, failed) = (alphabet(&json), Arc::default());
        let inner = guarded(|| file::build(json, &failed))
            .map_err(|panic| refused(format!("{PANICKED}: {panic}")))?
            .map_err(refused)?;
        let special = inner.get_added_tokens_decoder();
        let vocab = inner.get_vocab(true);
        let beyond = vocab.iter().filter(|(_, id)| **id as usize >= vocabulary && !special.contains_key(*id));
        if let Some((token, id)) = beyond.max_by_key(|(_, id)| **id) {
            return Err(wrong(format!(
                "gives \"{token}\" the id {id}, but the model's vocab_size is {vocabulary}; use the model's own file"
            )));
        }
        let control = special.iter().filter(|(_, token)| token.special).map(|(id, _)| *id).collect();
        let bytes = vocab.into_iter().map(|(token, id)| match special.contains_key(&id) {
            true => (id, token.into_bytes()),
            false => (id, pieces::token_bytes(&token, alphabet)),
        });
        let bytes: HashMap<_, _> = bytes.collect();
        let nameless: Vec<u32> = (0..vocabulary as u32).filter(|id| !bytes.contains_key(id)).collect();
        let nameless = if nameless.len() == vocabulary { Vec::new() } else { nameless };
        Ok(Self { inner, bytes, control, nameless, failed })
    }

    /// The ids of `text`, with the byte offset where each token ends. Control tokens that the tokenizer adds around a
    /// text end where the text before them ends; control tokens within the text are those that it names.
    pub fn encode(&self, text: &str) -> Result<(Vec<u32>, Vec<usize>)> {
        self.encoded(text, true)
    }

    /// The ids of a text that has all control tokens, as a chat template writes it.
    pub fn encode_whole(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.encoded(text, false)?.0)
    }

    fn encoded(&self, text: &str, around: bool) -> Result<(Vec<u32>, Vec<usize>)> {
        let wrong = |why: String| Error::Input(format!("the text could not be tokenized ({why})"));
        self.failed.store(false, Ordering::Relaxed);
        let encoding = guarded(|| self.inner.encode(text, around))
            .map_err(|panic| wrong(format!("{PANICKED}: {panic}; change the text, or tokenizer.json")))?
            .map_err(|e| wrong(e.to_string()))?;
        if self.failed.load(Ordering::Relaxed) {
            return Err(wrong(TOO_LONG.into()));
        }
        let ends = encoding.get_offsets().iter().map(|&(_, end)| end).collect();
        Ok((encoding.get_ids().to_vec(), ends))
    }

    /// Ids of the model's vocabulary for which the tokenizer has no token: the vocabulary is often padded. Empty where
    /// the tokenizer has no tokens at all.
    pub fn nameless(&self) -> &[u32] {
        &self.nameless
    }

    /// The bytes of the token `id`; empty for an unknown id.
    pub fn bytes(&self, id: u32) -> &[u8] {
        self.bytes.get(&id).map_or(&[], Vec::as_slice)
    }

    /// The token `id` as text to show: its characters, its bytes in hexadecimal where they are not whole characters,
    /// or its id in angle brackets where it has no token.
    pub fn show(&self, id: u32) -> String {
        match std::str::from_utf8(self.bytes(id)) {
            Ok("") => format!("<{id}>"),
            Ok(text) => text.to_owned(),
            Err(_) => self.bytes(id).iter().map(|byte| format!("\\x{byte:02X}")).collect(),
        }
    }

    /// The tokens `ids[from..]` as they are shown. The ids before `from` only complete a character that spans several
    /// tokens.
    pub fn tokens(&self, ids: &[u32], from: usize) -> Vec<Token> {
        let mut pieces = Pieces::default();
        let shown = ids.iter().map(|&id| match self.bytes.get(&id) {
            Some(bytes) => Token { control: self.control.contains(&id), ..pieces.push(id, bytes) },
            None => Token { id, text: self.show(id), bytes: Some(Vec::new()), control: false },
        });
        shown.skip(from).collect()
    }
}

/// The message for a panic of the `tokenizers` crate.
const PANICKED: &str = "the tokenizers library failed";

/// How the vocabulary writes bytes: `ByteLevel` where the pre-tokenizer or the decoder is byte-level.
fn alphabet(tokenizer: &serde_json::Value) -> Alphabet {
    let byte_level = |part: &str| tokenizer[part].to_string().contains("\"ByteLevel\"");
    if byte_level("pre_tokenizer") || byte_level("decoder") { Alphabet::ByteLevel } else { Alphabet::Characters }
}
