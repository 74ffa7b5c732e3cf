//! A gated causal convolution, each dimension by itself: of the parts `b`, `c`, `x` of a row it gives
//! `c * (bias + sum_j kernel_j * (b * x at the position j before))`. The products `b * x` of the text are kept, so that
//! a shorter text needs no other run.

/// Reads `parts`, `[T, 3 D]` (b, c, x), at positions `start..`; each sees `positions`, its own among them.
/// `kernel` is `[D, positions]`, the last number of a row that of the token itself; `bias` is `[D]` or empty.
/// `inputs`, `[context, D]`, holds `b * x` of the text before; those of this step are written there. `y` is `[T, D]`.
pub fn convolve(
    start: usize,
    positions: usize,
    parts: &[f32],
    kernel: &[f32],
    bias: &[f32],
    inputs: &mut [f32],
    y: &mut [f32],
) {
    let width = kernel.len() / positions;
    for (t, (parts, y)) in parts.chunks_exact(3 * width).zip(y.chunks_exact_mut(width)).enumerate() {
        let position = start + t;
        let (b, rest) = parts.split_at(width);
        let (c, x) = rest.split_at(width);
        for (d, input) in inputs[position * width..][..width].iter_mut().enumerate() {
            *input = b[d] * x[d];
        }
        let seen = positions.min(position + 1);
        for d in 0..width {
            let kernel = &kernel[(d + 1) * positions - seen..(d + 1) * positions];
            let before = (position + 1 - seen..=position).map(|at| inputs[at * width + d]);
            let sum: f32 = kernel.iter().zip(before).map(|(weight, input)| weight * input).sum();
            y[d] = c[d] * (bias.get(d).unwrap_or(&0.0) + sum);
        }
    }
}
