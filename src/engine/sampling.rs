//! How the next token is drawn: with a temperature, from the smallest set of tokens whose probabilities reach `top_p`
//! (nucleus sampling, Holtzman et al. 2020). The same seed and text give the same continuation.

use crate::kernels::sample::sample;
use crate::kernels::softmax::softmax;
use serde::{Deserialize, Serialize};

/// How to draw the next token.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// 0 takes the most probable token; higher spreads the choice.
    pub temperature: f32,
    /// Draw from the smallest set of tokens whose probabilities reach this sum; 1 allows all tokens.
    pub top_p: f32,
    /// The same seed and text give the same token.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 0.8, top_p: 1.0, seed: 1 }
    }
}

impl Sampling {
    /// Draws the token at `position` from the `logits` after the token before it, `[V]`.
    pub fn choose(&self, logits: &[f32], position: usize) -> u32 {
        if self.takes_all() {
            return sample(logits, self.temperature, self.seed, position);
        }
        sample(&self.nucleus(logits), self.temperature, self.seed, position)
    }

    /// Whether every token may be drawn; then sorting the logits is not needed.
    pub fn takes_all(&self) -> bool {
        self.top_p >= 1.0 || self.temperature <= 0.0
    }

    /// The logits of the most probable tokens, as many as are needed to reach `top_p` and at least one; minus infinity
    /// for the others.
    fn nucleus(&self, logits: &[f32]) -> Vec<f32> {
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        order.sort_unstable_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b)));
        let mut probabilities: Vec<f32> = order.iter().map(|&id| logits[id as usize] / self.temperature).collect();
        softmax(&mut probabilities);
        let mut sum = 0.0;
        let reached = probabilities.iter().position(|p| {
            sum += p;
            sum >= self.top_p
        });
        let taken = &order[..reached.map_or(order.len(), |at| at + 1)];
        let mut kept = vec![f32::NEG_INFINITY; logits.len()];
        taken.iter().for_each(|&id| kept[id as usize] = logits[id as usize]);
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temperature_zero_takes_the_most_probable() {
        let sampling = Sampling { temperature: 0.0, top_p: 0.5, seed: 1 };
        assert_eq!(sampling.choose(&[0.5, 3.0, 3.0, -1.0], 0), 1);
    }

    #[test]
    fn a_small_nucleus_leaves_out_the_rest() {
        let sampling = Sampling { temperature: 1.0, top_p: 0.9, seed: 7 };
        let drawn: Vec<u32> = (0..200).map(|at| sampling.choose(&[0.0, 5.0, 4.9, -3.0], at)).collect();
        assert!(drawn.iter().all(|id| [1, 2].contains(id)) && drawn.contains(&1) && drawn.contains(&2));
        let one = Sampling { top_p: 0.0, ..sampling };
        assert!((0..50).all(|at| one.choose(&[0.0, 5.0, 4.9, -3.0], at) == 1));
    }
}
