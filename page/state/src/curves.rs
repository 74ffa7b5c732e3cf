//! The training curves from a model's `curves.json`.

use serde::Deserialize;

/// The part of the training log that is drawn.
#[derive(Clone, Debug, Deserialize)]
pub struct Curves {
    /// The points in order of training.
    pub training: Vec<Point>,
}

/// Means over the training steps since the last point.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Point {
    /// Tokens trained on.
    pub tokens: f64,
    /// Cross-entropy in nats per token.
    pub loss: f64,
    /// Load-balancing loss: 1 is even.
    pub balance: f64,
    /// Busiest expert's load over the mean, in the worst layer.
    pub max_over_mean: f64,
}
