//! The model's training.

pub(crate) mod training_card;
