//! The strip of tokens.

pub(crate) mod layer_select;
pub(crate) mod playback;
pub(crate) mod strip_card;
pub(crate) mod strip_part;
pub(crate) mod token_chip;
pub(crate) mod token_strip;
pub(crate) mod token_text;
