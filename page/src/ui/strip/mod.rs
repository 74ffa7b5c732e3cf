//! The strip of tokens.

pub(crate) mod layer_select;
pub(crate) mod playback;
pub(crate) mod strip_part;
pub(crate) mod strip_tools;
pub(crate) mod strip_view;
pub(crate) mod token_chip;
pub(crate) mod token_strip;
pub(crate) mod token_text;
