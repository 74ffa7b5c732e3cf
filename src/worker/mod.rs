//! The engine's worker: the protocol it speaks, and its loop.

pub mod protocol;

#[cfg(target_arch = "wasm32")]
mod desk;
#[cfg(target_arch = "wasm32")]
mod fetch;
#[cfg(target_arch = "wasm32")]
mod inbox;
#[cfg(target_arch = "wasm32")]
mod looper;
#[cfg(target_arch = "wasm32")]
pub use looper::EngineWorker;
