//! The worker that owns the engine: the protocol it speaks, and its loop. A crate of its own, compiled for size as the
//! page is: what takes time is in the engine. What needs no browser (`address`, `opened`, `protocol`) also compiles
//! natively, for its tests and for the page's state.

pub mod address;
pub mod opened;
pub mod protocol;

#[cfg(target_arch = "wasm32")]
mod arriving;
#[cfg(target_arch = "wasm32")]
mod desk;
#[cfg(target_arch = "wasm32")]
mod fetch;
#[cfg(target_arch = "wasm32")]
mod gpu;
#[cfg(target_arch = "wasm32")]
mod inbox;
#[cfg(target_arch = "wasm32")]
mod loader;
#[cfg(target_arch = "wasm32")]
mod looper;

#[cfg(target_arch = "wasm32")]
pub use looper::EngineWorker;
