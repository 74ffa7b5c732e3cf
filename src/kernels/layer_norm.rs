//! `y = (x - mean(x)) / sqrt(variance(x) + eps) * scale + bias` (Ba, Kiros, Hinton 2016), one row per token.

/// Norms `x`, `[T, D]`, into `y`, `[T, D]`; `scale` and `bias` are `[D]`.
pub fn layer_norm(x: &[f32], scale: &[f32], bias: &[f32], y: &mut [f32], eps: f32) {
    let width = scale.len();
    for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
        let mean = x.iter().sum::<f32>() / width as f32;
        let variance = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / width as f32;
        let factor = 1.0 / (variance + eps).sqrt();
        for (((y, x), scale), bias) in y.iter_mut().zip(x).zip(scale).zip(bias) {
            *y = (x - mean) * factor * scale + bias;
        }
    }
}
