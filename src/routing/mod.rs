//! The trace of the router's decisions, and what follows from it: pure functions without a browser and a GPU.
//!
//! ```
//! use moescope::routing::{LayerTrace, balance};
//!
//! // Four tokens went to the experts 0, 0, 1 and 2 of four.
//! let layer = LayerTrace { selected: vec![0, 0, 1, 2], ..LayerTrace::new(0, 4, 1) };
//! let figures = balance(&layer);
//! assert_eq!(figures.load, [0.5, 0.25, 0.25, 0.0]);
//! assert_eq!(figures.max_over_mean, 2.0);
//! ```

pub mod align;
pub mod analytics;
pub mod balance;
pub mod csv;
pub mod dossier;
pub mod effect;
pub mod filling;
pub mod json;
pub mod lens;
pub mod policy;
pub mod recording;
pub mod residency;
pub mod trace;

pub use balance::{Balance, balance};
pub use policy::Policy;
pub use recording::Recording;
pub use residency::{Residency, residency};
pub use trace::{Guess, Trace};

// Parts of a trace, which can be imported from here too.
pub use crate::engine::LayerTrace;
pub use crate::shape::{Limit, Setting};
pub use crate::tokenizer::Token;
