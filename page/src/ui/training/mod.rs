//! How the model learned.

pub(crate) mod training_card;
