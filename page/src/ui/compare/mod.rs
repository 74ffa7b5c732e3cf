//! Two models, policies or training steps side by side.

pub(crate) mod compare_card;
pub(crate) mod compare_snapshots;
pub(crate) mod compared_strip;
