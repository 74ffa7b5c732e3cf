//! Element-wise functions over columns: one number a point, many points in a row.

use crate::linalg::exp;
pub use crate::linalg::{add_scaled, dot};

/// Partial sums side by side: a plain `sum()` adds in order and cannot become SIMD code.
const LANES: usize = 16;

/// The sum of a column.
pub fn sum(x: &[f32]) -> f32 {
    let mut sums = [0.0f32; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for i in 0..LANES {
            sums[i] += chunk[i];
        }
    }
    sums.iter().sum::<f32>() + rest.iter().sum::<f32>()
}

/// `tanh(x)` without branches.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    1.0 - 2.0 / (1.0 + exp(2.0 * x))
}

/// Turns columns (units x points) into their log-softmax over the units. `top` and `sum` are room for a column each.
pub fn log_softmax(columns: &mut [f32], points: usize, top: &mut [f32], sum: &mut [f32]) {
    top.fill(f32::NEG_INFINITY);
    sum.fill(0.0);
    for column in columns.chunks_exact(points) {
        top.iter_mut().zip(column).for_each(|(top, x)| *top = if *x > *top { *x } else { *top });
    }
    for column in columns.chunks_exact(points) {
        for ((sum, x), top) in sum.iter_mut().zip(column).zip(&*top) {
            *sum += exp(x - top);
        }
    }
    top.iter_mut().zip(&*sum).for_each(|(top, sum)| *top += sum.ln());
    for column in columns.chunks_exact_mut(points) {
        column.iter_mut().zip(&*top).for_each(|(x, log_sum)| *x -= log_sum);
    }
}

/// `out = e^x`.
pub fn exp_into(x: &[f32], out: &mut [f32]) {
    out.iter_mut().zip(x).for_each(|(out, x)| *out = exp(*x));
}
