//! The worker that owns the engine: its protocol and its main loop. It is a crate of its own and compiled for size, as
//! the page is, because the engine takes most of the time. Modules that need no browser (`address`, `opened`,
//! `protocol`) also compile natively, for tests and for the page's state.

pub mod address;
pub mod opened;
pub mod protocol;

#[cfg(target_arch = "wasm32")]
mod arriving;
#[cfg(target_arch = "wasm32")]
mod clock;
#[cfg(target_arch = "wasm32")]
mod desk;
#[cfg(target_arch = "wasm32")]
mod download;
#[cfg(target_arch = "wasm32")]
mod fetch;
#[cfg(target_arch = "wasm32")]
mod gpu;
#[cfg(target_arch = "wasm32")]
mod inbox;
#[cfg(target_arch = "wasm32")]
mod keep;
#[cfg(target_arch = "wasm32")]
mod loader;
#[cfg(target_arch = "wasm32")]
mod looper;
#[cfg(target_arch = "wasm32")]
mod missing;
#[cfg(target_arch = "wasm32")]
mod place;
#[cfg(target_arch = "wasm32")]
mod ranges;
#[cfg(target_arch = "wasm32")]
mod request;
#[cfg(target_arch = "wasm32")]
mod room;

#[cfg(target_arch = "wasm32")]
pub use looper::EngineWorker;
