//! The frame of the page: header, notices, help.

pub(crate) mod backend_badge;
pub(crate) mod drawer;
pub(crate) mod header;
pub(crate) mod headline;
pub(crate) mod help;
pub(crate) mod live_region;
pub(crate) mod model_select;
pub(crate) mod notices;
pub(crate) mod open_model;
pub(crate) mod preview_card;
pub(crate) mod share;
