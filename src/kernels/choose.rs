//! The gate: chooses experts and their weights from router logits. docs/gates.md and docs/model-format.md have the
//! formula and the source of each kind. Twin of the choice: `shaders/shared/choose.wgsl`.

use super::random::{normal, uniform};
use super::softmax::softmax;
use crate::shape::GateKind::{
    ExpertChoice, Hash, Hierarchical, NoisyTopK, Random, RoundRobin, SigmoidBias, SigmoidTopK, Soft, SoftmaxBias,
    SoftmaxTopK, SparseMixer, TopKOfSoftmax,
};
use crate::shape::{Gate, GroupLimit, GroupScore, NONE, Noise, Setting};

/// The token that is routed.
#[derive(Clone, Copy, Debug, Default)]
pub struct RoutedToken {
    /// The layer's number.
    pub layer: u32,
    /// The token's position in the text.
    pub position: u32,
    /// Its id.
    pub id: u32,
}

/// The parameters of a gate besides the router's matrix: vectors with one number for each expert, or empty.
#[derive(Clone, Debug, Default)]
pub struct GateVectors {
    /// Added to the experts' scores, which rank them.
    pub bias: Vec<f32>,
    /// Added to the experts' router logits.
    pub router_bias: Vec<f32>,
    /// The factor of an expert's weight, applied after the choice.
    pub scale: Vec<f32>,
}

impl GateVectors {
    /// The factor of this expert's weight; 1 where there is no scale.
    pub fn scale_of(&self, expert: u32) -> f32 {
        self.scale.get(expert as usize).copied().unwrap_or(1.0)
    }
}

/// The inputs of the gate for one token.
pub struct Scores<'a> {
    /// Router logits: one for each expert, then one for each expert group, then (for learned noise) one for each
    /// expert.
    pub router_logits: &'a [f32],
    /// The gate's own vectors.
    pub vectors: &'a GateVectors,
    /// Which experts are full; empty where there is no capacity.
    pub full: &'a [bool],
}

/// A buffer for a choice, reused from token to token.
#[derive(Debug, Default)]
pub struct Room {
    /// The keys of the experts, then those of the groups. [`CLOSED`] marks an expert or group that may not be chosen,
    /// or has been chosen.
    keys: Vec<f32>,
}

/// The key of an expert or group that may not be chosen.
const CLOSED: f32 = f32::NEG_INFINITY;
/// The lowest key of a candidate.
const LOWEST: f32 = -3.4e38;

/// Routes one token. Writes the ids of `setting.top_k` experts by falling weight (ties by lower id) and their weights,
/// and [`NONE`] to the rest of `selected`. Under expert choice it writes all candidates with their affinities instead.
pub fn route(
    setting: &Setting,
    place: RoutedToken,
    scores: &Scores<'_>,
    room: &mut Room,
    selected: &mut [u32],
    weights: &mut [f32],
) {
    let token = Token::new(setting, place, scores);
    let k = setting.row();
    selected[k..].fill(NONE);
    weights[k..].fill(0.0);
    let (selected, weights) = (&mut selected[..k], &mut weights[..k]);
    token.rank(&mut room.keys);
    if setting.gate.kind == Hierarchical {
        token.choose_by_group(&mut room.keys, selected, weights);
    } else {
        token.choose(&mut room.keys, selected);
        token.weigh(selected, weights);
    }
    if !setting.experts_choose() {
        for (expert, weight) in selected.iter_mut().zip(weights.iter_mut()).filter(|(expert, _)| **expert != NONE) {
            *weight *= scores.vectors.scale_of(*expert);
            *expert = setting.rename(*expert);
        }
    }
    sort_by_weight(selected, weights);
}

/// One token under one setting.
struct Token<'a> {
    setting: &'a Setting,
    place: RoutedToken,
    scores: &'a Scores<'a>,
    /// For gates with a softmax over all candidates: their largest logit, and the sum of `exp(logit - largest)`.
    normaliser: (f32, f32),
}

impl<'a> Token<'a> {
    fn new(setting: &'a Setting, place: RoutedToken, scores: &'a Scores<'a>) -> Self {
        let mut token = Self { setting, place, scores, normaliser: (0.0, 1.0) };
        if setting.gate.kind == SoftmaxBias || (weighs_by_softmax(setting) && setting.shares_all()) {
            let largest = token.candidates().map(|expert| token.logit(expert)).fold(LOWEST, f32::max);
            let sum = token.candidates().map(|expert| (token.logit(expert) - largest).exp()).sum();
            token.normaliser = (largest, sum);
        }
        token
    }

    fn is_candidate(&self, expert: u32) -> bool {
        let is = |flags: &[bool], expert: u32| flags.get(expert as usize).copied().unwrap_or(false);
        !is(&self.setting.off, expert) && !is(self.scores.full, self.setting.rename(expert))
    }

    fn candidates(&self) -> impl Iterator<Item = u32> + Clone + '_ {
        (0..self.setting.experts as u32).filter(|&expert| self.is_candidate(expert))
    }

    /// `l / temperature + std * z`
    fn noisy(&self, expert: u32) -> f32 {
        let (s, RoutedToken { layer, position, .. }) = (self.setting, self.place);
        let logit = self.scores.router_logits[expert as usize] / s.temperature;
        let std = match s.noise {
            Noise::Off => return logit,
            Noise::Of(std) => std,
            Noise::Learned => {
                let learned = &self.scores.router_logits[self.scores.router_logits.len() - s.experts..];
                softplus(learned[expert as usize])
            }
        };
        logit + std * normal([s.seed, layer, position, expert])
    }

    fn policy_bias(&self, expert: u32) -> f32 {
        self.setting.bias.get(expert as usize).copied().unwrap_or(0.0)
    }

    /// `l'` of docs/gates.md. It includes the policy's bias, except where the gate adds the bias to a score.
    fn logit(&self, expert: u32) -> f32 {
        if self.setting.gate.kind.has_bias() {
            return self.noisy(expert);
        }
        self.noisy(expert) + self.policy_bias(expert)
    }

    /// The sigmoid of an expert's logit. Logits below -87 count as -87, so that it is not 0.
    fn sigmoid(&self, expert: u32) -> f32 {
        1.0 / (1.0 + (-self.logit(expert)).min(87.0).exp())
    }

    /// The expert's share of the softmax over all candidates.
    fn share(&self, expert: u32) -> f32 {
        let (largest, sum) = self.normaliser;
        (self.logit(expert) - largest).exp() / sum
    }

    /// The key of an expert, by which experts are ranked.
    fn key(&self, expert: u32) -> f32 {
        let (s, RoutedToken { layer, position, id }) = (self.setting, self.place);
        let own_bias = || self.scores.vectors.bias.get(expert as usize).copied().unwrap_or(0.0);
        match s.gate.kind {
            SigmoidBias => self.sigmoid(expert) + own_bias() + self.policy_bias(expert),
            SoftmaxBias => self.share(expert) + own_bias() + self.policy_bias(expert),
            Hash => uniform([s.seed, layer, id, expert]),
            Random => uniform([s.seed, layer, position, expert]),
            RoundRobin => {
                let (experts, k) = (s.experts as u32, s.top_k as u32);
                let first = position.wrapping_mul(k) % experts;
                -(((expert + experts - first) % experts) as f32)
            }
            SoftmaxTopK | TopKOfSoftmax | NoisyTopK | Soft | Hierarchical | ExpertChoice | SigmoidTopK
            | SparseMixer => self.logit(expert),
        }
    }

    /// Writes the keys of all experts.
    fn rank(&self, keys: &mut Vec<f32>) {
        keys.clear();
        let key = |expert| if self.is_candidate(expert) { open(self.key(expert)) } else { CLOSED };
        keys.extend((0..self.setting.experts as u32).map(key));
    }

    /// Chooses the forced experts, and then the best candidates.
    fn choose(&self, keys: &mut Vec<f32>, selected: &mut [u32]) {
        if let Some(limit) = self.setting.gate.group_limit {
            close_groups(keys, limit);
        }
        let mut count = 0;
        for &expert in self.setting.forced.iter().filter(|&&expert| self.is_candidate(expert)) {
            selected[count] = expert;
            keys[expert as usize] = CLOSED;
            count += 1;
        }
        take_largest(keys, &mut selected[count..]);
    }

    /// Computes the weights of the chosen experts, without the experts' own factors.
    fn weigh(&self, selected: &mut [u32], weights: &mut [f32]) {
        let chosen = selected.iter().position(|&expert| expert == NONE).unwrap_or(selected.len());
        weights[chosen..].fill(0.0);
        let (selected, weights) = (&mut selected[..chosen], &mut weights[..chosen]);
        match self.setting.gate.kind {
            Hash | Random | RoundRobin => return weights.fill(1.0 / chosen as f32),
            SigmoidBias | SigmoidTopK => set_weights(selected, weights, |expert| self.sigmoid(expert)),
            SparseMixer => self.mix_sparsely(selected, weights),
            SoftmaxBias | SoftmaxTopK | TopKOfSoftmax | NoisyTopK | Soft | Hierarchical | ExpertChoice => {
                if self.setting.shares_all() {
                    set_weights(selected, weights, |expert| self.share(expert));
                } else {
                    softmax_of(selected, |expert| self.logit(expert), weights);
                }
            }
        }
        let Gate { renormalise, least_sum, epsilon, scale, .. } = self.setting.gate;
        let sum = if renormalise && !self.setting.experts_choose() {
            weights.iter().sum::<f32>().max(least_sum) + epsilon
        } else {
            1.0
        };
        weights.iter_mut().for_each(|weight| *weight = *weight / sum * scale);
    }

    /// Computes the sparse mixer's weights. For each of `selected`, by falling logit, the weight is its share of a
    /// softmax. The softmax is over the candidates that were not chosen before it and whose logits are relatively at
    /// most twice the jitter below it.
    fn mix_sparsely(&self, selected: &mut [u32], weights: &mut [f32]) {
        set_weights(selected, weights, |expert| self.logit(expert));
        sort_by_weight(selected, weights);
        let reach = 2.0 * self.setting.gate.jitter;
        for n in 0..selected.len() {
            let logit = weights[n];
            let near = |&expert: &u32| {
                let other = self.logit(expert);
                let size = other.abs().max(logit);
                let far = size > 0.0 && (logit - other) / size > reach;
                !far && !selected[..n].contains(&expert)
            };
            let near = self.candidates().filter(near).map(|expert| self.logit(expert));
            let largest = near.clone().fold(LOWEST, f32::max);
            let sum: f32 = near.map(|other| (other - largest).exp()).sum();
            weights[n] = (logit - largest).exp() / sum;
        }
    }

    /// Chooses the largest groups, and in each its largest experts. A weight is the softmax over the groups times the
    /// softmax in the group.
    fn choose_by_group(&self, keys: &mut Vec<f32>, selected: &mut [u32], weights: &mut [f32]) {
        let Gate { groups, groups_per_token, .. } = self.setting.gate;
        let (size, each) = (self.setting.experts / groups, selected.len() / groups_per_token);
        let group_logits = &self.scores.router_logits[self.setting.experts..];
        let group_logit = |group: u32| group_logits[group as usize];
        // The groups' ids and weights are kept at the end of the buffers, where the experts' will be written later.
        let first_group = selected.len() - groups_per_token;
        for (group, &logit) in group_logits[..groups].iter().enumerate() {
            let alive = keys[group * size..][..size].iter().any(|&key| key != CLOSED);
            keys.push(if alive { open(logit) } else { CLOSED });
        }
        take_largest(&mut keys[self.setting.experts..], &mut selected[first_group..]);
        softmax_of(&selected[first_group..], group_logit, &mut weights[first_group..]);
        for n in 0..groups_per_token {
            let (group, group_weight) = (selected[first_group + n], weights[first_group + n]);
            let (selected, weights) = (&mut selected[n * each..][..each], &mut weights[n * each..][..each]);
            if group == NONE {
                selected.fill(NONE);
                weights.fill(0.0);
                continue;
            }
            let first = group as usize * size;
            take_largest(&mut keys[first..first + size], selected);
            selected.iter_mut().filter(|expert| **expert != NONE).for_each(|expert| *expert += first as u32);
            softmax_of(selected, |expert| self.logit(expert), weights);
            weights.iter_mut().for_each(|weight| *weight *= group_weight);
        }
    }
}

/// Whether the gate's weights come from a softmax.
fn weighs_by_softmax(setting: &Setting) -> bool {
    !matches!(setting.gate.kind, SigmoidBias | SigmoidTopK | SparseMixer | Hierarchical | Hash | Random | RoundRobin)
}

/// The key of a candidate, at least [`LOWEST`]; also for NaN, which an overflow in a model can give.
fn open(key: f32) -> f32 {
    key.max(LOWEST)
}

/// Closes all experts outside of the best groups. `keys` are the experts' keys.
fn close_groups(keys: &mut Vec<f32>, limit: GroupLimit) {
    let experts = keys.len();
    let size = experts / limit.groups;
    for group in 0..limit.groups {
        let score = group_score(&keys[group * size..][..size], limit.score);
        keys.push(score);
    }
    let (members, groups) = keys.split_at_mut(experts);
    for _ in 0..limit.per_token {
        take_largest(groups, &mut [NONE]);
    }
    // A closed group was chosen, or has no candidates.
    for (members, _) in members.chunks_exact_mut(size).zip(groups).filter(|(_, group)| **group != CLOSED) {
        members.fill(CLOSED);
    }
    keys.truncate(experts);
}

/// The score by which a group is ranked. With a single candidate it is that candidate's key; without one, [`CLOSED`].
fn group_score(members: &[f32], score: GroupScore) -> f32 {
    let (mut first, mut second) = (CLOSED, CLOSED);
    for &key in members {
        if key > first {
            (first, second) = (key, first);
        } else if key > second {
            second = key;
        }
    }
    match score {
        GroupScore::TwoBest if second != CLOSED => open(first + second),
        GroupScore::TwoBest | GroupScore::Max => first,
    }
}

/// Writes the indices of the `chosen.len()` largest keys, by falling key, ties by lower index, and closes these keys.
/// Writes [`NONE`] where there are no more.
fn take_largest(keys: &mut [f32], chosen: &mut [u32]) {
    for choice in chosen {
        let (mut best, mut best_key) = (NONE, CLOSED);
        for (place, &key) in keys.iter().enumerate() {
            if key > best_key {
                (best, best_key) = (place as u32, key);
            }
        }
        *choice = best;
        if best != NONE {
            keys[best as usize] = CLOSED;
        }
    }
}

/// The weights of the selected experts: the softmax over their logits alone.
fn softmax_of(selected: &[u32], logit: impl Fn(u32) -> f32, weights: &mut [f32]) {
    let chosen = selected.iter().position(|&expert| expert == NONE).unwrap_or(selected.len());
    set_weights(&selected[..chosen], &mut weights[..chosen], logit);
    softmax(&mut weights[..chosen]);
    weights[chosen..].fill(0.0);
}

fn set_weights(selected: &[u32], weights: &mut [f32], weight_of: impl Fn(u32) -> f32) {
    for (weight, &expert) in weights.iter_mut().zip(selected) {
        *weight = weight_of(expert);
    }
}

/// Sorts by falling weight, ties by lower id, [`NONE`] last (insertion sort: k is small).
pub fn sort_by_weight(selected: &mut [u32], weights: &mut [f32]) {
    for end in 1..selected.len() {
        let before = |a: usize, b: usize, s: &[u32], w: &[f32]| {
            s[a] != NONE && (s[b] == NONE || w[a] > w[b] || (w[a] == w[b] && s[a] < s[b]))
        };
        let mut at = end;
        while at > 0 && before(at, at - 1, selected, weights) {
            selected.swap(at, at - 1);
            weights.swap(at, at - 1);
            at -= 1;
        }
    }
}

/// `ln(1 + exp(x))`
fn softplus(x: f32) -> f32 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}
