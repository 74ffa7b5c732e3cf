//! The parts of a tokenizer that match patterns. They report a pattern that takes too long. All other parts are the
//! `tokenizers` crate's own.

use fancy_regex::Regex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokenizers::tokenizer::{PreTokenizedString, Result, SplitDelimiterBehavior};
use tokenizers::{
    DecoderWrapper, ModelWrapper, NormalizedString, Normalizer, NormalizerWrapper, PostProcessorWrapper, PreTokenizer,
    PreTokenizerWrapper, TokenizerImpl,
};

/// A tokenizer whose normalizer and pre-tokenizer are those of this file.
pub type Parts = TokenizerImpl<ModelWrapper, Normalise, Split, PostProcessorWrapper, DecoderWrapper>;

/// The message for a pattern that takes too long.
pub const TOO_LONG: &str = "a pattern of tokenizer.json takes too many steps on this text; shorten the text";

/// Changes a text before it is split.
pub enum Normalise {
    /// Normalizers that run one after the other.
    All(Vec<Normalise>),
    /// Replaces each match by `content`.
    Replace {
        /// The pattern to look for.
        pattern: Regex,
        /// The replacement.
        content: String,
        /// Set where the pattern takes too long, because the crate does not pass on errors of normalizers.
        failed: Arc<AtomicBool>,
    },
    /// Any other normalizer.
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
    /// Pre-tokenizers that run one after the other.
    All(Vec<Split>),
    /// Splits by a pattern.
    By {
        /// The pattern to look for.
        pattern: Regex,
        /// What happens to a match.
        behavior: SplitDelimiterBehavior,
        /// Whether the text between the matches counts as the match.
        invert: bool,
        /// Whether to put a space before a text that does not start with one.
        space: bool,
    },
    /// Any other pre-tokenizer.
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
