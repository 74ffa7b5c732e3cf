//! The convolution of a state-space mixer: causal, each channel by itself, and then SiLU. The inputs of the last
//! positions are kept for the next step.

/// Reads the channels from number `offset` on of each row of `x`, `[T, row]`. `kernel` is `[C, positions]`, the last
/// number of a row that of the token itself; `bias` is `[C]` or empty. `tail`, `[positions - 1, C]`, holds the inputs
/// of the positions before `start`, the oldest first, and then those before the next step; it is not read where `start`
/// is 0. `y` is `[T, C]`.
#[allow(clippy::too_many_arguments)]
pub fn convolve_silu(
    start: usize,
    positions: usize,
    x: &[f32],
    row: usize,
    offset: usize,
    kernel: &[f32],
    bias: &[f32],
    tail: &mut [f32],
    y: &mut [f32],
) {
    let (channels, before) = (kernel.len() / positions, positions - 1);
    let tokens = x.len() / row;
    if start == 0 {
        tail.fill(0.0);
    }
    // The inputs in a row: those of the tail, then those of this step.
    let input = |tail: &[f32], n: usize, c: usize| match n.checked_sub(before) {
        None => tail[n * channels + c],
        Some(t) => x[t * row + offset + c],
    };
    for (t, y) in y.chunks_exact_mut(channels).take(tokens).enumerate() {
        for (c, (y, kernel)) in y.iter_mut().zip(kernel.chunks_exact(positions)).enumerate() {
            let products = kernel.iter().enumerate().map(|(j, weight)| weight * input(tail, t + j, c));
            let sum = products.sum::<f32>() + bias.get(c).unwrap_or(&0.0);
            *y = sum / (1.0 + (-sum).exp());
        }
    }
    for n in 0..before {
        for c in 0..channels {
            tail[n * channels + c] = input(tail, tokens + n, c);
        }
    }
}
