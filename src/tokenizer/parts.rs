//! The parts of a tokenizer that match patterns, and say where a pattern takes too long. The rest is the `tokenizers`
//! crate's.

use fancy_regex::Regex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokenizers::tokenizer::{PreTokenizedString, Result, SplitDelimiterBehavior};
use tokenizers::{
    DecoderWrapper, ModelWrapper, NormalizedString, Normalizer, NormalizerWrapper, PostProcessorWrapper, PreTokenizer,
    PreTokenizerWrapper, TokenizerImpl,
};

/// A whole tokenizer.
pub type Parts = TokenizerImpl<ModelWrapper, Normalise, Split, PostProcessorWrapper, DecoderWrapper>;

/// What is said of a pattern that takes too long.
pub const TOO_LONG: &str = "a pattern of tokenizer.json takes too many steps on this text; shorten the text";

/// Changes a text before it is split.
pub enum Normalise {
    /// One after the other.
    All(Vec<Normalise>),
    /// Puts `content` in the place of each match.
    Replace {
        /// What is looked for.
        pattern: Regex,
        /// What takes its place.
        content: String,
        /// Set where the pattern takes too long: the crate does not pass errors of normalizers on.
        failed: Arc<AtomicBool>,
    },
    /// Any other.
    Other(NormalizerWrapper),
}

impl Normalizer for Normalise {
    fn normalize(&self, text: &mut NormalizedString) -> Result<()> {
        match self {
            Self::All(all) => all.iter().try_for_each(|one| one.normalize(text)),
            Self::Replace { pattern, content, failed } => {
                if text.replace(pattern, content).is_err() {
                    failed.store(true, Ordering::Relaxed);
                }
                Ok(())
            }
            Self::Other(other) => other.normalize(text),
        }
    }
}

/// Splits a text into words.
pub enum Split {
    /// One after the other.
    All(Vec<Split>),
    /// By a pattern.
    By {
        /// What is looked for.
        pattern: Regex,
        /// What becomes of a match.
        behavior: SplitDelimiterBehavior,
        /// What does not match is the match.
        invert: bool,
        /// Puts a space before a text that begins with none.
        space: bool,
    },
    /// Any other.
    Other(PreTokenizerWrapper),
}

impl PreTokenizer for Split {
    fn pre_tokenize(&self, text: &mut PreTokenizedString) -> Result<()> {
        match self {
            Self::All(all) => all.iter().try_for_each(|one| one.pre_tokenize(text)),
            Self::By { pattern, behavior, invert, space } => text.split(|_, mut piece| {
                if *space && !piece.get().starts_with(' ') {
                    piece.prepend(" ");
                }
                let pieces = match invert {
                    true => piece.split(tokenizers::tokenizer::pattern::Invert(pattern), *behavior),
                    false => piece.split(pattern, *behavior),
                };
                pieces.map_err(|_| TOO_LONG.into())
            }),
            Self::Other(other) => other.pre_tokenize(text),
        }
    }
}
