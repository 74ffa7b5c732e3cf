//! Draws the next token with Gumbel noise. The index of the largest `logits[id] + temperature * g[id]` is a draw from
//! `softmax(logits / temperature)` (Gumbel 1954; Maddison, Tarlow and Minka 2014, "A* Sampling"), without sorting or
//! summing. The noise is a pure function of seed, position and token, so every engine continues the same text in the
//! same way.

use super::random::{drawn_with, pcg};

/// An upper bound of [`gumbel`].
const MOST_NOISE: f32 = 17.0;

/// Draws the token at `position` from `logits`, `[V]`. With `temperature` 0 it is the most probable token; where
/// several are, the one with the lowest id.
pub fn sample(logits: &[f32], temperature: f32, seed: u64, position: usize) -> u32 {
    let key = drawn_with([seed as u32, (seed >> 32) as u32, position as u32]);
    let (mut best, mut token) = (f32::MIN, 0);
    for (id, &logit) in (0u32..).zip(logits) {
        // A token that cannot win even with the largest noise needs no logarithm.
        if logit + temperature * MOST_NOISE <= best {
            continue;
        }
        let noise = if temperature > 0.0 { temperature * gumbel(pcg(id.wrapping_add(key))) } else { 0.0 };
        if logit + noise > best {
            (best, token) = (logit + noise, id);
        }
    }
    token
}

/// `-ln(-ln(1 - v))` for a `v` in (0, 1) made of 23 bits of `word`. Small `v` use a series, because WGSL allows an
/// error of 2^-21 in their logarithm.
fn gumbel(word: u32) -> f32 {
    let v = ((word >> 9) as f32 + 0.5) / 8_388_608.0;
    if v < 0.031_25 {
        return -(v * (1.0 + v * (0.5 + v * (1.0 / 3.0 + v * (0.25 + v * 0.2))))).ln();
    }
    -(-(1.0 - v).ln()).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_gumbel_s() {
        let noise: Vec<f64> = (0..200_000).map(|n| f64::from(gumbel(pcg(n)))).collect();
        let mean = noise.iter().sum::<f64>() / noise.len() as f64;
        let variance = noise.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / noise.len() as f64;
        // Euler's constant, and pi^2 / 6.
        assert!((mean - 0.577).abs() < 0.01 && (variance - 1.645).abs() < 0.03, "mean {mean}, variance {variance}");
        assert!([0, u32::MAX].map(gumbel).iter().all(|g| g.is_finite() && g.abs() < MOST_NOISE));
        let (below, above) = (gumbel((262_143 << 9) + 511), gumbel(262_144 << 9));
        assert!((below - above).abs() < 1e-4, "the series meets the logarithm: {below}, {above}");
    }

    #[test]
    fn without_temperature_the_most_probable_is_taken() {
        assert_eq!(sample(&[0.5, 3.0, 3.0, -1.0], 0.0, 1, 9), 1);
        assert_eq!(sample(&[f32::NEG_INFINITY, f32::NEG_INFINITY, -3.0], 0.0, 1, 9), 2);
    }

    #[test]
    fn draws_follow_the_probabilities_the_seed_and_the_position() {
        let logits: Vec<f32> = [0.1f32, 0.2, 0.3, 0.4].map(|p| p.ln() / 2.0).to_vec();
        let draw = |seed| (0..40_000).map(|position| sample(&logits, 0.5, seed, position)).collect::<Vec<_>>();
        let drawn = draw(1);
        for (id, expected) in [0.1, 0.2, 0.3, 0.4].into_iter().enumerate() {
            let share = drawn.iter().filter(|&&token| token == id as u32).count() as f32 / drawn.len() as f32;
            assert!((share - expected).abs() < 0.01, "{id}: {share}");
        }
        assert_eq!(draw(2), draw(2));
        assert_ne!(draw(2), draw(3));
        assert_ne!(draw(2), draw(2 + (1 << 32)));
    }
}
