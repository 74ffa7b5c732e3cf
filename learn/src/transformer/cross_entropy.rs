//! The loss over the vocabulary with the tied embedding, fused. Logits, loss and gradient are computed for one chunk
//! of tokens after the other, so the full tokens x vocabulary matrix never exists.

use crate::linalg::{Linear, exp_in_place, max};

/// Tokens whose logits exist at the same time.
const CHUNK: usize = 128;

/// Buffers for one chunk's logits, reused by every call.
pub struct LossScratch {
    logits: Vec<f32>,
}

impl LossScratch {
    /// Buffers for a vocabulary of this size.
    pub fn new(vocabulary: usize) -> Self {
        Self { logits: vec![0.0; CHUNK * vocabulary] }
    }
}

/// Fills `loss` with each token's `-log p(target)` in nats. `x` is tokens x width (after the last norm), `embedding`
/// vocabulary x width, and the logits are `x embedding^T`.
pub fn forward(
    x: &[f32],
    embedding: &[f32],
    width: usize,
    targets: &[u16],
    loss: &mut [f32],
    scratch: &mut LossScratch,
) {
    let vocabulary = embedding.len() / width;
    let head = Linear { inputs: width, outputs: vocabulary };
    for (c, loss) in loss.chunks_mut(CHUNK).enumerate() {
        let start = c * CHUNK;
        let logits = &mut scratch.logits[..loss.len() * vocabulary];
        head.forward(&x[start * width..][..loss.len() * width], embedding, 0.0, logits);
        for ((row, loss), &target) in logits.chunks_exact_mut(vocabulary).zip(loss).zip(&targets[start..]) {
            let aim = row[target as usize];
            let shift = max(row);
            *loss = shift + exp_in_place(row, 1.0, shift).ln() - aim;
        }
    }
}

/// Returns the summed loss in nats; writes `dx` and adds to `d_embedding` the gradient of `share` times that sum:
/// `dlogits = share (p - onehot(target))`, `dx = dlogits embedding`, `dembedding = dlogits^T x`.
///
/// Without `d_embedding` its gradient is not computed.
#[allow(clippy::too_many_arguments)]
pub fn forward_backward(
    x: &[f32],
    embedding: &[f32],
    width: usize,
    targets: &[u16],
    share: f32,
    dx: &mut [f32],
    mut d_embedding: Option<&mut [f32]>,
    scratch: &mut LossScratch,
) -> f64 {
    let vocabulary = embedding.len() / width;
    let head = Linear { inputs: width, outputs: vocabulary };
    let mut total = 0.0;
    for (c, targets) in targets.chunks(CHUNK).enumerate() {
        let n = targets.len();
        let at = c * CHUNK * width..(c * CHUNK + n) * width;
        let logits = &mut scratch.logits[..n * vocabulary];
        head.forward(&x[at.clone()], embedding, 0.0, logits);
        for (row, &target) in logits.chunks_exact_mut(vocabulary).zip(targets) {
            let aim = row[target as usize];
            let shift = max(row);
            let sum = exp_in_place(row, 1.0, shift);
            total += f64::from(shift + sum.ln() - aim);
            let factor = share / sum;
            row.iter_mut().for_each(|p| *p *= factor);
            row[target as usize] -= share;
        }
        head.to_input(logits, embedding, 0.0, &mut dx[at.clone()]);
        if let Some(d_embedding) = &mut d_embedding {
            head.add_to_weight(logits, &x[at], d_embedding);
        }
    }
    total
}
