//! Causal attention of one sequence, all heads, with grouped keys and values.
//!
//! Per head, with queries Q, keys K, values V (tokens x head_dim) and `s = 1 / sqrt(head_dim)`:
//! `P = softmax(s Q K^T + causal mask)`, `O = P V`. Queries are processed in blocks of `BLOCK` rows. A block uses
//! only the keys up to its last row, so about half of the full square is never computed. P is not stored: the backward
//! pass computes it again from the log-sum-exp of each row, as FlashAttention does (Dao et al. 2022).

use crate::linalg::{dot, exp, exp_in_place, max, product, strided, strided_mut};

/// Rows of queries that are processed together.
const BLOCK: usize = 64;

/// The sizes of one attention layer.
#[derive(Clone, Copy, Debug)]
pub struct AttentionShape {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
}

impl AttentionShape {
    /// Elements of one token's queries, keys and values side by side.
    pub fn qkv_width(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }

    /// Elements of one token's queries, and of its attention output.
    pub fn q_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Elements of one token's keys.
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// The first element of a query head's queries, keys and values in a token's row.
    fn offsets(&self, head: usize) -> (usize, usize, usize) {
        let kv_head = head / (self.heads / self.kv_heads);
        let keys = self.q_width() + kv_head * self.head_dim;
        (head * self.head_dim, keys, keys + self.kv_width())
    }

    fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }
}

/// Buffers for one block's probabilities and their gradient, reused by every call.
pub struct AttentionScratch {
    probabilities: Vec<f32>,
    gradient: Vec<f32>,
}

impl AttentionScratch {
    /// Buffers for sequences of at most `tokens` tokens.
    pub fn new(tokens: usize) -> Self {
        Self { probabilities: vec![0.0; BLOCK * tokens], gradient: vec![0.0; BLOCK * tokens] }
    }
}

/// Computes `out`, tokens x q_width, from `qkv`, tokens x qkv_width (after RoPE). `log_sum` (heads x tokens) is kept
/// for the backward pass.
pub fn forward(
    shape: AttentionShape,
    qkv: &[f32],
    out: &mut [f32],
    log_sum: &mut [f32],
    scratch: &mut AttentionScratch,
) {
    let (width, hd, scale) = (shape.qkv_width(), shape.head_dim, shape.scale());
    let tokens = qkv.len() / width;
    for head in 0..shape.heads {
        let (q, k, v) = shape.offsets(head);
        for start in (0..tokens).step_by(BLOCK) {
            let rows = BLOCK.min(tokens - start);
            let keys = start + rows;
            let scores = &mut scratch.probabilities[..rows * keys];
            product(
                strided_mut(scores, rows, keys, keys),
                0.0,
                1.0,
                strided(&qkv[start * width + q..], rows, hd, width),
                strided(&qkv[k..], keys, hd, width).t(),
            );
            for (r, row) in scores.chunks_exact_mut(keys).enumerate() {
                let (seen, future) = row.split_at_mut(start + r + 1);
                let shift = scale * max(seen);
                let sum = exp_in_place(seen, scale, shift);
                future.fill(0.0);
                log_sum[head * tokens + start + r] = shift + sum.ln();
                let inverse = 1.0 / sum;
                seen.iter_mut().for_each(|p| *p *= inverse);
            }
            product(
                strided_mut(&mut out[start * shape.q_width() + q..], rows, hd, shape.q_width()),
                0.0,
                1.0,
                strided(scores, rows, keys, keys),
                strided(&qkv[v..], keys, hd, width),
            );
        }
    }
}

/// Writes `d_qkv` from `d_out` (shapes as in [`forward`]). Per head, with `D_r = dO_r . O_r`:
/// `dV = P^T dO`, `dP = dO V^T`, `dS = s P (dP - D)`, `dQ = dS K`, `dK = dS^T Q`.
pub fn backward(
    shape: AttentionShape,
    qkv: &[f32],
    out: &[f32],
    log_sum: &[f32],
    d_out: &[f32],
    d_qkv: &mut [f32],
    scratch: &mut AttentionScratch,
) {
    let (width, q_width, hd, scale) = (shape.qkv_width(), shape.q_width(), shape.head_dim, shape.scale());
    let tokens = qkv.len() / width;
    d_qkv.fill(0.0);
    for head in 0..shape.heads {
        let (q, k, v) = shape.offsets(head);
        for start in (0..tokens).step_by(BLOCK) {
            let rows = BLOCK.min(tokens - start);
            let keys = start + rows;
            let probabilities = &mut scratch.probabilities[..rows * keys];
            let gradient = &mut scratch.gradient[..rows * keys];
            let queries = strided(&qkv[start * width + q..], rows, hd, width);
            let d_rows = strided(&d_out[start * q_width + q..], rows, hd, q_width);
            product(
                strided_mut(probabilities, rows, keys, keys),
                0.0,
                1.0,
                queries,
                strided(&qkv[k..], keys, hd, width).t(),
            );
            product(strided_mut(gradient, rows, keys, keys), 0.0, 1.0, d_rows, strided(&qkv[v..], keys, hd, width).t());
            for (r, (p, g)) in probabilities.chunks_exact_mut(keys).zip(gradient.chunks_exact_mut(keys)).enumerate() {
                let t = start + r;
                let at = t * q_width + q..t * q_width + q + hd;
                let along = dot(&d_out[at.clone()], &out[at]);
                let shift = log_sum[head * tokens + t];
                for (p, g) in p[..=t].iter_mut().zip(&mut g[..=t]) {
                    *p = exp(scale * *p - shift);
                    *g = scale * *p * (*g - along);
                }
                p[t + 1..].fill(0.0);
                g[t + 1..].fill(0.0);
            }
            let probabilities = strided(probabilities, rows, keys, keys);
            let gradient = strided(gradient, rows, keys, keys);
            product(strided_mut(&mut d_qkv[v..], keys, hd, width), 1.0, 1.0, probabilities.t(), d_rows);
            product(strided_mut(&mut d_qkv[k..], keys, hd, width), 1.0, 1.0, gradient.t(), queries);
            product(
                strided_mut(&mut d_qkv[start * width + q..], rows, hd, width),
                0.0,
                1.0,
                gradient,
                strided(&qkv[k..], keys, hd, width),
            );
        }
    }
}
