//! Noisy top-k gating (Shazeer et al. 2017, "Outrageously Large Neural Networks", section 2.1 and appendix A):
//! `H = x W_g + e softplus(x W_noise)` with `e` standard normal while training and 0 else; weights are the softmax over
//! the `top_k` largest `H`.
//!
//! Two losses keep the load even. Importance is the sum of an expert's weights over the batch; load is the number of
//! its tokens, made smooth: the probability that a token would choose the expert if only that expert's noise were drawn
//! again, `P = Phi((c - threshold) / s)`, with `c = x W_g`, `s = softplus(x W_noise)`, and the threshold the `top_k`-th
//! largest of the other experts' `H`. Each loss is the squared coefficient of variation over the experts.

use super::{Batch, GateShape, Routing, select, softmax_in_place};
use crate::random::normal;

/// Least standard deviation of the noise, as in the authors' code.
const LEAST: f32 = 1e-2;

/// `log(1 + e^x)`.
fn softplus(x: f32) -> f32 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// The noise's standard deviation and its derivative.
fn deviation(score: f32) -> (f32, f32) {
    (softplus(score) + LEAST, 1.0 / (1.0 + (-score).exp()))
}

/// Computes choice and weights.
pub fn forward(shape: GateShape, batch: Batch, routing: &mut Routing) {
    let (experts, top_k, choices) = (shape.experts, shape.top_k, shape.choices());
    for t in 0..routing.log_sum.len() {
        let (clean, spread) = routing.scores[t * 2 * experts..][..2 * experts].split_at(experts);
        let logits = &mut routing.logits[t * experts..][..experts];
        for e in 0..experts {
            let place = t * experts + e;
            let noise = batch.noise.map_or(0.0, |seed| normal(seed, place as u64) as f32);
            routing.noise[place] = noise;
            logits[e] = clean[e] + if batch.noise.is_some() { noise * deviation(spread[e]).0 } else { 0.0 };
        }
        let p = &mut routing.probabilities[t * experts..][..experts];
        p.copy_from_slice(logits);
        routing.log_sum[t] = softmax_in_place(p);
        let selected = &mut routing.selected[t * choices..][..top_k];
        select(logits, 0, selected);
        let kept: f32 = selected.iter().map(|&e| p[usize::from(e)]).sum();
        let weights = &mut routing.weights[t * choices..][..top_k];
        weights.iter_mut().zip(selected.iter()).for_each(|(w, &e)| *w = p[usize::from(e)] / kept);
    }
}

/// The square of the coefficient of variation, `n sum x^2 / (sum x)^2 - 1`, and its gradient.
fn variation(x: &[f32]) -> (f32, Vec<f32>) {
    let (n, sum) = (x.len() as f32, x.iter().sum::<f32>());
    let squares: f32 = x.iter().map(|x| x * x).sum();
    let gradient = x.iter().map(|x| 2.0 * n * (x / (sum * sum) - squares / (sum * sum * sum))).collect();
    (n * squares / (sum * sum) - 1.0, gradient)
}

/// Sum of each expert's weights.
fn importance(shape: GateShape, routing: &Routing) -> Vec<f32> {
    let choices = shape.choices();
    let mut sums = vec![0.0; shape.experts];
    for (selected, weights) in routing.selected.chunks_exact(choices).zip(routing.weights.chunks_exact(choices)) {
        for (&e, w) in selected.iter().zip(weights).take(shape.top_k) {
            sums[usize::from(e)] += w;
        }
    }
    sums
}

/// One token's margin `(c - threshold) / s` for each expert, and the expert that is the threshold. Needs more experts
/// than `top_k`.
fn margins(shape: GateShape, routing: &Routing, t: usize) -> Vec<(f32, usize)> {
    let experts = shape.experts;
    let (clean, spread) = routing.scores[t * 2 * experts..][..2 * experts].split_at(experts);
    let logits = &routing.logits[t * experts..][..experts];
    // The `top_k` largest and the next one. The threshold of a selected expert is the next one; that of any other
    // expert is the last selected one.
    let mut order = vec![0u16; shape.top_k + 1];
    select(logits, 0, &mut order);
    let (last, next) = (usize::from(order[shape.top_k - 1]), usize::from(order[shape.top_k]));
    let margin = |e: usize| {
        let threshold = if order[..shape.top_k].contains(&(e as u16)) { next } else { last };
        ((clean[e] - logits[threshold]) / deviation(spread[e]).0, threshold)
    };
    (0..experts).map(margin).collect()
}

/// The standard normal distribution function (Abramowitz and Stegun 1964, 7.1.26, error below 1.5e-7).
fn distribution(x: f32) -> f32 {
    let z = f64::from(x.abs()) / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let series = [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592];
    let tail = 0.5 * series.iter().fold(0.0, |sum, c| sum * t + c) * t * (-z * z).exp();
    (if x > 0.0 { 1.0 - tail } else { tail }) as f32
}

/// The standard normal density.
fn density(x: f32) -> f32 {
    (-0.5 * x * x).exp() / std::f32::consts::TAU.sqrt()
}

/// Smooth load of each expert.
fn load(shape: GateShape, routing: &Routing) -> Vec<f32> {
    let mut sums = vec![0.0; shape.experts];
    for t in 0..routing.log_sum.len() {
        let margins = margins(shape, routing, t);
        sums.iter_mut().zip(margins).for_each(|(sum, (margin, _))| *sum += distribution(margin));
    }
    sums
}

/// Both losses, times their factors.
pub fn losses(shape: GateShape, routing: &Routing, importance_loss: f32, load_loss: f32) -> f32 {
    importance_loss * variation(&importance(shape, routing)).0 + load_loss * variation(&load(shape, routing)).0
}

/// The importance loss adds its gradient to each weight's. Through the weights, as in Mixtral's gate,
/// `dH_i = w_i (dw_i - sum_j w_j dw_j)`. The load loss sends `a_i` to each `P_i`: with the margin `m = (c -
/// H_threshold) / s`, `dc += a phi(m) / s`, `ds -= a phi(m) m / s`, `dH_threshold -= a phi(m) / s`. At last `dc += dH`,
/// `ds += dH e`, and through softplus `dscore = ds sigmoid(score)`.
pub fn backward(
    shape: GateShape,
    routing: &Routing,
    d_weights: &[f32],
    importance_loss: f32,
    load_loss: f32,
    d_scores: &mut [f32],
) {
    let (experts, top_k, choices) = (shape.experts, shape.top_k, shape.choices());
    let (_, important) = variation(&importance(shape, routing));
    let (_, loaded) = variation(&load(shape, routing));
    for (t, d_scores) in d_scores.chunks_exact_mut(2 * experts).enumerate() {
        let spread = &routing.scores[t * 2 * experts + experts..][..experts];
        let row = t * choices..t * choices + top_k;
        let (selected, weights) = (&routing.selected[row.clone()], &routing.weights[row.clone()]);
        let d_weights =
            d_weights[row].iter().zip(selected).map(|(d, &e)| d + importance_loss * important[usize::from(e)]);
        let d_weights: Vec<f32> = d_weights.collect();
        let mean: f32 = weights.iter().zip(&d_weights).map(|(w, d)| w * d).sum();
        let mut d_logits = vec![0.0; experts];
        for ((&e, w), d) in selected.iter().zip(weights).zip(&d_weights) {
            d_logits[usize::from(e)] = w * (d - mean);
        }
        let (d_clean, d_spread) = d_scores.split_at_mut(experts);
        for (e, (margin, threshold)) in margins(shape, routing, t).into_iter().enumerate() {
            let pull = load_loss * loaded[e] * density(margin) / deviation(spread[e]).0;
            d_clean[e] = pull;
            d_spread[e] = -pull * margin;
            d_logits[threshold] -= pull;
        }
        for e in 0..experts {
            d_clean[e] += d_logits[e];
            d_spread[e] = (d_spread[e] + d_logits[e] * routing.noise[t * experts + e]) * deviation(spread[e]).1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distribution_and_softplus_have_their_known_values() {
        for (x, expected) in [(0.0, 0.5), (1.0, 0.841_344_7), (-1.96, 0.024_997_9), (6.0, 1.0), (-6.0, 0.0)] {
            assert!((distribution(x) - expected).abs() < 1e-6, "{x}");
        }
        assert!((softplus(0.0) - std::f32::consts::LN_2).abs() < 1e-6);
        assert_eq!(softplus(100.0), 100.0);
        assert!(softplus(-100.0) < 1e-40);
    }

    #[test]
    fn variation_is_zero_where_all_are_equal() {
        assert!(variation(&[2.0, 2.0, 2.0]).0.abs() < 1e-6);
        assert!((variation(&[4.0, 0.0]).0 - 1.0).abs() < 1e-6);
    }
}
