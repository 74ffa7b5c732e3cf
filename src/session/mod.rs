//! One text on one engine: an edit runs only what it changed; also the logit lens and sweeps over policies.
//!
//! ```
//! use moescope::engine::Engine;
//! use moescope::model::{Model, files::read_dir};
//! use moescope::session::Session;
//!
//! let model = Model::new(&read_dir("tests/golden/fixtures/basic".as_ref())?)?;
//! let mut session = Session::new(Engine::cpu(&model)?);
//! pollster::block_on(session.run(&[5, 9, 2, 7], None, |_logits| {}))?;
//! // An edit keeps the trace of the common prefix; only what follows has to run.
//! assert_eq!(session.set(vec![5, 9, 3]), 2);
//! assert!(session.pending() < 3);
//! # Ok::<(), moescope::error::Error>(())
//! ```

mod lens;
mod shown;
mod sweep;
mod text;

pub use lens::Lens;
pub use sweep::{ByChoices, choices_sweep, sweep_point};
pub use text::Session;

// [`Sampling`] is a parameter of [`Session::draw`], so it can be imported from here too.
pub use crate::engine::Sampling;
