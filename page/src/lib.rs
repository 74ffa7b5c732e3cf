//! The page of Moescope, compiled to WebAssembly: what visitors see and scripts call. The computations are in the
//! crate `moescope`.
//!
//! - `state`, a crate of its own: the page's data and how it changes.
//! - `ui`: the yew components, in folders by what the visitor sees; `app` puts them together.
//! - `i18n`: messages and numbers in the visitor's language.
//! - `site`: what the page fetches from its own site; `version`: the page's version.
//! - `keys`: the keys of the whole page; `dropped`: files dropped on it.
//! - `worker_client`: the connection to the engine's worker.
//! - `api`: `window.moescope`; `embed`: the same for a page of another site that embeds this one.
#![cfg(target_arch = "wasm32")]

use moescope::{engine, model, routing};
use moescope_state as state;
use moescope_worker as worker;

mod api;
mod app;
mod dropped;
mod embed;
mod i18n;
mod kept;
mod keys;
mod site;
mod ui;
mod version;
mod worker_client;

pub use app::start;
