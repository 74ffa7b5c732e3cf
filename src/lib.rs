//! Moescope: see a sparse Mixture-of-Experts transformer think.
//!
//! The way the data goes: text -> [`tokenizer`] -> ids -> [`engine`] step -> [`routing`] trace
//! (append-only) -> pure functions (balance, cost) -> views. One direction, no way back.
//!
//! From the ground up; a module imports from those above it in this list, never from those below (tests/layers.rs):
//!
//! - [`shape`]: plain data that describes a computation: architecture, gates, number formats.
//! - [`model`]: what a checkpoint is: configuration, tensors, loading, checks.
//! - [`tokenizer`]: text to ids, ids to what is shown of them.
//! - [`kernels`]: the CPU twin of every WGSL shader, one file a kernel.
//! - [`engine`]: two engines with one interface, and the KV cache.
//! - [`routing`]: policies, traces, balance: pure functions.
//! - [`session`]: one text on one engine: runs only what an edit changed.
//!
//! The page is the crate in `page/`, the worker that owns its engine the one in `page/worker/`.

pub mod engine;
pub mod error;
pub mod kernels;
pub mod model;
pub mod routing;
pub mod session;
pub mod shape;
pub mod tokenizer;
