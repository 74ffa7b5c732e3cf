//! Changing the routing, and what came of it.

pub(crate) mod change_bar;
pub(crate) mod effect_view;
pub(crate) mod policy_card;
pub(crate) mod policy_words;
pub(crate) mod sweeps;
pub(crate) mod writes_view;
