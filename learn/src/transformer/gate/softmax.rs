//! Softmax gates. Mixtral (Jiang et al. 2024): the softmax over the `top_k` largest logits, which is the softmax over
//! all, renormalised. Switch Transformers (Fedus et al. 2021): the softmax over all, as it is.

use super::balance;
use super::{Batch, GateKind, GateLosses, GateShape, Routing, select, softmax_in_place};

/// Whether the weights of a token sum to 1.
fn renormalised(shape: GateShape) -> bool {
    shape.kind == GateKind::SoftmaxTopK
}

/// Choice and weights.
pub fn forward(shape: GateShape, routing: &mut Routing) {
    let (experts, top_k, choices) = (shape.experts, shape.top_k, shape.choices());
    routing.logits.copy_from_slice(&routing.scores);
    routing.probabilities.copy_from_slice(&routing.logits);
    for (t, p) in routing.probabilities.chunks_exact_mut(experts).enumerate() {
        routing.log_sum[t] = softmax_in_place(p);
        let selected = &mut routing.selected[t * choices..][..top_k];
        select(&routing.logits[t * experts..][..experts], 0, selected);
        let kept: f32 = selected.iter().map(|&e| p[e as usize]).sum();
        let kept = if renormalised(shape) { kept } else { 1.0 };
        for (weight, &expert) in routing.weights[t * choices..][..top_k].iter_mut().zip(selected.iter()) {
            *weight = p[expert as usize] / kept;
        }
    }
}

/// The renormalised weights are a softmax over the selected logits alone, so for a selected expert
/// `dl_i = w_i (dw_i - sum_j w_j dw_j)`. The others are part of the softmax over all, so for every expert
/// `dl_i = p_i (dw_i - sum_j p_j dw_j)`, with `dw` 0 where it was not selected. To these the losses' gradient is added.
pub fn backward(
    shape: GateShape,
    routing: &Routing,
    d_weights: &[f32],
    factors: GateLosses,
    batch: Batch,
    share: f32,
    d_logits: &mut [f32],
) {
    let (experts, top_k, choices) = (shape.experts, shape.top_k, shape.choices());
    balance::backward(shape, routing, factors, batch, share, d_logits);
    for (t, dl) in d_logits.chunks_exact_mut(experts).enumerate() {
        let selected = &routing.selected[t * choices..][..top_k];
        let d_weights = &d_weights[t * choices..][..top_k];
        if renormalised(shape) {
            let weights = &routing.weights[t * choices..][..top_k];
            let mean: f32 = weights.iter().zip(d_weights).map(|(w, d)| w * d).sum();
            for ((&expert, w), d) in selected.iter().zip(weights).zip(d_weights) {
                dl[expert as usize] += w * (d - mean);
            }
        } else {
            let p = &routing.probabilities[t * experts..][..experts];
            let mean: f32 = selected.iter().zip(d_weights).map(|(&e, d)| p[e as usize] * d).sum();
            dl.iter_mut().zip(p).for_each(|(dl, p)| *dl -= p * mean);
            for (&expert, d) in selected.iter().zip(d_weights) {
                dl[expert as usize] += p[expert as usize] * d;
            }
        }
    }
}
