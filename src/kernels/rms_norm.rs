//! `y = x / sqrt(mean(x^2) + eps) * scale` (Zhang, Sennrich 2019), a row a token.

/// Norms `x`, `[T, D]`, into `y`, `[T, D]`; `scale` is `[D]`.
pub fn rms_norm(x: &[f32], scale: &[f32], y: &mut [f32], eps: f32) {
    let width = scale.len();
    for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
        let mean_square = x.iter().map(|x| x * x).sum::<f32>() / width as f32;
        let factor = 1.0 / (mean_square + eps).sqrt();
        for ((y, x), scale) in y.iter_mut().zip(x).zip(scale) {
            *y = x * factor * scale;
        }
    }
}
