//! The router and its gate: `router_logits = x W^T + bias`, then the choice ([`super::choose`] has the kinds of
//! gates). Shared experts follow the chosen ones, with weight 1.

use super::choose::{GateVectors, Room, RoutedToken, Scores, route};
use super::linear::linear;
use super::stored::Stored;
use crate::shape::{MoeShape, Setting, setting_at};

/// The tokens of a step, in one layer.
#[derive(Clone, Copy)]
pub struct Batch<'a> {
    /// The layer's number.
    pub layer: usize,
    /// Position of the first token.
    pub start: usize,
    /// The tokens' ids, `[T]`.
    pub ids: &'a [u32],
}

impl Batch<'_> {
    /// The token at index `t`.
    pub fn place(&self, t: usize) -> RoutedToken {
        RoutedToken { layer: self.layer as u32, position: (self.start + t) as u32, id: self.ids[t] }
    }
}

/// Routes the normed `x`, `[T, D]`, by the router `weights`, `[R, D]`, and the gate's `vectors`, under these
/// `settings`. Writes `router_logits`, `[T, R]` (for experts, groups and noise), and `selected` and `route_weights`,
/// `[T, choices]`. `shape` must have a gate.
#[allow(clippy::too_many_arguments)] // As many buffers as its twin binds.
pub fn gate(
    batch: Batch<'_>,
    shape: &MoeShape,
    settings: &[Setting],
    x: &[f32],
    weights: &Stored,
    vectors: &GateVectors,
    room: &mut Room,
    router_logits: &mut [f32],
    selected: &mut [u32],
    route_weights: &mut [f32],
) {
    linear(x, weights, router_logits);
    for row in router_logits.chunks_exact_mut(weights.rows()) {
        row.iter_mut().zip(&vectors.router_bias).for_each(|(logit, bias)| *logit += bias);
    }
    let rows = selected.chunks_exact_mut(shape.choices()).zip(route_weights.chunks_exact_mut(shape.choices()));
    for (t, (logits, (selected, route_weights))) in router_logits.chunks_exact(weights.rows()).zip(rows).enumerate() {
        let (selected, shared) = selected.split_at_mut(shape.top_k);
        let (route_weights, shared_weights) = route_weights.split_at_mut(shape.top_k);
        let scores = Scores { router_logits: logits, vectors, full: &[] };
        route(setting_at(settings, batch.start + t), batch.place(t), &scores, room, selected, route_weights);
        shared.iter_mut().zip(shape.experts as u32..).for_each(|(choice, expert)| *choice = expert);
        shared_weights.fill(1.0);
    }
}
