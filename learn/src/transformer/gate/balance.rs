//! The two losses of a softmax gate: load balance and the size of the logits.

use super::{Batch, GateLosses, GateShape, Routing};

/// How many tokens are balanced together: a sequence where there is a capacity, as in Switch Transformers, so that
/// loss and capacity cover the same tokens; otherwise all tokens of the pass.
fn group(shape: GateShape, routing: &Routing, batch: Batch) -> usize {
    if shape.capacity.is_some() { batch.context } else { routing.log_sum.len() }
}

/// Assignments of each expert in a group of tokens.
fn counts(shape: GateShape, routing: &Routing, group: usize, n: usize) -> Vec<usize> {
    let choices = shape.choices();
    let mut counts = vec![0; shape.experts];
    for selected in routing.selected[n * group * choices..(n + 1) * group * choices].chunks_exact(choices) {
        selected[..shape.top_k].iter().for_each(|&e| counts[usize::from(e)] += 1);
    }
    counts
}

/// `E * sum_i f_i P_i`, the mean over the groups of tokens.
pub fn balance(shape: GateShape, routing: &Routing, batch: Batch) -> f32 {
    let group = group(shape, routing, batch);
    let groups = routing.log_sum.len() / group;
    let assignments = (group * shape.top_k) as f32;
    let one = |n: usize| -> f32 {
        let mut importance = vec![0.0f32; shape.experts];
        let rows = n * group * shape.experts..(n + 1) * group * shape.experts;
        for p in routing.probabilities[rows].chunks_exact(shape.experts) {
            importance.iter_mut().zip(p).for_each(|(sum, p)| *sum += p);
        }
        let counts = counts(shape, routing, group, n);
        importance.iter().zip(&counts).map(|(p, &c)| p / group as f32 * c as f32 / assignments).sum()
    };
    shape.experts as f32 * (0..groups).map(one).sum::<f32>() / groups as f32
}

/// `mean over tokens of logsumexp(logits)^2`.
pub fn z(routing: &Routing) -> f32 {
    routing.log_sum.iter().map(|l| l * l).sum::<f32>() / routing.log_sum.len() as f32
}

/// Writes the gradient of both losses, `share` times their factors, into `d_logits` (tokens x experts): the balancing
/// loss sends `a_i = E f_i / T` to each probability, which the softmax takes to `p_i (a_i - sum_j p_j a_j)`; the z-loss
/// gives `2 lse p_i / T`.
pub fn backward(
    shape: GateShape,
    routing: &Routing,
    factors: GateLosses,
    batch: Batch,
    share: f32,
    d_logits: &mut [f32],
) {
    let experts = shape.experts;
    let tokens = routing.log_sum.len();
    let group = group(shape, routing, batch);
    let assignments = (group * shape.top_k) as f32;
    let per_token = share * factors.balance * experts as f32 / tokens as f32;
    let push_of = |n: usize| -> Vec<f32> {
        counts(shape, routing, group, n).iter().map(|&c| per_token * c as f32 / assignments).collect()
    };
    let mut push = Vec::new();
    for t in 0..tokens {
        if t.is_multiple_of(group) {
            push = push_of(t / group);
        }
        let p = &routing.probabilities[t * experts..][..experts];
        let mean: f32 = p.iter().zip(&push).map(|(p, a)| p * a).sum();
        let z = share * factors.z * 2.0 * routing.log_sum[t] / tokens as f32;
        for (i, dl) in d_logits[t * experts..][..experts].iter_mut().enumerate() {
            *dl = p[i] * (push[i] - mean + z);
        }
    }
}
