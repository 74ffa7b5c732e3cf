//! What a gate does in one layer, from one position of the text on: the model's own way, or a policy's.

use super::architecture::{Architecture, MoeShape};
use super::gate::{Gate, GateKind};
use serde::{Deserialize, Serialize};

/// Tokens of a group, over which a policy's capacity counts and in which experts choose.
pub const GROUP: usize = 64;

/// Most settings of a layer: ranges of tokens that are routed in different ways.
pub const SETTINGS: usize = 16;

/// Noise on the router logits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Noise {
    /// None.
    Off,
    /// Of this standard deviation.
    Of(f32),
    /// Of the standard deviation that the model learned for each expert.
    Learned,
}

/// The most that an expert takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// Assignments of an expert in a group.
    pub most: usize,
    /// Tokens of a group.
    pub group: usize,
    /// Whether a token whose expert is full goes to the next best; it is dropped otherwise.
    pub next_best: bool,
}

impl Limit {
    /// A model's own: `most` assignments over its whole `context`, and the others are dropped.
    pub fn own(most: usize, context: usize) -> Self {
        Self { most, group: context, next_best: false }
    }
}

/// What the gate of a layer does from position `first` on.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// First position for which it holds; the next setting ends it.
    pub first: usize,
    /// Experts of the layer, `E`.
    pub experts: usize,
    /// How they are ranked and weighed; a [`Gate::ranking`].
    pub gate: Gate,
    /// Experts that a token uses (on average, where the experts choose).
    pub top_k: usize,
    /// Divides the router logits.
    pub temperature: f32,
    /// Which experts are removed, `[E]`, or none.
    pub off: Vec<bool>,
    /// What is added to the scores, `[E]`, or none.
    pub bias: Vec<f32>,
    /// Experts that are chosen first.
    pub forced: Vec<u32>,
    /// What each expert's tokens go to after the choice, `[E]`, or none.
    pub renamed: Vec<u32>,
    /// Noise on the router logits.
    pub noise: Noise,
    /// Seed of noise and chance.
    pub seed: u32,
    /// The most that an expert takes.
    pub limit: Option<Limit>,
}

impl Setting {
    /// The model's own gate in a layer of this shape, which must have one; `context` is the model's.
    pub fn own(shape: &MoeShape, context: usize) -> Self {
        let gate = shape.gate.unwrap_or(Gate::new(GateKind::SoftmaxTopK));
        Self {
            first: 0,
            experts: shape.experts,
            gate: gate.ranking(),
            top_k: shape.top_k,
            temperature: 1.0,
            off: Vec::new(),
            bias: Vec::new(),
            forced: Vec::new(),
            renamed: Vec::new(),
            noise: Noise::Off,
            seed: 0,
            limit: shape.capacity(context).map(|most| Limit::own(most, context)),
        }
    }

    /// Whether weights are first shares of all candidates, for a gate that weighs by a softmax.
    pub fn shares_all(&self) -> bool {
        !self.gate.renormalise || self.gate.has_floor() || self.experts_choose() || self.gate.kind.has_bias()
    }

    /// Whether the experts that a token did not choose have a part in its choice or its weights, besides being worse.
    pub fn reads_all(&self) -> bool {
        let by_softmax = matches!(self.gate.kind, GateKind::SoftmaxTopK | GateKind::SoftmaxBias);
        let mixes = self.gate.kind == GateKind::SparseMixer || self.experts_choose();
        (by_softmax && self.shares_all()) || mixes || self.gate.group_limit.is_some()
    }

    /// Whether the experts choose the tokens.
    pub fn experts_choose(&self) -> bool {
        self.gate.kind == GateKind::ExpertChoice
    }

    /// What stands in the place of an expert after the choice.
    pub fn rename(&self, expert: u32) -> u32 {
        self.renamed.get(expert as usize).copied().unwrap_or(expert)
    }

    /// Longest row of selected experts.
    pub fn row(&self) -> usize {
        if self.experts_choose() { self.experts } else { self.top_k }
    }
}

/// The setting that holds at `position`. `settings` are in the order of their first position, which begins with 0.
pub fn setting_at(settings: &[Setting], position: usize) -> &Setting {
    &settings[settings.partition_point(|setting| setting.first <= position) - 1]
}

/// What every layer's gate does: for each layer its settings, in order; none for a dense layer.
pub type Settings = Vec<Vec<Setting>>;

/// The settings of a model's own gates: one for each routed layer, none for a dense layer.
pub fn own_settings(architecture: &Architecture) -> Settings {
    let own =
        |moe: &MoeShape| if moe.gate.is_some() { vec![Setting::own(moe, architecture.context)] } else { Vec::new() };
    architecture.layers.iter().map(|layer| own(&layer.moe)).collect()
}

/// Whether some layer's experts choose their tokens, which needs whole groups.
pub fn experts_choose(settings: &Settings) -> bool {
    settings.iter().flatten().any(Setting::experts_choose)
}
