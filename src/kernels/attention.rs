//! Causal attention over the cache: `out = softmax(q K^T / sqrt(head_dim)) V`, a row a token and head;
//! a group of `heads / kv_heads` query heads shares one key/value head.

use super::panels::{Panels, ROWS};
use crate::model::AttentionShape;
use crate::routing::softmax;
use wide::f32x8;

/// Keys and values of one layer. Keys lie in panels (positions as rows), so that scores of eight
/// positions are one stream; values lie row by row.
pub struct KvCache {
    head_dim: usize,
    keys: Vec<Panels>,
    values: Vec<Vec<f32>>,
}

impl KvCache {
    /// Room for `context` positions.
    pub fn new(context: usize, shape: &AttentionShape) -> Self {
        let head_dim = shape.head_dim;
        Self {
            head_dim,
            keys: vec![Panels::zeros(context, head_dim); shape.kv_heads],
            values: vec![vec![0.0; context * head_dim]; shape.kv_heads],
        }
    }

    /// Takes the first `len` positions of another layer of the same shape.
    pub fn copy_from(&mut self, other: &Self, len: usize) {
        for (mine, its) in self.keys.iter_mut().zip(&other.keys) {
            mine.copy_rows(its, len);
        }
        for (mine, its) in self.values.iter_mut().zip(&other.values) {
            mine[..len * self.head_dim].copy_from_slice(&its[..len * self.head_dim]);
        }
    }

    /// Sets dimension `i` of the key of `head` at `position`.
    pub fn set_key(&mut self, head: usize, position: usize, i: usize, x: f32) {
        self.keys[head].set(position, i, x);
    }

    /// Dimension `i` of the key of `head` at `position`.
    pub fn key(&self, head: usize, position: usize, i: usize) -> f32 {
        self.keys[head].get(position, i)
    }

    /// The value of `head` at `position`, `[head_dim]`.
    pub fn value(&self, head: usize, position: usize) -> &[f32] {
        &self.values[head][position * self.head_dim..][..self.head_dim]
    }

    /// Sets the value of `head` at `position`, `[head_dim]`.
    pub fn set_value(&mut self, head: usize, position: usize, value: &[f32]) {
        self.values[head][position * self.head_dim..][..self.head_dim].copy_from_slice(value);
    }
}

/// Attends from `q`, `[T, heads * head_dim]`, at positions `start..` into `out`, of the same shape.
/// `scores` is scratch for at least `context + 8` numbers.
pub fn attention(
    start: usize,
    shape: &AttentionShape,
    q: &[f32],
    cache: &KvCache,
    out: &mut [f32],
    scores: &mut [f32],
) {
    let (dim, group) = (shape.head_dim, shape.heads / shape.kv_heads);
    let rows = q.chunks_exact(dim).zip(out.chunks_exact_mut(dim));
    for (row, (q, out)) in rows.enumerate() {
        let (t, head) = (row / shape.heads, row % shape.heads / group);
        let seen = shape.first_seen(start + t)..start + t + 1;
        score(q, &cache.keys[head], seen.end, scores);
        let weights = &mut scores[seen.clone()];
        softmax(weights);
        out.fill(0.0);
        let values = cache.values[head][seen.start * dim..].chunks_exact(dim);
        for (&weight, value) in weights.iter().zip(values) {
            out.iter_mut().zip(value).for_each(|(out, v)| *out += weight * v);
        }
    }
}

/// `scores[j] = q . key[j] / sqrt(head_dim)` for the positions below `end` (and up to 7 beyond it).
fn score(q: &[f32], keys: &Panels, end: usize, scores: &mut [f32]) {
    let scale = f32x8::splat(1.0 / (q.len() as f32).sqrt());
    for (p, scores) in scores[..end.next_multiple_of(ROWS)].chunks_exact_mut(ROWS).enumerate() {
        let mut sum = f32x8::ZERO;
        for (&q, &key) in q.iter().zip(keys.panel(p)) {
            sum = f32x8::splat(q).mul_add(key, sum);
        }
        scores.copy_from_slice((sum * scale).as_array());
    }
}
