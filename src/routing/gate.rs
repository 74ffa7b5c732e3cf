//! The gate: from router logits to selected experts and their weights. Each kind's formula and source stand in
//! docs/model-format.md.

use serde::{Deserialize, Serialize};

/// How a router's logits become a choice.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Gate {
    /// The k largest logits; softmax over them (Jiang et al. 2024, "Mixtral of Experts", section 2.1;
    /// `MixtralSparseMoeBlock` in Hugging Face transformers). Noisy top-k without its noise is the same
    /// (Shazeer et al. 2017, equations 3 to 5).
    SoftmaxTopK,
    /// The k largest logits; their share of the softmax over all (Fedus et al. 2021, "Switch Transformers").
    TopKOfSoftmax,
    /// The largest groups, and in each of them the largest experts (Shazeer et al. 2017, appendix B).
    Hierarchical {
        /// Groups of experts, `G`; expert e is in group `e / (E / G)`.
        groups: usize,
        /// Groups that a token uses.
        groups_per_token: usize,
    },
    /// The k largest `sigmoid(l) + bias`; weights from `sigmoid(l)` alone (DeepSeek-AI 2024, "DeepSeek-V3", section 2.1.2).
    SigmoidBias {
        /// Multiplies the weights, which sum to 1 before.
        scale: f32,
    },
}

impl Gate {
    /// Router logits beyond those of the experts: one a group.
    pub fn group_logits(&self) -> usize {
        match self {
            Self::Hierarchical { groups, .. } => *groups,
            _ => 0,
        }
    }
}

/// Softmax of one row, in place: `x[i] = exp(x[i] - max) / sum`.
///
/// # Examples
/// ```
/// let mut row = [0.0, 0.0];
/// moescope::routing::softmax(&mut row);
/// assert_eq!(row, [0.5, 0.5]);
/// ```
pub fn softmax(row: &mut [f32]) {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for x in row.iter_mut() {
        *x = (*x - max).exp();
        sum += *x;
    }
    for x in row.iter_mut() {
        *x /= sum;
    }
}

/// Routes one token: writes the ids of `k = selected.len()` experts by falling weight (ties by lower id) and their
/// weights, `[k]`. `router_logits` has one entry an expert, then one a group; `bias` one an expert, or none.
pub fn route(gate: Gate, router_logits: &[f32], bias: &[f32], selected: &mut [u32], weights: &mut [f32]) {
    let (logits, group_logits) = router_logits.split_at(router_logits.len() - gate.group_logits());
    let logit = |expert: u32| logits[expert as usize];
    match gate {
        Gate::SoftmaxTopK => {
            largest(0..logits.len() as u32, logit, selected);
            softmax_of(selected, logit, weights);
        }
        Gate::TopKOfSoftmax => {
            largest(0..logits.len() as u32, logit, selected);
            let max = logit(selected[0]);
            let sum: f32 = logits.iter().map(|l| (l - max).exp()).sum();
            set_weights(selected, weights, |expert| (logit(expert) - max).exp() / sum);
        }
        Gate::SigmoidBias { scale } => {
            let score = |expert: u32| sigmoid(logit(expert));
            let key = |expert: u32| score(expert) + bias.get(expert as usize).copied().unwrap_or(0.0);
            largest(0..logits.len() as u32, key, selected);
            let sum: f32 = selected.iter().map(|&expert| score(expert)).sum();
            set_weights(selected, weights, |expert| score(expert) / sum * scale);
            sort_by_weight(selected, weights);
        }
        Gate::Hierarchical { groups, groups_per_token } => {
            let (size, each) = ((logits.len() / groups) as u32, selected.len() / groups_per_token);
            // The groups' ids and weights stand where the experts' will, at the end of the room for them.
            let first_group = selected.len() - groups_per_token;
            let group_logit = |group: u32| group_logits[group as usize];
            largest(0..groups as u32, group_logit, &mut selected[first_group..]);
            softmax_of(&selected[first_group..], group_logit, &mut weights[first_group..]);
            for n in 0..groups_per_token {
                let (group, group_weight) = (selected[first_group + n], weights[first_group + n]);
                let (selected, weights) = (&mut selected[n * each..][..each], &mut weights[n * each..][..each]);
                largest(group * size..(group + 1) * size, logit, selected);
                softmax_of(selected, logit, weights);
                weights.iter_mut().for_each(|weight| *weight *= group_weight);
            }
            sort_by_weight(selected, weights);
        }
    }
}

/// Writes the `chosen.len()` candidates with the largest keys, by falling key, ties by lower id.
fn largest(candidates: std::ops::Range<u32>, key: impl Fn(u32) -> f32, chosen: &mut [u32]) {
    debug_assert!(chosen.len() <= candidates.len());
    // A model that overflows gives NaN; it must not stop anything here.
    let key = |candidate: u32| Some(key(candidate)).filter(|key| !key.is_nan()).unwrap_or(f32::NEG_INFINITY);
    for choice in 0..chosen.len() {
        let last = choice.checked_sub(1).map(|before| (key(chosen[before]), chosen[before]));
        // Choices follow each other in the order of (falling key, rising id).
        let after_last = |&candidate: &u32| match last {
            None => true,
            Some((last, id)) => key(candidate) < last || (key(candidate) == last && candidate > id),
        };
        let rest = candidates.clone().filter(after_last);
        let best = rest.reduce(|best, candidate| if key(candidate) > key(best) { candidate } else { best });
        chosen[choice] = best.expect("no more choices than candidates");
    }
}

/// Weights of the selected: the softmax over their logits alone, which is softmax over all, renormalised.
fn softmax_of(selected: &[u32], logit: impl Fn(u32) -> f32, weights: &mut [f32]) {
    set_weights(selected, weights, logit);
    softmax(weights);
}

fn set_weights(selected: &[u32], weights: &mut [f32], weight_of: impl Fn(u32) -> f32) {
    for (weight, &expert) in weights.iter_mut().zip(selected) {
        *weight = weight_of(expert);
    }
}

/// Sorts by falling weight, ties by lower id (insertion sort: k is small).
fn sort_by_weight(selected: &mut [u32], weights: &mut [f32]) {
    for end in 1..selected.len() {
        let before = |a: usize, b: usize, s: &[u32], w: &[f32]| w[a] > w[b] || (w[a] == w[b] && s[a] < s[b]);
        let mut at = end;
        while at > 0 && before(at, at - 1, selected, weights) {
            selected.swap(at, at - 1);
            weights.swap(at, at - 1);
            at -= 1;
        }
    }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}
