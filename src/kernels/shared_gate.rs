//! The weight of the shared expert for each token: `sigmoid(x . weights)`.

/// Writes `counts`, `[T]`, from the normed `x`, `[T, D]`; `weights` is `[D]`.
pub fn shared_gate(x: &[f32], weights: &[f32], counts: &mut [f32]) {
    for (x, count) in x.chunks_exact(weights.len()).zip(counts) {
        let logit: f32 = x.iter().zip(weights).map(|(x, weight)| x * weight).sum();
        *count = 1.0 / (1.0 + (-logit).exp());
    }
}
