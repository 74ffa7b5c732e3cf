//! The cost of a model, and a calculator.

pub(crate) mod cost_card;
pub(crate) mod mixtral_card;
pub(crate) mod residency_card;
