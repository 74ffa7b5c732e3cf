//! Stories: the row of cards, and the one that is told.

pub(crate) mod story_cards;
pub(crate) mod story_step;
