//! `x[t] += multiplier * sum_c route_weights[t][c] * y[t * choices + c]`: adds the experts' outputs to the residual
//! stream, and may norm it for the next layer or the output. Gathers per token, in the order of the choices: no
//! atomics, the same bits on every run.

use super::rms_norm::rms_norm;

/// Adds to `x`, `[T, D]`, from `y`, `[T * choices, D]`; `route_weights` is `[T, choices]`, 0 for what was dropped.
/// Then, where `norm` gives a scale, `[D]`, and an epsilon, `normed`, `[T, D]`, is [`rms_norm`] of `x`.
pub fn combine(
    y: &[f32],
    route_weights: &[f32],
    multiplier: f32,
    x: &mut [f32],
    norm: Option<(&[f32], f32)>,
    normed: &mut [f32],
) {
    let choices = y.len() / x.len();
    let hidden = y.len() / route_weights.len();
    let tokens =
        x.chunks_exact_mut(hidden).zip(y.chunks_exact(choices * hidden)).zip(route_weights.chunks_exact(choices));
    for ((x, y), weights) in tokens {
        // A dropped assignment has weight 0, and its row of y is stale.
        for (y, weight) in y.chunks_exact(hidden).zip(weights).filter(|(_, weight)| **weight != 0.0) {
            let weight = multiplier * weight;
            x.iter_mut().zip(y).for_each(|(x, y)| *x += weight * y);
        }
    }
    if let Some((scale, eps)) = norm {
        rms_norm(x, scale, normed, eps);
    }
}
