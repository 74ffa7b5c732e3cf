//! The stage: a picture of how one token is computed.

mod open_layer;
mod places;
mod small_layer;
pub(crate) mod stage_card;
