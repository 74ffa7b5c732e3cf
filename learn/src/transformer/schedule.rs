//! The learning rate over the tokens: warm-up, a stable phase and a linear decay to zero (WSD, Hu et al. 2024).
//!
//! In the stable phase nothing depends on the length of the run. A run can therefore be made longer or shorter, and up
//! to the decay of the shorter run both have the same weights, bit by bit.

use serde::{Deserialize, Serialize};

/// The shape of the schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Tokens over which the rate rises from zero.
    pub warmup_tokens: usize,
    /// The share of all tokens over which it falls to zero at the end.
    pub decay: f64,
}

impl Schedule {
    /// The factor of every learning rate, in [0, 1], for a step of `step` tokens that ends after `tokens` of `total`
    /// tokens.
    pub fn factor(&self, tokens: usize, step: usize, total: usize) -> f32 {
        let rise = tokens as f64 / self.warmup_tokens.max(step) as f64;
        let falling = (self.decay * total as f64).max(step as f64);
        let fall = (total + step).saturating_sub(tokens) as f64 / falling;
        rise.min(fall).min(1.0) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_stays_and_falls() {
        let s = Schedule { warmup_tokens: 1000, decay: 0.25 };
        let at = |step: usize| s.factor(100 * (step + 1), 100, 10_000);
        assert_eq!(at(0), 0.1);
        assert_eq!((at(9), at(50), at(75)), (1.0, 1.0, 1.0));
        assert!((at(99) - 0.04).abs() < 1e-6);
        assert_eq!(at(50), s.factor(5100, 100, 900_000), "the stable phase does not know the end");
    }
}
