//! Browser features for the views: canvases, frames, storage, theme.

pub(crate) mod canvas;
pub(crate) mod deferred;
pub(crate) mod frame_budget;
pub(crate) mod palette;
pub(crate) mod ready_state;
pub(crate) mod storage;
pub(crate) mod theme;
