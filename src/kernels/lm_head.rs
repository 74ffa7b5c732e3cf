//! `logits[i] = x[from + i] W^T`: the output projection of the tokens from `from` on. `W` is `[V, D]`.

use super::linear::linear;
use super::stored::Stored;

/// Writes `logits`, `[T - from, V]`, from the normed `x`, `[T, D]`.
pub fn lm_head(from: usize, x: &[f32], weights: &Stored, logits: &mut [f32]) {
    linear(&x[from * weights.cols()..], weights, logits);
}
