//! The page of Moescope, compiled to WebAssembly: what visitors see, and what scripts call. How anything is computed is
//! in the crate `moescope`.
//!
//! - `state`, a crate of its own: what the page knows, and how it changes.
//! - `ui`: the yew components, in folders by what is seen; `app` puts them together.
//! - `i18n`: texts and numbers in the visitor's language.
//! - `site`: what the page fetches from its own site; `version`: which version of the page this is.
//! - `keys`: the keys of the whole page; `dropped`: files dropped anywhere on it.
//! - `worker_client`: the connection to the engine's worker.
//! - `api`: `window.moescope`.
#![cfg(target_arch = "wasm32")]

use moescope::{engine, model, routing};
use moescope_state as state;
use moescope_worker as worker;

mod api;
mod app;
mod dropped;
mod i18n;
mod keys;
mod site;
mod ui;
mod version;
mod worker_client;

pub use app::start;
