//! The stage: a live picture of how one token is computed.

pub(crate) mod stage_card;
