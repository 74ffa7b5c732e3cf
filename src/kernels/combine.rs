//! `x[t] += sum_c route_weights[t][c] * y[t * k + c]`: adds the experts' outputs to the residual stream.
//! Gathers per token, in the order of the choices: no atomics, the same bits on every run.

/// Adds to `x`, `[T, D]`, from `y`, `[T * k, D]`; `route_weights` is `[T, k]`.
pub fn combine(y: &[f32], route_weights: &[f32], x: &mut [f32], hidden: usize) {
    let top_k = y.len() / x.len();
    let tokens = x.chunks_exact_mut(hidden).zip(y.chunks_exact(top_k * hidden)).zip(route_weights.chunks_exact(top_k));
    for ((x, y), weights) in tokens {
        for (y, weight) in y.chunks_exact(hidden).zip(weights) {
            x.iter_mut().zip(y).for_each(|(x, y)| *x += weight * y);
        }
    }
}
