//! The states of a state-space mixer (Dao, Gu 2024, "Mamba-2"): each head keeps a matrix of the text so far, which
//! fades at a rate that each token chooses.

use crate::shape::StateSpaceShape;

/// For each token, with `d = softplus(step + step_bias)` of its head: `h = exp(-d exp(decay)) h + d x b^T` and
/// `y = h c + skip x`. `x` is `[T, C]`: x, b, c; `steps` are the numbers from `offset` on of each row of `projected`,
/// `[T, row]`; the three vectors have a number per head. `state`, `[N, heads * head_dim]`, is that of the text before
/// `start`, and then that of the text up to the last token; it is not read where `start` is 0. `y` is
/// `[T, heads * head_dim]`.
#[allow(clippy::too_many_arguments)]
pub fn scan(
    start: usize,
    shape: &StateSpaceShape,
    x: &[f32],
    projected: &[f32],
    step_bias: &[f32],
    decay: &[f32],
    skip: &[f32],
    state: &mut [f32],
    y: &mut [f32],
) {
    let (inner, channels, row) = (shape.inner(), shape.channels(), shape.rows());
    if start == 0 {
        state.fill(0.0);
    }
    for ((x, projected), y) in x.chunks_exact(channels).zip(projected.chunks_exact(row)).zip(y.chunks_exact_mut(inner))
    {
        let (x, bc) = x.split_at(inner);
        let (b, c) = bc.split_at(shape.state);
        for head in 0..shape.heads {
            let of_head = head * shape.head_dim..(head + 1) * shape.head_dim;
            let step = softplus(projected[row - shape.heads + head] + step_bias[head]);
            let kept = (-step * decay[head].exp()).exp();
            let (x, y) = (&x[of_head.clone()], &mut y[of_head.clone()]);
            y.iter_mut().zip(x).for_each(|(y, x)| *y = skip[head] * x);
            for (state, (b, c)) in state.chunks_exact_mut(inner).zip(b.iter().zip(c)) {
                for ((h, x), y) in state[of_head.clone()].iter_mut().zip(x).zip(&mut *y) {
                    *h = *h * kept + step * x * b;
                    *y += *h * c;
                }
            }
        }
    }
}

/// `ln(1 + e^x)`, which is x itself for large x.
fn softplus(x: f32) -> f32 {
    if x > 20.0 { x } else { x.exp().ln_1p() }
}
