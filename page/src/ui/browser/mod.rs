//! Browser features for the views: canvases, frames, storage, theme.

pub(crate) use moescope_common::{canvas, palette, storage, theme};

pub(crate) mod deferred;
pub(crate) mod frame_budget;
pub(crate) mod ready_state;
