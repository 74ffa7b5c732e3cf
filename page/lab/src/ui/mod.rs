//! The views of Learn and Lab.

pub mod app;
mod chapter_view;
mod confusion;
mod controls_view;
mod cost;
mod curves_view;
mod header;
mod lab_view;
mod list;
mod pictures;
mod plane;
mod routers;
mod shares;
mod strip;
mod task;
mod tune;
mod words;
