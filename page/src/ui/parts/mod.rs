//! Small parts that many views use.

pub(crate) use moescope_common::icon;

pub(crate) mod bar;
pub(crate) mod dialog;
pub(crate) mod popup;
pub(crate) mod radio_group;
pub(crate) mod scroller;
