//! The gate: router scores in, selected experts and their weights out, with the losses that act on the scores.
//!
//! Each kind is a file with its forward and backward pass; docs/model-format.md has their formulas side by side. Ties
//! go to the lower expert, and experts are listed by falling weight.

use serde::{Deserialize, Serialize};

use crate::linalg::{exp_in_place, max};

mod balance;
mod hierarchical;
mod noisy;
mod sigmoid;
mod softmax;

pub use sigmoid::move_bias;

/// How experts are chosen, with the numbers that the kind needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum GateKind {
    /// Softmax over the `top_k` largest scores (Mixtral).
    #[default]
    SoftmaxTopK,
    /// The `top_k` largest scores' share of the softmax over all (Switch Transformers).
    TopKOfSoftmax {
        /// If it is set, an expert takes `ceil(factor * top_k * context / experts)` tokens of a text, the earliest
        /// ones.
        capacity_factor: Option<f64>,
    },
    /// As `SoftmaxTopK`, with noise of a learned size on the scores while training (Shazeer et al. 2017).
    NoisyTopK {
        /// Factor of the importance loss.
        importance_loss: f32,
        /// Factor of the load loss.
        load_loss: f32,
    },
    /// Groups first, then experts in each chosen group (Shazeer et al. 2017, appendix B).
    Hierarchical {
        /// Groups of experts.
        groups: usize,
        /// Groups that a token uses.
        groups_per_token: usize,
    },
    /// Sigmoid scores; a bias that follows the load takes part in the choice but not in the weights (DeepSeek-V3).
    SigmoidBias {
        /// How far each expert's bias moves after a step.
        bias_rate: f32,
    },
}

/// The sizes of a gate.
#[derive(Clone, Copy, Debug)]
pub struct GateShape {
    /// How it chooses.
    pub kind: GateKind,
    /// Experts to choose from.
    pub experts: usize,
    /// Experts that are selected for a token.
    pub top_k: usize,
    /// Experts that every token uses, numbered after the others.
    pub shared: usize,
    /// The most tokens of a text that an expert takes.
    pub capacity: Option<usize>,
}

impl GateShape {
    /// Number of router scores for a token: one for each expert, then those for the groups or the noise.
    pub fn rows(&self) -> usize {
        self.experts
            + match self.kind {
                GateKind::NoisyTopK { .. } => self.experts,
                GateKind::Hierarchical { groups, .. } => groups,
                _ => 0,
            }
    }

    /// Number of experts that a token uses, with the shared ones.
    pub fn choices(&self) -> usize {
        self.top_k + self.shared
    }
}

/// The factors of the losses on the router's scores.
#[derive(Clone, Copy, Debug)]
pub struct GateLosses {
    /// Factor of the load-balancing loss `E * sum_i f_i P_i` (Fedus et al. 2021), `f` the share of the assignments and
    /// `P` the mean probability over the tokens that are balanced together; 1 when the load is even.
    pub balance: f32,
    /// Factor of the router z-loss, `mean over tokens of logsumexp(logits)^2` (Zoph et al. 2022).
    pub z: f32,
}

/// How the tokens of a pass are grouped.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    /// Tokens of a sequence.
    pub context: usize,
    /// Seed of the noise; none outside of training.
    pub noise: Option<u64>,
}

/// What the gate of one layer decided for a batch of tokens.
#[derive(Default)]
pub struct Routing {
    /// The router's scores, tokens x rows.
    pub scores: Vec<f32>,
    /// Scores of the experts with noise, from which the choice is made, tokens x experts.
    pub logits: Vec<f32>,
    /// The gate's probability of each expert, tokens x experts.
    pub probabilities: Vec<f32>,
    /// Experts by falling weight, then the shared ones, tokens x choices.
    pub selected: Vec<u16>,
    /// The factor of each selected expert's output, tokens x choices.
    pub weights: Vec<f32>,
    /// Which assignments are dropped because their expert is full, tokens x choices; empty without a capacity.
    pub dropped: Vec<bool>,
    /// Log-sum-exp of each token's logits.
    pub log_sum: Vec<f32>,
    /// Assignments to each expert, dropped ones too.
    pub counts: Vec<usize>,
    /// Noise of one pass, tokens x experts; empty where the kind has none.
    noise: Vec<f32>,
}

impl Routing {
    /// Room for `tokens` tokens.
    pub fn new(shape: GateShape, tokens: usize) -> Self {
        let GateShape { experts, top_k, shared, .. } = shape;
        let choices = shape.choices();
        let shared_expert = |choice: usize| (experts + choice.saturating_sub(top_k)) as u16;
        let noisy = matches!(shape.kind, GateKind::NoisyTopK { .. });
        Self {
            scores: vec![0.0; tokens * shape.rows()],
            logits: vec![0.0; tokens * experts],
            probabilities: vec![0.0; tokens * experts],
            selected: (0..tokens * choices).map(|a| if shared == 0 { 0 } else { shared_expert(a % choices) }).collect(),
            weights: vec![1.0; tokens * choices],
            dropped: vec![false; if shape.capacity.is_some() { tokens * choices } else { 0 }],
            log_sum: vec![0.0; tokens],
            counts: vec![0; experts],
            noise: vec![0.0; if noisy { tokens * experts } else { 0 }],
        }
    }
}

/// The busiest expert's count over the mean: 1 is an even load, the number of experts is a collapse.
pub fn max_over_mean(counts: &[usize]) -> f32 {
    let total: usize = counts.iter().sum();
    let busiest = counts.iter().copied().max().unwrap_or(0);
    if total == 0 { 0.0 } else { (busiest * counts.len()) as f32 / total as f32 }
}

/// Fills the rest of `routing` from its `scores`. `bias` has one entry an expert where the kind has a bias.
pub fn forward(shape: GateShape, bias: &[f32], batch: Batch, routing: &mut Routing) {
    match shape.kind {
        GateKind::SoftmaxTopK | GateKind::TopKOfSoftmax { .. } => softmax::forward(shape, routing),
        GateKind::NoisyTopK { .. } => noisy::forward(shape, batch, routing),
        GateKind::Hierarchical { .. } => hierarchical::forward(shape, routing),
        GateKind::SigmoidBias { .. } => sigmoid::forward(shape, bias, routing),
    }
    routing.counts.fill(0);
    for selected in routing.selected.chunks_exact(shape.choices()) {
        selected[..shape.top_k].iter().for_each(|&e| routing.counts[usize::from(e)] += 1);
    }
    if let Some(most) = shape.capacity {
        drop_overflow(shape, most, batch.context, routing);
    }
}

/// Drops the assignments over an expert's capacity in a sequence. A token's assignment is dropped if `most` tokens
/// before it have the same expert.
fn drop_overflow(shape: GateShape, most: usize, context: usize, routing: &mut Routing) {
    let choices = shape.choices();
    let mut asked = vec![0; shape.experts];
    for t in 0..routing.log_sum.len() {
        if t.is_multiple_of(context) {
            asked.fill(0);
        }
        let row = t * choices..t * choices + shape.top_k;
        for a in row.clone() {
            let full = asked[usize::from(routing.selected[a])] >= most;
            routing.dropped[a] = full;
            if full {
                routing.weights[a] = 0.0;
            }
        }
        routing.selected[row].iter().for_each(|&e| asked[usize::from(e)] += 1);
    }
}

/// The values of the gate's losses.
#[derive(Clone, Copy, Debug, Default)]
pub struct GateReport {
    /// The load-balancing loss without a factor: 1 is even.
    pub balance: f32,
    /// All losses of this gate, times their factors.
    pub loss: f32,
}

/// The losses of this layer.
pub fn losses(shape: GateShape, routing: &Routing, factors: GateLosses, batch: Batch) -> GateReport {
    let balance = balance::balance(shape, routing, batch);
    let loss = match shape.kind {
        GateKind::SoftmaxTopK | GateKind::TopKOfSoftmax { .. } => {
            factors.balance * balance + factors.z * balance::z(routing)
        }
        GateKind::NoisyTopK { importance_loss, load_loss } => noisy::losses(shape, routing, importance_loss, load_loss),
        GateKind::Hierarchical { groups, .. } => hierarchical::losses(shape, groups, routing, factors, balance),
        GateKind::SigmoidBias { .. } => 0.0,
    };
    GateReport { balance, loss }
}

/// Writes `d_scores` (tokens x rows) from the weights' gradient (tokens x choices, 0 for dropped ones) and this gate's
/// losses, whose share in the total loss is `share`.
pub fn backward(
    shape: GateShape,
    routing: &Routing,
    d_weights: &[f32],
    factors: GateLosses,
    batch: Batch,
    share: f32,
    d_scores: &mut [f32],
) {
    match shape.kind {
        GateKind::SoftmaxTopK | GateKind::TopKOfSoftmax { .. } => {
            softmax::backward(shape, routing, d_weights, factors, batch, share, d_scores);
        }
        GateKind::NoisyTopK { importance_loss, load_loss } => {
            noisy::backward(shape, routing, d_weights, share * importance_loss, share * load_loss, d_scores);
        }
        GateKind::Hierarchical { groups, .. } => {
            hierarchical::backward(shape, groups, routing, d_weights, factors, share, d_scores);
        }
        GateKind::SigmoidBias { .. } => sigmoid::backward(shape, routing, d_weights, d_scores),
    }
}

/// Turns a row into its softmax and returns its log-sum-exp.
fn softmax_in_place(row: &mut [f32]) -> f32 {
    let shift = max(row);
    let sum = exp_in_place(row, 1.0, shift);
    row.iter_mut().for_each(|p| *p /= sum);
    shift + sum.ln()
}

/// The experts of the largest keys, largest first; the lower expert first where they are equal. `first` is added to
/// each.
fn select(keys: &[f32], first: usize, selected: &mut [u16]) {
    for rank in 0..selected.len() {
        let (taken, rest) = selected.split_at_mut(rank);
        let mut best = None;
        for (e, &key) in keys.iter().enumerate() {
            let better = best.is_none_or(|(_, k)| key > k);
            if better && !taken.contains(&((first + e) as u16)) {
                best = Some((e, key));
            }
        }
        rest[0] = (first + best.map_or(0, |(e, _)| e)) as u16;
    }
}

/// Sorts a token's experts by falling weight, ties by the lower expert.
fn sort_by_weight(selected: &mut [u16], weights: &mut [f32]) {
    for end in 1..selected.len() {
        let mut at = end;
        while at > 0
            && (weights[at] > weights[at - 1] || weights[at] == weights[at - 1] && selected[at] < selected[at - 1])
        {
            selected.swap(at, at - 1);
            weights.swap(at, at - 1);
            at -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(experts: usize, top_k: usize) -> GateShape {
        GateShape { kind: GateKind::SoftmaxTopK, experts, top_k, shared: 0, capacity: None }
    }

    const QUIET: Batch = Batch { context: 4, noise: None };

    #[test]
    fn ties_go_to_the_lower_expert_and_weights_fall() {
        let shape = shape(5, 3);
        let mut routing = Routing::new(shape, 1);
        routing.scores.copy_from_slice(&[0.5, 2.0, 0.5, 2.0, -1.0]);
        forward(shape, &[], QUIET, &mut routing);
        assert_eq!(routing.selected, [1, 3, 0]);
        assert!((routing.weights.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert!(routing.weights.is_sorted_by(|a, b| a >= b));
        assert_eq!(routing.counts, [1, 1, 0, 1, 0]);
    }

    #[test]
    fn an_even_load_has_balancing_loss_one() {
        let shape = shape(4, 1);
        let mut routing = Routing::new(shape, 4);
        for t in 0..4 {
            routing.scores[t * 4 + t] = 3.0;
        }
        forward(shape, &[], QUIET, &mut routing);
        let report = losses(shape, &routing, GateLosses { balance: 0.5, z: 0.0 }, QUIET);
        assert!((report.balance - 1.0).abs() < 1e-6);
        assert!((report.loss - 0.5).abs() < 1e-6);
        assert_eq!(max_over_mean(&routing.counts), 1.0);
    }

    #[test]
    fn a_full_expert_drops_the_later_tokens_of_a_sequence() {
        let kind = GateKind::TopKOfSoftmax { capacity_factor: Some(1.0) };
        let shape = GateShape { kind, capacity: Some(2), ..shape(2, 1) };
        let mut routing = Routing::new(shape, 8);
        // Expert 0 but for one token, in two sequences of four.
        (0..8).for_each(|t| routing.scores[2 * t + usize::from(t == 1)] = 1.0);
        forward(shape, &[], QUIET, &mut routing);
        assert_eq!(routing.dropped, [false, false, false, true, false, false, true, true]);
        assert!(routing.weights.iter().zip(&routing.dropped).all(|(&w, &dropped)| (w == 0.0) == dropped));
        assert_eq!(routing.counts, [7, 1], "the load is what the router asked for");
    }

    #[test]
    fn shared_experts_follow_the_chosen_ones_with_weight_one() {
        let shape = GateShape { kind: GateKind::SigmoidBias { bias_rate: 0.1 }, shared: 2, ..shape(3, 1) };
        let mut routing = Routing::new(shape, 2);
        routing.scores.copy_from_slice(&[0.0, 1.0, 0.0, 0.0, 0.0, 0.1]);
        forward(shape, &[0.0, 0.0, -1.0], QUIET, &mut routing);
        assert_eq!(routing.selected, [1, 3, 4, 0, 3, 4], "the bias keeps the second token from expert 2");
        assert_eq!(routing.weights, [1.0; 6]);
    }
}
