//! How a model learned, from the `curves.json` that comes with it.

use serde::Deserialize;

/// The training's log, as far as it is drawn.
#[derive(Clone, Debug, Deserialize)]
pub struct Curves {
    /// In the order of the steps.
    pub training: Vec<Point>,
}

/// Means over the steps since the last point.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Point {
    /// Tokens seen.
    pub tokens: f64,
    /// Cross-entropy in nats a token.
    pub loss: f64,
    /// Load-balancing loss: 1 is even.
    pub balance: f64,
    /// Busiest expert's load over the mean, in the worst layer.
    pub max_over_mean: f64,
}
