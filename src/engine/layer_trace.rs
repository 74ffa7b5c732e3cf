//! The routing of one layer: the part of a step's result that is not logits.

use crate::kernels::softmax::softmax;
use crate::shape::NONE;
use serde::{Deserialize, Serialize};

/// What the router of one layer decided for `T` tokens, with `E` experts and `k` choices per token. All arrays are
/// row-major, one row for each token.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LayerTrace {
    /// The layer's number, counted over all layers from 0.
    pub layer: usize,
    /// `E`
    pub experts: usize,
    /// `k`
    pub top_k: usize,
    /// Raw scores before softmax, `[T, E]`.
    pub router_logits: Vec<f32>,
    /// Expert ids by falling weight, ties by lower id, `[T, k]`. Where a policy makes a row shorter than `k`, it is
    /// padded with [`NONE`].
    pub selected: Vec<u32>,
    /// The factor of each expert's output, `[T, k]`.
    pub weights: Vec<f32>,
    /// `G`: expert groups of a hierarchical gate; 0 for other gates.
    pub groups: usize,
    /// Raw scores of the expert groups, `[T, G]`.
    pub group_logits: Vec<f32>,
    /// Which assignments were over their expert's capacity, `[T, k]`; empty where there is no capacity.
    pub dropped: Vec<bool>,
}

impl LayerTrace {
    /// An empty trace of layer number `layer`.
    pub fn new(layer: usize, experts: usize, top_k: usize) -> Self {
        Self { layer, experts, top_k, ..Self::default() }
    }

    /// `T`: how many tokens have been routed.
    pub fn tokens(&self) -> usize {
        self.selected.len() / self.top_k.max(1)
    }

    /// Router logits of the token at `position`, `[E]`.
    pub fn router_logits_of(&self, position: usize) -> &[f32] {
        &self.router_logits[position * self.experts..][..self.experts]
    }

    /// Experts of the token at `position` by falling weight, at most `k`.
    pub fn selected_of(&self, position: usize) -> &[u32] {
        let row = &self.selected[position * self.top_k..][..self.top_k];
        &row[..row.iter().position(|&expert| expert == NONE).unwrap_or(row.len())]
    }

    /// Weights of the experts of the token at `position`, in the order of [`Self::selected_of`].
    pub fn weights_of(&self, position: usize) -> &[f32] {
        &self.weights[position * self.top_k..][..self.selected_of(position).len()]
    }

    /// Which assignments of the token at `position` were dropped, in the order of [`Self::selected_of`]; empty where
    /// there is no capacity.
    pub fn dropped_of(&self, position: usize) -> &[bool] {
        let row = self.dropped.get(position * self.top_k..(position + 1) * self.top_k);
        row.map_or(&[], |row| &row[..self.selected_of(position).len()])
    }

    /// The expert of every assignment, token by token.
    pub fn assignments(&self) -> impl Iterator<Item = u32> + '_ {
        self.selected.iter().copied().filter(|&expert| expert != NONE)
    }

    /// Router probabilities (softmax over all experts) of the token at `position`, `[E]`.
    pub fn probabilities_of(&self, position: usize) -> Vec<f32> {
        let mut row = self.router_logits_of(position).to_vec();
        softmax(&mut row);
        row
    }

    /// Removes the tokens from position `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.router_logits.truncate(len * self.experts);
        self.selected.truncate(len * self.top_k);
        self.group_logits.truncate(len * self.groups);
        self.dropped.truncate(len * self.top_k);
        self.weights.truncate(len * self.top_k);
    }

    /// Removes the first `count` tokens.
    pub fn forget_first(&mut self, count: usize) {
        self.router_logits.drain(..count * self.experts);
        self.selected.drain(..count * self.top_k);
        self.group_logits.drain(..count * self.groups);
        if !self.dropped.is_empty() {
            self.dropped.drain(..count * self.top_k);
        }
        self.weights.drain(..count * self.top_k);
    }

    /// Appends the rows of `more`, which must belong to the same layer.
    pub fn extend(&mut self, more: &LayerTrace) {
        debug_assert_eq!((self.layer, self.experts, self.top_k), (more.layer, more.experts, more.top_k));
        self.router_logits.extend_from_slice(&more.router_logits);
        self.selected.extend_from_slice(&more.selected);
        self.weights.extend_from_slice(&more.weights);
        self.group_logits.extend_from_slice(&more.group_logits);
        self.dropped.extend_from_slice(&more.dropped);
    }
}
