//! Tokens and guesses as they are shown.

use crate::engine::Logits;
use crate::routing::Guess;
use crate::tokenizer::{Token, Tokenizer};

/// Next-token guesses kept for each token.
const GUESSES: usize = 5;

/// The most probable next tokens.
pub fn guesses(logits: &Logits<'_>, tokenizer: Option<&Tokenizer>) -> Vec<Guess> {
    let text = |id: u32| tokenizer.map_or_else(|| format!("<{id}>"), |t| t.show(id));
    let guess = |(id, probability)| Guess { id, text: text(id), probability };
    logits.most_probable(GUESSES).into_iter().map(guess).collect()
}

/// The shown tokens of `ids`, from `from` on.
pub fn tokens(ids: &[u32], from: usize, tokenizer: Option<&Tokenizer>) -> Vec<Token> {
    match tokenizer {
        Some(tokenizer) => tokenizer.tokens(ids, from),
        None => ids[from..].iter().map(|&id| Token { id, text: format!("<{id}>"), bytes: None }).collect(),
    }
}
