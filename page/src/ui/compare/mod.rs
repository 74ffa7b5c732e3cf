//! Comparisons of two models, policies or training snapshots.

pub(crate) mod compare_card;
pub(crate) mod compare_snapshots;
pub(crate) mod compared_strip;
