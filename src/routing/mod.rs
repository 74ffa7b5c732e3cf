//! What the router decided, and what follows from it: pure functions, no wasm, no GPU.

pub mod align;
pub mod analytics;
pub mod balance;
pub mod csv;
pub mod dossier;
pub mod effect;
pub mod filling;
pub mod gate;
pub mod json;
pub mod lens;
pub mod policy;
pub mod random;
pub mod recording;
pub mod setting;
pub mod softmax;
pub mod trace;

pub use balance::{Balance, balance};
pub use gate::{Gate, NONE, Place, Scores, route};
pub use policy::Policy;
pub use recording::Recording;
pub use setting::{Limit, Setting};
pub use softmax::softmax;
pub use trace::{Guess, LayerTrace, Token, Trace};
