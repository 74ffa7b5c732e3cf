//! Sigmoid scores with a bias for each expert (DeepSeek-AI 2024, "DeepSeek-V3", section 2.1.2, balancing without a
//! loss):
//! `s = sigmoid(l)`, the `top_k` largest `s + b` are selected, weights are `s` over the sum of the selected. After each
//! step every bias moves by a fixed amount against its expert's load ([`move_bias`]).

use super::{GateShape, Routing, select, sort_by_weight};
use crate::linalg::exp;

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Computes choice and weights. The probabilities are the scores divided by their sum.
pub fn forward(shape: GateShape, bias: &[f32], routing: &mut Routing) {
    let (experts, top_k, choices) = (shape.experts, shape.top_k, shape.choices());
    routing.logits.copy_from_slice(&routing.scores);
    let mut keys = vec![0.0; experts];
    for (t, p) in routing.probabilities.chunks_exact_mut(experts).enumerate() {
        let logits = &routing.logits[t * experts..][..experts];
        for i in 0..experts {
            p[i] = sigmoid(logits[i]);
            keys[i] = p[i] + bias[i];
        }
        let selected = &mut routing.selected[t * choices..][..top_k];
        let weights = &mut routing.weights[t * choices..][..top_k];
        select(&keys, 0, selected);
        let kept: f32 = selected.iter().map(|&e| p[usize::from(e)]).sum();
        weights.iter_mut().zip(selected.iter()).for_each(|(w, &e)| *w = p[usize::from(e)] / kept);
        sort_by_weight(selected, weights);
        let all: f32 = p.iter().sum();
        p.iter_mut().for_each(|p| *p /= all);
    }
}

/// With `w_i = s_i / S` over the selected: `ds_i = (dw_i - sum_j w_j dw_j) / S` and `dl_i = ds_i s_i (1 - s_i)`, and
/// since `s_i / S = w_i`, `dl_i = w_i (1 - s_i) (dw_i - sum_j w_j dw_j)`.
pub fn backward(shape: GateShape, routing: &Routing, d_weights: &[f32], d_logits: &mut [f32]) {
    let (experts, top_k, choices) = (shape.experts, shape.top_k, shape.choices());
    d_logits.fill(0.0);
    for (t, dl) in d_logits.chunks_exact_mut(experts).enumerate() {
        let logits = &routing.logits[t * experts..][..experts];
        let row = t * choices..t * choices + top_k;
        let (weights, d_weights) = (&routing.weights[row.clone()], &d_weights[row.clone()]);
        let mean: f32 = weights.iter().zip(d_weights).map(|(w, d)| w * d).sum();
        for ((&e, w), d) in routing.selected[row].iter().zip(weights).zip(d_weights) {
            let e = usize::from(e);
            dl[e] = w * (1.0 - sigmoid(logits[e])) * (d - mean);
        }
    }
}

/// Moves each bias by `rate` up where its expert had less than the mean of the assignments, down where it had more.
pub fn move_bias(bias: &mut [f32], counts: &[usize], rate: f32) {
    let total: usize = counts.iter().sum();
    for (b, &count) in bias.iter_mut().zip(counts) {
        match (count * counts.len()).cmp(&total) {
            std::cmp::Ordering::Less => *b += rate,
            std::cmp::Ordering::Greater => *b -= rate,
            std::cmp::Ordering::Equal => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bias_moves_against_the_load() {
        let mut bias = [0.5, 0.5, 0.5];
        move_bias(&mut bias, &[9, 3, 6], 0.25);
        assert_eq!(bias, [0.25, 0.75, 0.5]);
    }
}
