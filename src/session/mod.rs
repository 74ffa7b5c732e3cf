//! One text on one engine: runs only what an edit changed, looks inside tokens, and sweeps over policies.

mod lens;
mod shown;
mod sweep;
mod text;

pub use lens::Lens;
pub use sweep::{ByChoices, choices_sweep, sweep_point};
pub use text::Session;

// A session draws tokens as its engine does: how can be named from here too.
pub use crate::engine::Sampling;
