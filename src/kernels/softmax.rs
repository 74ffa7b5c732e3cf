//! Exponentials of a row, eight at a time. WebAssembly has no such instruction, the library's function takes one
//! number, and attention needs one exponential for every pair of tokens.

use wide::f32x8;

/// Numbers of a group.
const GROUP: usize = 8;

/// Softmax of one row, in place: `x[i] = exp(x[i] - max) / sum`.
///
/// # Examples
/// ```
/// let mut row = [0.0, 0.0];
/// moescope::kernels::softmax::softmax(&mut row);
/// assert_eq!(row, [0.5, 0.5]);
/// ```
pub fn softmax(row: &mut [f32]) {
    softmax_beside(row, f32::NEG_INFINITY);
}

/// Softmax of a row and one more logit, whose share is not stored.
pub fn softmax_beside(row: &mut [f32], beside: f32) {
    let most = largest(row).max(beside);
    let max = f32x8::splat(most);
    let mut sum = f32x8::ZERO;
    each_group(row, |x| {
        let x = (x - max).exp();
        sum += x;
        x
    });
    let scale = f32x8::splat(1.0 / (sum.reduce_add() + (beside - most).exp()));
    each_group(row, |x| x * scale);
}

/// The largest logit and the sum of `exp(logit - largest)`.
pub fn normaliser(row: &[f32]) -> (f32, f32) {
    let max = largest(row);
    let (groups, rest) = row.as_chunks::<GROUP>();
    let exponential = |x: f32x8| (x - f32x8::splat(max)).exp();
    let sum = groups.iter().fold(f32x8::ZERO, |sum, &group| sum + exponential(f32x8::new(group)));
    (max, (sum + exponential(padded(rest))).reduce_add())
}

/// `(up + 1) * gate * sigmoid(alpha * gate)`, with `gate` at most `limit` and `up` between `-limit` and `limit`, into
/// `out`; all of the same length.
pub fn clamped_times(gate: &[f32], up: &[f32], alpha: f32, limit: f32, out: &mut [f32]) {
    for ((&gate, &up), out) in gate.iter().zip(up).zip(out) {
        let (gate, up) = (gate.min(limit), up.clamp(-limit, limit));
        *out = (up + 1.0) * gate / (1.0 + (-alpha * gate).exp());
    }
}

/// `silu(gate) * up`, where `silu(x) = x / (1 + exp(-x))`, into `out`; all of the same length.
pub fn silu_times(gate: &[f32], up: &[f32], out: &mut [f32]) {
    let silu = |x: f32x8| x / (f32x8::ONE + (-x).exp());
    let ((gates, gate), (ups, up), (outs, out)) = (gate.as_chunks(), up.as_chunks(), out.as_chunks_mut());
    for ((&gate, &up), out) in gates.iter().zip(ups).zip(outs) {
        *out = (silu(f32x8::new(gate)) * f32x8::new(up)).to_array();
    }
    let rest = silu(padded(gate)).to_array();
    rest.iter().zip(up).zip(out).for_each(|((silu, up), out)| *out = silu * up);
}

fn largest(row: &[f32]) -> f32 {
    let (groups, rest) = row.as_chunks::<GROUP>();
    groups
        .iter()
        .fold(padded(rest), |max, &group| max.max(f32x8::new(group)))
        .to_array()
        .into_iter()
        .fold(f32::NEG_INFINITY, f32::max)
}

/// The last, short group, padded with logits of weight 0.
fn padded(rest: &[f32]) -> f32x8 {
    let mut group = [f32::NEG_INFINITY; GROUP];
    group[..rest.len()].copy_from_slice(rest);
    f32x8::new(group)
}

fn each_group(row: &mut [f32], mut change: impl FnMut(f32x8) -> f32x8) {
    let (groups, rest) = row.as_chunks_mut::<GROUP>();
    for group in groups {
        *group = change(f32x8::new(*group)).to_array();
    }
    if !rest.is_empty() {
        rest.copy_from_slice(&change(padded(rest)).to_array()[..rest.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of every length around a group, with the largest number anywhere.
    fn rows() -> impl Iterator<Item = Vec<f32>> {
        (1..40).map(|len| (0..len).map(|i| ((i * 37 + len * 11) % 23) as f32 * 0.9 - 12.0).collect())
    }

    #[test]
    fn equals_the_plain_form_in_double_precision() {
        for row in rows() {
            let exact: Vec<f64> = row.iter().map(|&x| f64::from(x).exp()).collect();
            let total: f64 = exact.iter().sum();
            let mut fast = row.clone();
            softmax(&mut fast);
            for (fast, exact) in fast.iter().zip(&exact) {
                assert!((f64::from(*fast) - exact / total).abs() < 1e-6, "{row:?}");
            }
            let (max, sum) = normaliser(&row);
            assert!((f64::from(max) + f64::from(sum).ln() - total.ln()).abs() < 1e-5, "{row:?}");
            let mut out = vec![0.0; row.len()];
            silu_times(&row, &row, &mut out);
            for (out, x) in out.iter().zip(&row) {
                let x = f64::from(*x);
                assert!((f64::from(*out) - x * x / (1.0 + (-x).exp())).abs() < 1e-5 * x.abs().max(1.0), "{x}");
            }
        }
    }

    #[test]
    fn what_is_far_below_weighs_nothing_and_very_large_logits_do_no_harm() {
        let mut row = [1e30, -1e30, f32::NEG_INFINITY];
        softmax(&mut row);
        assert_eq!(row, [1.0, 0.0, 0.0]);
        assert_eq!(normaliser(&[300.0, 300.0]), (300.0, 2.0));
        let mut out = [0.0; 2];
        silu_times(&[-200.0, 200.0], &[1.0, 1.0], &mut out);
        assert_eq!(out, [0.0, 200.0]);
    }
}
