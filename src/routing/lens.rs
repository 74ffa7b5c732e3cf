//! What each layer did to one token: how much attention and each expert added to the residual stream, and the next
//! token that the model would guess if it stopped there (the "logit lens", nostalgebraist 2020).

use super::trace::Guess;
pub use crate::engine::cpu::look::{Contribution, LookedAt};
pub use crate::engine::cpu::sets::{TriedSet, TriedSets};
use serde::{Deserialize, Serialize};

/// What one layer did to one token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerLens {
    /// The layer's number.
    pub layer: usize,
    /// Euclidean norm of what attention added to the residual stream.
    pub attention: f32,
    /// What each head of attention looks at, by falling weight, the most important tokens only.
    pub heads: Vec<Vec<LookedAt>>,
    /// The experts that the token went to, by falling weight.
    pub experts: Vec<Contribution>,
    /// Euclidean norm of the residual stream after the layer.
    pub residual: f32,
    /// Next-token guesses from the residual stream after the layer, most probable first.
    pub guesses: Vec<Guess>,
}
