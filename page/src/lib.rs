//! The page of Moescope, compiled to WebAssembly: what visitors see, and what scripts call. How anything is computed is in the
//! crate `moescope`.
//!
//! - `ui`: the yew components; `ui/app.rs` puts them together.
//! - `api`: `window.moescope`.
#![cfg(target_arch = "wasm32")]

use moescope::{engine, model, routing};
use moescope_worker as worker;

mod api;
mod ui;

pub use ui::start;
