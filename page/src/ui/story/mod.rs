//! Stories: the row of cards, and the story in progress.

pub(crate) mod story_cards;
pub(crate) mod story_step;
