//! The worker that owns the engine: the protocol it speaks, and its loop. A crate of its own, compiled for size as the page is:
//! what takes time is in the engine.
#![cfg(target_arch = "wasm32")]

pub mod protocol;

mod arriving;
mod desk;
mod fetch;
mod inbox;
mod looper;

pub use looper::EngineWorker;
