//! Small parts that many views use.

pub(crate) mod bar;
pub(crate) mod dialog;
pub(crate) mod icon;
pub(crate) mod popup;
pub(crate) mod radio_group;
