//! The router and its gate: `router_logits = x W^T`, then the choice (see [`crate::routing::gate`] for the kinds,
//! their maths and sources). Shared experts follow the k chosen ones, with weight 1.

use super::linear::linear;
use super::panels::Panels;
use crate::model::MoeShape;
use crate::routing::route;

/// Routes the normed `x`, `[T, D]`, by the router `weights`, `[E + G, D]`, and `bias`, `[E]` or empty: writes
/// `router_logits`, `[T, E + G]`, `selected` and `route_weights`, `[T, choices]`. `shape` must have a gate.
pub fn gate(
    shape: &MoeShape,
    x: &[f32],
    weights: &Panels,
    bias: &[f32],
    router_logits: &mut [f32],
    selected: &mut [u32],
    route_weights: &mut [f32],
) {
    linear(x, weights, router_logits);
    let gate = shape.gate.expect("a routed layer");
    let rows = selected.chunks_exact_mut(shape.choices()).zip(route_weights.chunks_exact_mut(shape.choices()));
    for (logits, (selected, route_weights)) in router_logits.chunks_exact(weights.rows()).zip(rows) {
        let (selected, shared) = selected.split_at_mut(shape.top_k);
        let (route_weights, shared_weights) = route_weights.split_at_mut(shape.top_k);
        route(gate, logits, bias, selected, route_weights);
        shared.iter_mut().zip(shape.experts as u32..).for_each(|(choice, expert)| *choice = expert);
        shared_weights.fill(1.0);
    }
}
