//! Settles what a gate cannot decide token by token: the capacities of experts, and expert choice (docs/gates.md,
//! "Capacity" and "Expert choice").

use super::choose::{GateVectors, Room, Scores, route, sort_by_weight};
use super::gate::Batch;
use crate::shape::{GROUP, Limit, MoeShape, NONE, Setting, setting_at};

/// The assignments of a layer so far, which count towards capacities.
pub struct CapacityState<'a> {
    /// The routed experts of every token of the text, `[context, k]`, without dropped assignments. The rows of this
    /// step are written here.
    pub history: &'a mut [u32],
    /// Which assignments are dropped, `[T, choices]`; written here.
    pub dropped: &'a mut [bool],
}

/// Applies capacities and expert choice to the choices of [`super::gate`], in place. `router_logits` are `[T, R]`;
/// `selected` and `route_weights` are `[T, choices]`.
#[allow(clippy::too_many_arguments)] // As many buffers as its twin binds.
pub fn settle(
    batch: Batch<'_>,
    shape: &MoeShape,
    settings: &[Setting],
    router_logits: &[f32],
    vectors: &GateVectors,
    room: &mut Room,
    state: CapacityState<'_>,
    selected: &mut [u32],
    route_weights: &mut [f32],
) {
    state.dropped.fill(false);
    let mut settling =
        Settling { batch, shape, settings, router_logits, vectors, room, state, selected, route_weights };
    settling.experts_choose();
    settling.keep_limits();
}

struct Settling<'a> {
    batch: Batch<'a>,
    shape: &'a MoeShape,
    settings: &'a [Setting],
    router_logits: &'a [f32],
    vectors: &'a GateVectors,
    room: &'a mut Room,
    state: CapacityState<'a>,
    selected: &'a mut [u32],
    route_weights: &'a mut [f32],
}

impl Settling<'_> {
    fn setting(&self, t: usize) -> &Setting {
        setting_at(self.settings, self.batch.start + t)
    }

    /// The range of token `t`'s choices.
    fn row(&self, t: usize) -> std::ops::Range<usize> {
        let first = t * self.shape.choices();
        first..first + self.shape.top_k
    }

    /// In each window of [`GROUP`] tokens, each expert takes the tokens with the largest affinity, which the gate
    /// wrote as weights.
    fn experts_choose(&mut self) {
        let mut first = 0;
        while first < self.batch.ids.len() {
            let end = self.batch.ids.len().min(first + GROUP - (self.batch.start + first) % GROUP);
            let choosing: Vec<usize> = (first..end).filter(|&t| self.setting(t).experts_choose()).collect();
            first = end;
            let Some(&t) = choosing.first() else { continue };
            let share = (choosing.len() * self.setting(t).top_k) as f32 / self.shape.experts as f32;
            let most = (self.setting(t).gate.capacity_factor * share).ceil() as usize;
            self.give(&choosing, most);
        }
    }

    /// Keeps for each expert the `most` tokens with the largest weight; ties go to the earlier token.
    fn give(&mut self, tokens: &[usize], most: usize) {
        let (choices, k) = (self.shape.choices(), self.shape.top_k);
        let slot = |t: usize, expert: usize| t * choices + expert;
        // Until its row is settled, a token's choices are all candidates, by falling weight.
        let mut weights = vec![0.0; tokens.len() * self.shape.experts];
        for (n, &t) in tokens.iter().enumerate() {
            for choice in slot(t, 0)..slot(t, k) {
                if self.selected[choice] != NONE {
                    weights[n * self.shape.experts + self.selected[choice] as usize] = self.route_weights[choice];
                }
            }
        }
        let weight = |n: usize, expert: u32| weights[n * self.shape.experts + expert as usize];
        for (n, &t) in tokens.iter().enumerate() {
            let setting = setting_at(self.settings, self.batch.start + t);
            let row = self.row(t);
            let (selected, route_weights) = (&mut self.selected[row.clone()], &mut self.route_weights[row]);
            for (choice, of) in selected.iter_mut().zip(route_weights.iter_mut()) {
                let (expert, mine) = (*choice, *of);
                let before = |&m: &usize| weight(m, expert) > mine || (weight(m, expert) == mine && m < n);
                if expert == NONE || (0..tokens.len()).filter(before).count() >= most {
                    (*choice, *of) = (NONE, 0.0);
                }
            }
            let gate = &setting.gate;
            let sum = if gate.renormalise { route_weights.iter().sum::<f32>().max(gate.least_sum) } else { 1.0 };
            for (expert, weight) in selected.iter_mut().zip(route_weights.iter_mut()).filter(|(e, _)| **e != NONE) {
                *weight *= self.vectors.scale_of(*expert) / sum;
                *expert = setting.rename(*expert);
            }
            sort_by_weight(selected, route_weights);
        }
    }

    /// Goes through the tokens in the order of the text; an expert that is full takes no more tokens.
    fn keep_limits(&mut self) {
        if self.settings.iter().all(|setting| setting.limit.is_none()) {
            return;
        }
        let (k, mut counts, mut full) = (self.shape.top_k, vec![0usize; self.shape.experts], Vec::new());
        let mut counted = None;
        for t in 0..self.batch.ids.len() {
            let position = self.batch.start + t;
            let limit = self.setting(t).limit;
            if let Some(Limit { most, group, next_best }) = limit {
                let first = position / group * group;
                if counted != Some(first) {
                    counts.fill(0);
                    let before = &self.state.history[first * k..position * k];
                    before.iter().filter(|&&expert| expert != NONE).for_each(|&expert| counts[expert as usize] += 1);
                    counted = Some(first);
                }
                if next_best {
                    full.clear();
                    full.extend(counts.iter().map(|&count| count >= most));
                    self.choose_again(t, &full);
                } else {
                    self.drop_overflow(t, &counts, most);
                }
            }
            for choice in self.row(t) {
                let kept = self.selected[choice] != NONE && !self.state.dropped[choice];
                let expert = if kept { self.selected[choice] } else { NONE };
                self.state.history[position * k + choice - self.row(t).start] = expert;
                if kept {
                    counts[expert as usize] += 1;
                }
            }
        }
    }

    fn drop_overflow(&mut self, t: usize, counts: &[usize], most: usize) {
        for choice in self.row(t) {
            let expert = self.selected[choice];
            if expert != NONE && counts[expert as usize] >= most {
                self.state.dropped[choice] = true;
                self.route_weights[choice] = 0.0;
            }
        }
    }

    fn choose_again(&mut self, t: usize, full: &[bool]) {
        let rows = self.shape.router_rows();
        let router_logits = &self.router_logits[t * rows..][..rows];
        let scores = Scores { router_logits, vectors: self.vectors, full };
        let (setting, row) = (setting_at(self.settings, self.batch.start + t), self.row(t));
        let (selected, weights) = (&mut self.selected[row.clone()], &mut self.route_weights[row]);
        route(setting, self.batch.place(t), &scores, self.room, selected, weights);
    }
}
