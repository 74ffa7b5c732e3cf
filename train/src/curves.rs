//! The curves of a training run: `curves.json`.

use serde::{Deserialize, Serialize};

use crate::evaluation::Evaluation;

/// All points so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Curves {
    /// Points of the training loss, one every few steps.
    pub training: Vec<TrainingPoint>,
    /// Measurements on a part of the held-out text, one every few minutes.
    pub held_out: Vec<HeldOutPoint>,
}

/// Means over the steps since the last point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainingPoint {
    /// Steps done.
    pub step: usize,
    /// Tokens seen.
    pub tokens: usize,
    /// Cross-entropy in nats per token.
    pub loss: f64,
    /// Load-balancing losses of all layers without their factor, over the layers: 1 is even.
    pub balance: f64,
    /// Busiest expert's load over the mean, the worst layer.
    pub max_over_mean: f32,
    /// The gradient's norm before clipping.
    pub gradient_norm: f32,
}

/// A measurement on held-out text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeldOutPoint {
    /// Steps done.
    pub step: usize,
    /// Tokens seen.
    pub tokens: usize,
    /// Bits per byte of each domain, in the corpus's order.
    pub bits_per_byte: Vec<f64>,
    /// Busiest expert's load over the mean, of each layer.
    pub max_over_mean: Vec<f32>,
}

impl HeldOutPoint {
    /// The point of a measurement.
    pub fn new(step: usize, tokens: usize, evaluation: &Evaluation) -> Self {
        Self {
            step,
            tokens,
            bits_per_byte: evaluation.domains.iter().map(|d| d.bits_per_byte).collect(),
            max_over_mean: evaluation.layers.iter().map(|l| l.max_over_mean()).collect(),
        }
    }
}
