//! Trains small mixtures of experts: the mathematics of the labs, and of the trainer. Native and WebAssembly; no
//! threads, no clock, no files, and random numbers that are a pure function of the seed.
//!
//! Each lab is a module with the same parts: `Settings` (JSON with defaults), `Lab`, and `State`, what it shows.
//!
//! - [`local_experts`]: mixtures in the plane, 1991 and what followed: support vector machines, Gaussian processes,
//!   trees of gates;
//! - [`deep_mixture`]: two layers of mixtures on handwritten digits, 2013;
//! - [`conditional`]: parts of a network that are on, weighted or switched, and what an example costs;
//! - [`router`]: the routers of a transformer in training: balance, collapse, specialisation;
//! - [`fine_tune`]: a model fine-tuned on one text, and when it begins to learn it by heart;
//! - [`transformer`]: a sparse transformer's forward and backward pass, optimiser, schedule and order of the text;
//! - [`error`], [`random`], [`linalg`], [`columns`]: what the labs share.
//!
//! ```
//! use moescope_learn::local_experts::{DataSet, Lab, Settings};
//!
//! # fn main() -> Result<(), moescope_learn::error::Error> {
//! let mut lab = Lab::new(Settings { data: DataSet::Moons, experts: 2, ..Settings::default() })?;
//! let before = lab.state().loss;
//! lab.step(500)?;
//! assert!(lab.state().loss < before);
//! # Ok(())
//! # }
//! ```

mod adam;
mod affine;
#[cfg(any(test, target_arch = "wasm32"))]
mod blocked;
pub mod columns;
pub mod conditional;
pub mod deep_mixture;
pub mod digits;
pub mod error;
pub mod fine_tune;
pub mod linalg;
pub mod local_experts;
pub mod random;
pub mod router;
pub mod transformer;
