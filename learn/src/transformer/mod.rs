//! A sparse transformer's training on one thread: what the trainer's replicas and the labs run.
//!
//! - [`model`]: sizes and layout; `reference`, for tests: a simple implementation in `f64`;
//! - [`rms_norm`], [`rope`], [`attention`], [`gate`], [`moe`], [`cross_entropy`]: the forward and backward passes of a
//!   layer;
//! - [`replica`]: the whole network for a part of a batch;
//! - [`stored`]: models as files hold them;
//! - [`data`], [`optimizer`], [`schedule`]: the order of the text, the steps, the learning rate;
//!   [`trainee`] puts them together.

pub mod attention;
pub mod cross_entropy;
pub mod data;
pub mod gate;
pub mod model;
pub mod moe;
pub mod optimizer;
#[cfg(test)]
mod reference;
pub mod replica;
pub mod rms_norm;
pub mod rope;
pub mod schedule;
pub mod stored;
pub mod trainee;
