//! Chooses the next token: temperature, then the smallest set that reaches `top_p` (nucleus sampling,
//! Holtzman et al. 2020). Seeded: the same seed and text give the same continuation.

use crate::routing::softmax;
use serde::{Deserialize, Serialize};

/// How to choose the next token.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// 0 takes the most probable token; higher spreads the choice.
    pub temperature: f32,
    /// Sample from the smallest set of tokens whose probabilities reach this sum; 1 takes all.
    pub top_p: f32,
    /// Same seed, same text.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 0.8, top_p: 1.0, seed: 1 }
    }
}

/// Draws tokens.
pub struct Sampler {
    sampling: Sampling,
    state: u64,
}

impl Sampler {
    /// A sampler that starts from `sampling.seed`.
    pub fn new(sampling: Sampling) -> Self {
        Self { sampling, state: sampling.seed }
    }

    /// The next token, from `logits`, `[V]`.
    pub fn next(&mut self, logits: &[f32]) -> u32 {
        let falling = |&a: &u32, &b: &u32| logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b));
        if self.sampling.temperature <= 0.0 {
            return (0..logits.len() as u32).min_by(falling).unwrap_or(0);
        }
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        order.sort_unstable_by(falling);
        let mut probabilities: Vec<f32> =
            order.iter().map(|&id| logits[id as usize] / self.sampling.temperature).collect();
        softmax(&mut probabilities);
        let nucleus = nucleus(&probabilities, self.sampling.top_p);
        let total: f32 = probabilities[..nucleus].iter().sum();
        let mut left = self.uniform() * total;
        let drawn = probabilities[..nucleus].iter().position(|p| {
            left -= p;
            left <= 0.0
        });
        order[drawn.unwrap_or(nucleus - 1)]
    }

    /// A number in 0..1 by SplitMix64 (Steele, Lea, Flood 2014).
    fn uniform(&mut self) -> f32 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (((z ^ (z >> 31)) >> 40) as f32 + 0.5) / (1u64 << 24) as f32
    }
}

/// How many of the falling `probabilities` it takes to reach `top_p`; at least one.
fn nucleus(probabilities: &[f32], top_p: f32) -> usize {
    let mut sum = 0.0;
    let reached = probabilities.iter().position(|p| {
        sum += p;
        sum >= top_p
    });
    reached.map_or(probabilities.len(), |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(temperature: f32, top_p: f32, seed: u64) -> Sampler {
        Sampler::new(Sampling { temperature, top_p, seed })
    }

    #[test]
    fn temperature_zero_takes_the_most_probable() {
        assert_eq!(sampler(0.0, 1.0, 1).next(&[0.5, 3.0, 3.0, -1.0]), 1);
    }

    #[test]
    fn a_small_nucleus_leaves_out_the_rest() {
        let logits = [0.0, 5.0, 4.9, -3.0];
        let mut sampler = sampler(1.0, 0.9, 7);
        assert!((0..200).all(|_| [1, 2].contains(&sampler.next(&logits))));
    }

    #[test]
    fn draws_follow_the_probabilities_and_the_seed() {
        let logits = [0.0f32, 3.0f32.ln()];
        let draw = |seed| {
            let mut sampler = sampler(1.0, 1.0, seed);
            (0..4000).map(|_| sampler.next(&logits)).collect::<Vec<_>>()
        };
        let ones = draw(1).iter().sum::<u32>() as f32 / 4000.0;
        assert!((ones - 0.75).abs() < 0.03, "{ones}");
        assert_eq!(draw(2), draw(2));
        assert_ne!(draw(2), draw(3));
    }
}
