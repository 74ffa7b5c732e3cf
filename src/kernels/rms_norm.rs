//! `y = x / sqrt(mean(x^2) + eps) * scale` (Zhang, Sennrich 2019), one row per token.

use wide::f32x8;

/// Norms `x`, `[T, D]`, into `y`, `[T, D]`; `scale` is `[D]`.
pub fn rms_norm(x: &[f32], scale: &[f32], y: &mut [f32], eps: f32) {
    let width = scale.len();
    for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
        let mean_square = sum_of_squares(x) / width as f32;
        let factor = 1.0 / (mean_square + eps).sqrt();
        for ((y, x), scale) in y.iter_mut().zip(x).zip(scale) {
            *y = x * factor * scale;
        }
    }
}

/// The sum of the squares of a row.
pub(super) fn sum_of_squares(x: &[f32]) -> f32 {
    let (groups, rest) = x.as_chunks::<8>();
    let squares = groups.iter().fold(f32x8::ZERO, |sum, &group| f32x8::new(group).mul_add(f32x8::new(group), sum));
    squares.reduce_add() + rest.iter().map(|x| x * x).sum::<f32>()
}
