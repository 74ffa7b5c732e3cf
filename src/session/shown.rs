//! Tokens and guesses with the text that is shown for them.

use crate::engine::Logits;
use crate::routing::Guess;
use crate::tokenizer::{Token, Tokenizer};

/// Number of next-token guesses kept for each token.
const GUESSES: usize = 5;

/// The most probable next tokens, at most `GUESSES`.
pub fn guesses(logits: &Logits<'_>, tokenizer: Option<&Tokenizer>) -> Vec<Guess> {
    let text = |id: u32| tokenizer.map_or_else(|| format!("<{id}>"), |t| t.show(id));
    let guess = |(id, probability)| Guess { id, text: text(id), probability };
    logits.most_probable(GUESSES).into_iter().map(guess).collect()
}

/// The tokens `ids[from..]` as they are shown; without a tokenizer, as ids in angle brackets.
pub fn tokens(ids: &[u32], from: usize, tokenizer: Option<&Tokenizer>) -> Vec<Token> {
    match tokenizer {
        Some(tokenizer) => tokenizer.tokens(ids, from),
        None => ids[from..].iter().map(|&id| Token { id, text: format!("<{id}>"), ..Token::default() }).collect(),
    }
}
