//! Products by a matrix of each head: latent attention goes from heads to the narrow row and back by them.

use super::linear::linear;
use super::stored::Stored;

/// `y[h] = W_h x[h]` for each token and head. Head `h` reads as many numbers as its matrix has columns, from number
/// `h * stride` of each row of `x`, `[T, row]`, on; `y` is `[T, heads * N]`. `scratch` may have any length.
pub fn head_linear(x: &[f32], weights: &[Stored], y: &mut [f32], row: usize, stride: usize, scratch: &mut Vec<f32>) {
    let Some(first) = weights.first() else { return };
    let (tokens, inputs, outputs) = (x.len() / row, first.cols(), first.rows());
    let all = weights.len() * outputs;
    scratch.resize(tokens * (inputs + outputs), 0.0);
    let (part, product) = scratch.split_at_mut(tokens * inputs);
    for (head, weights) in weights.iter().enumerate() {
        for (part, x) in part.chunks_exact_mut(inputs).zip(x.chunks_exact(row)) {
            part.copy_from_slice(&x[head * stride..][..inputs]);
        }
        linear(part, weights, product);
        for (product, y) in product.chunks_exact(outputs).zip(y.chunks_exact_mut(all)) {
            y[head * outputs..][..outputs].copy_from_slice(product);
        }
    }
}
