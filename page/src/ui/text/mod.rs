//! The text: text box, examples, generation.

pub(crate) mod examples;
pub(crate) mod generate;
pub(crate) mod text_box;
pub(crate) mod text_field;
