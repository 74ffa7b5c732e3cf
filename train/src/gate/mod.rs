//! The gate: router logits in, selected experts and their weights out, with the two losses that act on the logits.
//!
//! Mixtral's gate (Jiang et al. 2024): `p = softmax(logits)`, the `top_k` largest are selected, their probabilities are
//! divided by their sum. Ties go to the lower expert.

use crate::linalg::{exp_in_place, max};

/// The sizes of a gate.
#[derive(Clone, Copy, Debug)]
pub struct GateShape {
    /// Experts to choose from.
    pub experts: usize,
    /// Experts a token uses.
    pub top_k: usize,
}

/// How strongly the logits are held in order while training.
#[derive(Clone, Copy, Debug)]
pub struct GateLosses {
    /// Factor of the load-balancing loss `E * sum_i f_i P_i` (Fedus et al. 2021), `f` the share of the assignments and
    /// `P` the mean probability over the tokens of the batch; 1 when the load is even.
    pub balance: f32,
    /// Factor of the router z-loss, `mean over tokens of logsumexp(logits)^2` (Zoph et al. 2022).
    pub z: f32,
}

/// What the gate of one layer decided for a batch of tokens.
#[derive(Default)]
pub struct Routing {
    /// Raw scores, tokens x experts.
    pub logits: Vec<f32>,
    /// Softmax of the scores, tokens x experts.
    pub probabilities: Vec<f32>,
    /// Experts by falling probability, tokens x top_k.
    pub selected: Vec<u16>,
    /// What multiplies each selected expert's output, tokens x top_k.
    pub weights: Vec<f32>,
    /// Log-sum-exp of each token's scores.
    pub log_sum: Vec<f32>,
    /// Assignments of each expert.
    pub counts: Vec<usize>,
}

impl Routing {
    /// Room for `tokens` tokens.
    pub fn new(shape: GateShape, tokens: usize) -> Self {
        Self {
            logits: vec![0.0; tokens * shape.experts],
            probabilities: vec![0.0; tokens * shape.experts],
            selected: vec![0; tokens * shape.top_k],
            weights: vec![0.0; tokens * shape.top_k],
            log_sum: vec![0.0; tokens],
            counts: vec![0; shape.experts],
        }
    }
}

/// Load over its mean for the busiest expert of these counts: 1 is even, the number of experts is collapse.
pub fn max_over_mean(counts: &[usize]) -> f32 {
    let total: usize = counts.iter().sum();
    let busiest = counts.iter().copied().max().unwrap_or(0);
    if total == 0 { 0.0 } else { (busiest * counts.len()) as f32 / total as f32 }
}

/// Fills the rest of `routing` from its `logits`.
pub fn forward(shape: GateShape, routing: &mut Routing) {
    let GateShape { experts, top_k } = shape;
    routing.counts.fill(0);
    routing.probabilities.copy_from_slice(&routing.logits);
    for (t, p) in routing.probabilities.chunks_exact_mut(experts).enumerate() {
        let shift = max(p);
        let sum = exp_in_place(p, 1.0, shift);
        p.iter_mut().for_each(|p| *p /= sum);
        routing.log_sum[t] = shift + sum.ln();
        let selected = &mut routing.selected[t * top_k..][..top_k];
        let logits = &routing.logits[t * experts..][..experts];
        select(logits, selected);
        let kept: f32 = selected.iter().map(|&e| p[e as usize]).sum();
        for (weight, &expert) in routing.weights[t * top_k..][..top_k].iter_mut().zip(selected.iter()) {
            *weight = p[expert as usize] / kept;
            routing.counts[expert as usize] += 1;
        }
    }
}

/// The experts of the largest scores, largest first; the lower expert first where they are equal.
fn select(logits: &[f32], selected: &mut [u16]) {
    for rank in 0..selected.len() {
        let (taken, rest) = selected.split_at_mut(rank);
        let mut best = None;
        for (e, &score) in logits.iter().enumerate() {
            let better = best.is_none_or(|(_, s)| score > s);
            if better && !taken.contains(&(e as u16)) {
                best = Some((e, score));
            }
        }
        rest[0] = best.map_or(0, |(e, _)| e as u16);
    }
}

/// The two losses of this layer, already times their factors: (balance, z).
pub fn losses(shape: GateShape, routing: &Routing, factors: GateLosses) -> (f32, f32) {
    let tokens = routing.log_sum.len() as f32;
    let mut importance = vec![0.0f32; shape.experts];
    for p in routing.probabilities.chunks_exact(shape.experts) {
        importance.iter_mut().zip(p).for_each(|(sum, p)| *sum += p);
    }
    let assignments = tokens * shape.top_k as f32;
    let even: f32 = importance.iter().zip(&routing.counts).map(|(p, &c)| p / tokens * c as f32 / assignments).sum();
    let z = routing.log_sum.iter().map(|l| l * l).sum::<f32>() / tokens;
    (factors.balance * shape.experts as f32 * even, factors.z * z)
}

/// Writes `d_logits` (tokens x experts) from the weights' gradient and the two losses, whose share in the total loss is
/// `share`. The renormalised weights are a softmax over the selected logits alone, so for a selected expert
/// `dl_i = w_i (dw_i - sum_j w_j dw_j)`; the balancing loss sends `a_i = factor * E f_i / T` to each probability, which
/// the full softmax takes to `p_i (a_i - sum_j p_j a_j)`; the z-loss gives `factor * 2 lse p_i / T`.
pub fn backward(
    shape: GateShape,
    routing: &Routing,
    d_weights: &[f32],
    factors: GateLosses,
    share: f32,
    d_logits: &mut [f32],
) {
    let GateShape { experts, top_k } = shape;
    let tokens = routing.log_sum.len();
    let assignments = (tokens * top_k) as f32;
    let per_token = share * factors.balance * experts as f32 / tokens as f32;
    let push: Vec<f32> = routing.counts.iter().map(|&c| per_token * c as f32 / assignments).collect();
    for t in 0..tokens {
        let p = &routing.probabilities[t * experts..][..experts];
        let dl = &mut d_logits[t * experts..][..experts];
        let mean: f32 = p.iter().zip(&push).map(|(p, a)| p * a).sum();
        let z = share * factors.z * 2.0 * routing.log_sum[t] / tokens as f32;
        for i in 0..experts {
            dl[i] = p[i] * (push[i] - mean + z);
        }
        let weights = &routing.weights[t * top_k..][..top_k];
        let d_weights = &d_weights[t * top_k..][..top_k];
        let mean: f32 = weights.iter().zip(d_weights).map(|(w, d)| w * d).sum();
        for ((&expert, w), d) in routing.selected[t * top_k..][..top_k].iter().zip(weights).zip(d_weights) {
            dl[expert as usize] += w * (d - mean);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_the_lower_expert_and_weights_fall() {
        let shape = GateShape { experts: 5, top_k: 3 };
        let mut routing = Routing::new(shape, 1);
        routing.logits.copy_from_slice(&[0.5, 2.0, 0.5, 2.0, -1.0]);
        forward(shape, &mut routing);
        assert_eq!(routing.selected, [1, 3, 0]);
        assert!((routing.weights.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert!(routing.weights.is_sorted_by(|a, b| a >= b));
        assert_eq!(routing.counts, [1, 1, 0, 1, 0]);
    }

    #[test]
    fn an_even_load_has_balancing_loss_one() {
        let shape = GateShape { experts: 4, top_k: 1 };
        let mut routing = Routing::new(shape, 4);
        for t in 0..4 {
            routing.logits[t * 4 + t] = 3.0;
        }
        forward(shape, &mut routing);
        let (balance, _) = losses(shape, &routing, GateLosses { balance: 1.0, z: 0.0 });
        assert!((balance - 1.0).abs() < 1e-6);
        assert_eq!(max_over_mean(&routing.counts), 1.0);
    }
}
