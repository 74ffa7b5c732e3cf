//! Beat the router: the visitor chooses the experts of marked tokens.

pub(crate) mod beat_card;
