//! Changes of the routing, and their effects.

pub(crate) mod change_bar;
pub(crate) mod effect_view;
pub(crate) mod policy_card;
pub(crate) mod policy_words;
pub(crate) mod sweeps;
pub(crate) mod writes_view;
