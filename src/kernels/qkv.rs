//! Queries, keys and values in one product, `x W^T`, rotated by position: queries for this step, keys and
//! values into the cache. Rotary positions (Su et al. 2021) in the form of Hugging Face's Llama and Mixtral:
//! dimensions `i` of a head's lower half and `i + head_dim / 2` of its upper half are a pair, rotated by the angle
//! `position * theta^(-2i / head_dim)`.

use super::attention::KvCache;
use super::linear::{add_bias, linear};
use super::stored::Stored;
use crate::shape::AttentionShape;

/// Projects the normed `x`, `[T, D]`, by `weights`, `[R, D]` with `R = (heads + 2 kv_heads) * head_dim`, and adds
/// `bias`, `[R]` or empty. `angles` are those of [`super::angles`]. Writes the rotated queries to `q`,
/// `[T, heads * head_dim]`, and the rotated keys and the values to `cache` at positions `start..`. `qkv` is scratch,
/// `[T, R]`.
#[allow(clippy::too_many_arguments)] // One for each buffer that its twin binds.
pub fn qkv(
    start: usize,
    shape: &AttentionShape,
    x: &[f32],
    weights: &Stored,
    bias: &[f32],
    angles: &[[f32; 2]],
    q: &mut [f32],
    cache: &mut KvCache,
    qkv: &mut [f32],
) {
    linear(x, weights, qkv);
    add_bias(bias, qkv);
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
