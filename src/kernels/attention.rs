//! Causal attention over the cache: `out = softmax(scale * q K^T) V`, for each token and head. Each group of
//! `heads / kv_heads` query heads shares one key/value head.

use super::linear::{TOKENS, by_halves, by_panel};
use super::madd::madd;
use super::panels::{Panels, ROWS, numbers};
use super::softmax::softmax_beside;
use crate::shape::AttentionShape;
use std::array::from_fn;
use std::ops::Range;
use wide::f32x8;

/// Keys and values of one layer. Keys lie in panels (positions as rows), so that scores of sixteen
/// positions are one stream; values lie row by row.
pub struct KvCache {
    value_dim: usize,
    keys: Vec<Panels>,
    values: Vec<Vec<f32>>,
}

impl KvCache {
    /// Room for `context` positions.
    pub fn new(context: usize, shape: &AttentionShape) -> Self {
        let value_dim = shape.value_dim;
        Self {
            value_dim,
            keys: vec![Panels::zeros(context, shape.head_dim); shape.kv_heads],
            values: vec![vec![0.0; context * value_dim]; shape.kv_heads],
        }
    }

    /// An empty cache, for a layer without attention.
    pub fn none() -> Self {
        Self { value_dim: 0, keys: Vec::new(), values: Vec::new() }
    }

    /// Makes room for `positions` positions; those that are there stay.
    pub fn grow(&mut self, positions: usize) {
        self.keys.iter_mut().for_each(|keys| keys.grow(positions));
        let numbers = positions * self.value_dim;
        for values in self.values.iter_mut().filter(|values| values.len() < numbers) {
            values.reserve_exact(numbers - values.len());
            values.resize(numbers, 0.0);
        }
    }

    /// Copies the first `len` positions of another layer of the same shape.
    pub fn copy_from(&mut self, other: &Self, len: usize) {
        self.grow(len);
        for (mine, its) in self.keys.iter_mut().zip(&other.keys) {
            mine.copy_rows(its, len);
        }
        for (mine, its) in self.values.iter_mut().zip(&other.values) {
            mine[..len * self.value_dim].copy_from_slice(&its[..len * self.value_dim]);
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

    /// The value of `head` at `position`, `[value_dim]`.
    pub fn value(&self, head: usize, position: usize) -> &[f32] {
        &self.values[head][position * self.value_dim..][..self.value_dim]
    }

    /// Sets the value of `head` at `position`, `[value_dim]`.
    pub fn set_value(&mut self, head: usize, position: usize, value: &[f32]) {
        self.values[head][position * self.value_dim..][..self.value_dim].copy_from_slice(value);
    }

    /// Sets dimension `i` of the value of `head` at `position`.
    pub fn set_value_at(&mut self, head: usize, position: usize, i: usize, x: f32) {
        self.values[head][position * self.value_dim + i] = x;
    }
}

/// Length of the buffer `scores` of [`attention`] for a cache of `context` positions.
pub fn scratch(context: usize) -> usize {
    TOKENS * (context + ROWS)
}

/// Attends from `q`, `[T, heads * head_dim]`, at positions `start..` into `out`, `[T, heads * value_dim]`. `sinks` are
/// the heads' scores of no position, `[heads]` or empty. `scores` is [`scratch`].
///
/// Four tokens share each read of a head's keys and values; a single token gives the same bits.
pub fn attention(
    start: usize,
    shape: &AttentionShape,
    q: &[f32],
    cache: &KvCache,
    sinks: &[f32],
    out: &mut [f32],
    scores: &mut [f32],
) {
    let tokens = q.len() / (shape.heads * shape.head_dim);
    let whole = tokens / TOKENS * TOKENS;
    for head in 0..shape.heads {
        for t in (0..whole).step_by(TOKENS) {
            attend::<TOKENS, 1>(start, shape, (t, head), q, cache, sinks, out, scores);
        }
        for t in whole..tokens {
            attend::<1, 4>(start, shape, (t, head), q, cache, sinks, out, scores);
        }
    }
}

/// One head of `M` tokens from index `t` on; values are summed `S * 8` numbers at once.
#[allow(clippy::too_many_arguments)] // As many as the kernel has.
fn attend<const M: usize, const S: usize>(
    start: usize,
    shape: &AttentionShape,
    (t, head): (usize, usize),
    q: &[f32],
    cache: &KvCache,
    sinks: &[f32],
    out: &mut [f32],
    scores: &mut [f32],
) {
    let (width, dim, group) = (shape.head_dim, shape.value_dim, shape.heads / shape.kv_heads);
    let place = |i: usize| ((t + i) * shape.heads + head) * dim;
    let query = |i: usize| &q[((t + i) * shape.heads + head) * width..][..width];
    let sink = sinks.get(head).copied().unwrap_or(f32::NEG_INFINITY);
    let seen: [Range<usize>; M] = from_fn(|i| shape.first_seen(start + t + i)..start + t + i + 1);
    let (first, end) = (seen[0].start, seen[M - 1].end);
    let room = scores.len() / M;
    score::<M>(from_fn(query), shape.scale(), &cache.keys[head / group], first..end, scores, room);
    for (row, seen) in scores.chunks_exact_mut(room).zip(&seen) {
        softmax_beside(&mut row[seen.clone()], sink);
        // Positions that other tokens of the tile see and this one does not have weight 0.
        row[first..seen.start].fill(0.0);
        row[seen.end..end].fill(0.0);
    }
    let weights: [&[f32]; M] = from_fn(|i| &scores[i * room..][first..end]);
    let values = &cache.values[head / group][first * dim..end * dim];
    let mut put = |i: usize, at: usize, numbers: &[f32]| out[place(i) + at..][..numbers.len()].copy_from_slice(numbers);
    let done = mix::<M, S>(weights, values, dim, 0, &mut put);
    let done = mix::<M, 1>(weights, values, dim, done, &mut put);
    // The remainder of a head whose width is no multiple of eight.
    for at in done..dim {
        for (i, weights) in weights.iter().enumerate() {
            let products = weights.iter().zip(values.chunks_exact(dim)).map(|(weight, value)| weight * value[at]);
            put(i, at, &[products.sum()]);
        }
    }
}

/// `scores[i][j] = scale * q[i] . key[j]` for the positions `j` in `seen` (and up to 15 around it); a row of
/// `scores` is `room` long.
fn score<const M: usize>(
    q: [&[f32]; M],
    scale: f32,
    keys: &Panels,
    seen: Range<usize>,
    scores: &mut [f32],
    room: usize,
) {
    let scale = f32x8::splat(scale);
    for p in seen.start / ROWS..seen.end.div_ceil(ROWS) {
        let sums = if M == 1 { by_panel(q, keys.panel(p)) } else { by_halves(q, keys.panel(p)) };
        for (i, sums) in sums.iter().enumerate() {
            scores[i * room + p * ROWS..][..ROWS].copy_from_slice(numbers(&sums.map(|sum| sum * scale)));
        }
    }
}

/// Gives `put` `sum_j weights[i][j] * values[j]` for each `i`, `S * 8` numbers of a value at once, from number `from`
/// on as long as there are so many; returns where it ended.
#[inline(always)]
fn mix<const M: usize, const S: usize>(
    weights: [&[f32]; M],
    values: &[f32],
    dim: usize,
    from: usize,
    put: &mut impl FnMut(usize, usize, &[f32]),
) -> usize {
    let end = from + (dim - from) / (S * 8) * S * 8;
    for at in (from..end).step_by(S * 8) {
        let mut sums = [[f32x8::ZERO; S]; M];
        for (j, value) in values.chunks_exact(dim).enumerate() {
            let (value, _) = value[at..][..S * 8].as_chunks::<8>();
            for (sums, weights) in sums.iter_mut().zip(weights) {
                for (sum, &value) in sums.iter_mut().zip(value) {
                    *sum = madd(f32x8::splat(weights[j]), f32x8::new(value), *sum);
                }
            }
        }
        sums.iter().enumerate().for_each(|(i, sums)| put(i, at, bytemuck::cast_slice(sums)));
    }
    end
}
