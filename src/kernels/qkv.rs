//! Queries, keys and values in one product, `x W^T`, turned by their positions: queries for this step, keys and
//! values into the cache. Rotary positions (Su et al. 2021) in the form of Hugging Face's Llama and Mixtral:
//! dimension `i` of the lower half of a head turns with dimension `i + head_dim / 2` of the upper half by the angle
//! `position * theta^(-2i / head_dim)`.

use super::attention::KvCache;
use super::linear::linear;
use super::stored::Stored;
use crate::shape::AttentionShape;

/// `(cos, sin)` of every angle, `[context, head_dim / 2]`: made once, since WGSL's own `sin` is too coarse.
pub fn angles(context: usize, head_dim: usize, theta: f32) -> Vec<[f32; 2]> {
    let half = head_dim / 2;
    let frequency = |i: usize| 1.0 / theta.powf(2.0 * i as f32 / head_dim as f32);
    let angle = |at: usize| (at / half) as f32 * frequency(at % half);
    (0..context * half).map(|at| [angle(at).cos(), angle(at).sin()]).collect()
}

/// Projects the normed `x`, `[T, D]`, by `weights`, `[(heads + 2 kv_heads) * head_dim, D]`; the turned queries are
/// `q`, `[T, heads * head_dim]`, the turned keys and the values go to `cache` at positions `start..`. `qkv` is
/// scratch, as many rows as the weights have, a token.
#[allow(clippy::too_many_arguments)] // As many buffers as its twin binds.
pub fn qkv(
    start: usize,
    shape: &AttentionShape,
    x: &[f32],
    weights: &Stored,
    angles: &[[f32; 2]],
    q: &mut [f32],
    cache: &mut KvCache,
    qkv: &mut [f32],
) {
    linear(x, weights, qkv);
    let (dim, half) = (shape.head_dim, shape.head_dim / 2);
    let (queries, keys) = (shape.query_width(), shape.kv_heads * dim);
    for (t, (qkv, q)) in qkv.chunks_exact(shape.qkv_rows()).zip(q.chunks_exact_mut(queries)).enumerate() {
        let position = start + t;
        let angles = &angles[position * half..][..half];
        for (head, turned) in qkv[..queries].chunks_exact(dim).zip(q.chunks_exact_mut(dim)) {
            turn(head, angles, |i, x| turned[i] = x);
        }
        for (n, head) in qkv[queries..queries + keys].chunks_exact(dim).enumerate() {
            turn(head, angles, |i, x| cache.set_key(n, position, i, x));
        }
        for (n, head) in qkv[queries + keys..].chunks_exact(dim).enumerate() {
            cache.set_value(n, position, head);
        }
    }
}

fn turn(head: &[f32], angles: &[[f32; 2]], mut put: impl FnMut(usize, f32)) {
    let (low, high) = head.split_at(angles.len());
    for (i, ((a, b), [cos, sin])) in low.iter().zip(high).zip(angles).enumerate() {
        put(i, a * cos - b * sin);
        put(i + angles.len(), b * cos + a * sin);
    }
}
