//! What a model costs, and the arithmetic of Mixtral.

pub(crate) mod cost_card;
pub(crate) mod mixtral_card;
