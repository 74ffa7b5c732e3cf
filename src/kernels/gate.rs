//! The router and its gate: `router_logits = x W^T`, then softmax, top-k, renormalise
//! (see [`crate::routing::gate`] for the maths and its sources).

use super::linear::linear;
use super::panels::Panels;
use crate::routing::route;

/// Routes the normed `x`, `[T, D]`, by the router `weights`, `[E, D]`: writes `router_logits`, `[T, E]`,
/// `selected` and `route_weights`, `[T, k]`.
pub fn gate(x: &[f32], weights: &Panels, router_logits: &mut [f32], selected: &mut [u32], route_weights: &mut [f32]) {
    linear(x, weights, router_logits);
    let tokens = x.len() / weights.cols();
    let top_k = selected.len() / tokens;
    let choices = selected.chunks_exact_mut(top_k).zip(route_weights.chunks_exact_mut(top_k));
    for (logits, (selected, weights)) in router_logits.chunks_exact(weights.rows()).zip(choices) {
        route(logits, selected, weights);
    }
}
