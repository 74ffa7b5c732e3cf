//! A norm of what a mixer or the experts add to the residual stream, before it is added: the residual stream is held
//! elsewhere while the sum is computed in its place.

use super::rms_norm::sum_of_squares;

/// Moves `x` to `held` and sets it to zero. Both are `[T, D]`.
pub fn hold(x: &mut [f32], held: &mut [f32]) {
    held.copy_from_slice(x);
    x.fill(0.0);
}

/// `x = held + rms_norm(x)`. `scale` is `[D]`, `x` and `held` are `[T, D]`.
pub fn release(scale: &[f32], x: &mut [f32], held: &[f32], eps: f32) {
    let width = scale.len();
    for (x, held) in x.chunks_exact_mut(width).zip(held.chunks_exact(width)) {
        let factor = 1.0 / (sum_of_squares(x) / width as f32 + eps).sqrt();
        for ((x, held), scale) in x.iter_mut().zip(held).zip(scale) {
            *x = held + *x * factor * scale;
        }
    }
}
