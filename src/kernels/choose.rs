//! The gate: from router logits to selected experts and their weights. Each kind's formula and source stand in
//! docs/gates.md and docs/model-format.md. Twin of the choice: `shaders/shared/choose.wgsl`.

use super::random::{normal, uniform};
use super::softmax::softmax;
use crate::shape::GateKind::{
    self, ExpertChoice, Hash, Hierarchical, NoisyTopK, Random, RoundRobin, SigmoidBias, Soft, SoftmaxTopK,
    TopKOfSoftmax,
};
use crate::shape::{Gate, NONE, Noise, Setting};

/// The token that is being routed.
#[derive(Clone, Copy, Debug, Default)]
pub struct RoutedToken {
    /// The layer's number.
    pub layer: u32,
    /// The token's position in the text.
    pub position: u32,
    /// Its id.
    pub id: u32,
}

/// What the gate knows of one token.
pub struct Scores<'a> {
    /// Router logits, one an expert, then one a group, then (for learned noise) one an expert.
    pub router_logits: &'a [f32],
    /// The model's own bias of each expert, or none.
    pub bias: &'a [f32],
    /// Experts without room, or none.
    pub full: &'a [bool],
}

/// Routes one token: writes the ids of `setting.top_k` experts by falling weight (ties by lower id) and their weights,
/// then [`NONE`] to the end of `selected`. Where experts choose, these are all the candidates with their affinity.
pub fn route(setting: &Setting, place: RoutedToken, scores: &Scores<'_>, selected: &mut [u32], weights: &mut [f32]) {
    let token = Token { setting, place, scores };
    let k = setting.row();
    selected[k..].fill(NONE);
    weights[k..].fill(0.0);
    let (selected, weights) = (&mut selected[..k], &mut weights[..k]);
    if setting.gate.kind == GateKind::Hierarchical {
        token.choose_by_group(selected, weights);
    } else {
        token.choose(selected);
        token.weigh(selected, weights);
    }
    if !setting.renamed.is_empty() && !setting.experts_choose() {
        selected.iter_mut().for_each(|expert| *expert = setting.rename(*expert));
    }
    // Softmax weights fall as their keys do.
    if setting.gate.kind != GateKind::SoftmaxTopK || !setting.forced.is_empty() || !setting.renamed.is_empty() {
        sort_by_weight(selected, weights);
    }
}

/// One token under one setting.
struct Token<'a> {
    setting: &'a Setting,
    place: RoutedToken,
    scores: &'a Scores<'a>,
}

impl Token<'_> {
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

    /// `l'` of docs/gates.md.
    fn logit(&self, expert: u32) -> f32 {
        self.noisy(expert) + self.policy_bias(expert)
    }

    fn sigmoid(&self, expert: u32) -> f32 {
        1.0 / (1.0 + (-self.noisy(expert)).exp())
    }

    /// What the candidates are ranked by.
    fn key(&self, expert: u32) -> f32 {
        let (s, RoutedToken { layer, position, id }) = (self.setting, self.place);
        match s.gate.kind {
            SigmoidBias => {
                let own = self.scores.bias.get(expert as usize).copied().unwrap_or(0.0);
                self.sigmoid(expert) + own + self.policy_bias(expert)
            }
            Hash => uniform([s.seed, layer, id, expert]),
            Random => uniform([s.seed, layer, position, expert]),
            RoundRobin => {
                let (experts, k) = (s.experts as u32, s.top_k as u32);
                let first = position.wrapping_mul(k) % experts;
                -(((expert + experts - first) % experts) as f32)
            }
            SoftmaxTopK | TopKOfSoftmax | NoisyTopK | Soft | Hierarchical | ExpertChoice => self.logit(expert),
        }
    }

    /// The forced experts, then the best candidates.
    fn choose(&self, selected: &mut [u32]) {
        let forced = &self.setting.forced;
        let mut count = 0;
        for &expert in forced.iter().filter(|&&expert| self.is_candidate(expert)) {
            selected[count] = expert;
            count += 1;
        }
        let rest = self.candidates().filter(|expert| !forced.contains(expert));
        largest(rest, |expert| self.key(expert), &mut selected[count..]);
    }

    /// Weights of the chosen.
    fn weigh(&self, selected: &[u32], weights: &mut [f32]) {
        let chosen = selected.iter().position(|&expert| expert == NONE).unwrap_or(selected.len());
        weights[chosen..].fill(0.0);
        let (selected, weights) = (&selected[..chosen], &mut weights[..chosen]);
        match self.setting.gate.kind {
            SigmoidBias => {
                let sum = if self.setting.renormalise { selected.iter().map(|&e| self.sigmoid(e)).sum() } else { 1.0 };
                set_weights(selected, weights, |expert| self.sigmoid(expert) / sum * self.setting.gate.scale);
            }
            Hash | Random | RoundRobin => weights.fill(1.0 / chosen as f32),
            SoftmaxTopK | TopKOfSoftmax | NoisyTopK | Soft | Hierarchical | ExpertChoice => {
                if self.setting.shares_all() {
                    let largest = self.candidates().map(|expert| self.logit(expert)).fold(f32::NEG_INFINITY, f32::max);
                    let sum: f32 = self.candidates().map(|expert| (self.logit(expert) - largest).exp()).sum();
                    set_weights(selected, weights, |expert| (self.logit(expert) - largest).exp() / sum);
                } else {
                    softmax_of(selected, |expert| self.logit(expert), weights);
                }
            }
        }
    }

    /// The largest groups, and in each its largest experts: softmax over the groups times softmax in the group.
    fn choose_by_group(&self, selected: &mut [u32], weights: &mut [f32]) {
        let Gate { groups, groups_per_token, .. } = self.setting.gate;
        let (size, each) = ((self.setting.experts / groups) as u32, selected.len() / groups_per_token);
        let members = |group: u32| (group * size..(group + 1) * size).filter(|&expert| self.is_candidate(expert));
        let group_logits = &self.scores.router_logits[self.setting.experts..];
        let group_logit = |group: u32| group_logits[group as usize];
        // The groups' ids and weights stand where the experts' will, at the end of the room for them.
        let first_group = selected.len() - groups_per_token;
        let open = (0..groups as u32).filter(|&group| members(group).next().is_some());
        largest(open, group_logit, &mut selected[first_group..]);
        softmax_of(&selected[first_group..], group_logit, &mut weights[first_group..]);
        for n in 0..groups_per_token {
            let (group, group_weight) = (selected[first_group + n], weights[first_group + n]);
            let (selected, weights) = (&mut selected[n * each..][..each], &mut weights[n * each..][..each]);
            if group == NONE {
                selected.fill(NONE);
                weights.fill(0.0);
                continue;
            }
            largest(members(group), |expert| self.logit(expert), selected);
            softmax_of(selected, |expert| self.logit(expert), weights);
            weights.iter_mut().for_each(|weight| *weight *= group_weight);
        }
    }
}

/// Writes the `chosen.len()` candidates with the largest keys, by falling key, ties by lower id, then [`NONE`] where
/// there are no more.
fn largest(candidates: impl Iterator<Item = u32> + Clone, key: impl Fn(u32) -> f32, chosen: &mut [u32]) {
    // A model that overflows gives NaN; it must not stop anything here.
    let key = |candidate: u32| Some(key(candidate)).filter(|key| !key.is_nan()).unwrap_or(f32::NEG_INFINITY);
    let mut last: Option<(f32, u32)> = None;
    for choice in chosen {
        // Choices follow each other in the order of (falling key, rising id).
        let after_last = |key: f32, id: u32| last.is_none_or(|(last, of)| key < last || (key == last && id > of));
        let mut best: Option<(f32, u32)> = None;
        for candidate in candidates.clone() {
            let key = key(candidate);
            if after_last(key, candidate) && best.is_none_or(|(best, _)| key > best) {
                best = Some((key, candidate));
            }
        }
        *choice = best.map_or(NONE, |(_, id)| id);
        last = best.or(Some((f32::NEG_INFINITY, NONE)));
    }
}

/// Weights of the selected: the softmax over their logits alone, which is softmax over all, renormalised.
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

/// Sorts by falling weight, ties by lower id (insertion sort: k is small).
pub fn sort_by_weight(selected: &mut [u32], weights: &mut [f32]) {
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

/// `ln(1 + exp(x))`
fn softplus(x: f32) -> f32 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}
