//! Root-mean-square normalisation (Zhang and Sennrich 2019): `y = x / rms(x) * gain` with
//! `rms(x) = sqrt(mean(x^2) + eps)` and `gain` the norm's weight.

use crate::linalg::dot;

/// Writes `out` from `x`, both tokens x `gain.len()`; keeps `1 / rms` of every token in `inverse` for the backward
/// pass.
pub fn forward(x: &[f32], gain: &[f32], eps: f32, out: &mut [f32], inverse: &mut [f32]) {
    let width = gain.len();
    for ((x, out), inverse) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)).zip(inverse) {
        *inverse = 1.0 / (dot(x, x) / width as f32 + eps).sqrt();
        for ((out, x), gain) in out.iter_mut().zip(x).zip(gain) {
            *out = x * *inverse * gain;
        }
    }
}

/// Adds to `dx` and to `d_gain`. With `r = 1 / rms`, the weight `g` and the width `n`:
/// `dx_i = r g_i dy_i - x_i r^3 / n * sum_j g_j dy_j x_j` and `dg_i = sum over tokens of dy_i x_i r`.
pub fn backward(x: &[f32], gain: &[f32], inverse: &[f32], dy: &[f32], dx: &mut [f32], d_gain: &mut [f32]) {
    let width = gain.len();
    let mut scaled = vec![0.0; width];
    for (((x, dy), dx), &r) in
        x.chunks_exact(width).zip(dy.chunks_exact(width)).zip(dx.chunks_exact_mut(width)).zip(inverse)
    {
        for i in 0..width {
            scaled[i] = gain[i] * dy[i];
            d_gain[i] += dy[i] * x[i] * r;
        }
        let along = dot(&scaled, x) * r * r * r / width as f32;
        for i in 0..width {
            dx[i] += r * scaled[i] - x[i] * along;
        }
    }
}
