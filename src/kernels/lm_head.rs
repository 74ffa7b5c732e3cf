//! `logits[i] = scale * x[from + i] W^T + bias`: the output projection of the tokens from `from` on. `W` is `[V, D]`.

use super::linear::{add_bias, linear};
use super::stored::Stored;

/// Writes `logits`, `[T - from, V]`, from the normed `x`, `[T, D]`; `bias` is `[V]` or empty.
pub fn lm_head(from: usize, x: &[f32], weights: &Stored, bias: &[f32], scale: f32, logits: &mut [f32]) {
    linear(&x[from * weights.cols()..], weights, logits);
    if scale != 1.0 {
        logits.iter_mut().for_each(|logit| *logit *= scale);
    }
    add_bias(bias, logits);
}
