//! `x[t] = scale * weights[ids[t]]`: the token embeddings. `weights` is `[V, D]`, in panels because a tied
//! model multiplies by the same matrix at the end.

use super::stored::Stored;

/// Writes `x`, `[T, D]`, for the `T` ids.
pub fn embed(ids: &[u32], weights: &Stored, scale: f32, x: &mut [f32]) {
    for (&id, x) in ids.iter().zip(x.chunks_exact_mut(weights.cols())) {
        for (col, x) in x.iter_mut().enumerate() {
            *x = scale * weights.get(id as usize, col);
        }
    }
}
