//! Settings: what a gate does in one layer, from one position of the text on. A setting is the model's own or a
//! policy's.

use super::architecture::{Architecture, MoeShape};
use super::gate::{Gate, GateKind};
use serde::{Deserialize, Serialize};

/// Tokens of a window, over which a policy's capacity and expert choice count.
pub const GROUP: usize = 64;

/// The most settings of a layer, each for a range of tokens.
pub const SETTINGS: usize = 16;

/// Noise on the router logits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Noise {
    /// No noise.
    Off,
    /// Noise with this standard deviation.
    Of(f32),
    /// Noise with the standard deviation that the model learned for each expert.
    Learned,
}

/// The capacity of an expert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// The most assignments of an expert in a window.
    pub most: usize,
    /// Tokens of a window.
    pub group: usize,
    /// Whether a token whose expert is full goes to the next best expert; otherwise it is dropped.
    pub next_best: bool,
}

impl Limit {
    /// A model's own capacity: `most` assignments over its whole `context`; others are dropped.
    pub fn own(most: usize, context: usize) -> Self {
        Self { most, group: context, next_best: false }
    }
}

/// What the gate of a layer does from the position `first` on.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// First position to which the setting applies; it applies up to the first position of the next setting.
    pub first: usize,
    /// Experts of the layer, `E`.
    pub experts: usize,
    /// The gate, in the form of [`Gate::ranking`].
    pub gate: Gate,
    /// Experts per token; under expert choice, the mean.
    pub top_k: usize,
    /// Divides the router logits.
    pub temperature: f32,
    /// Which experts are off, `[E]`, or empty.
    pub off: Vec<bool>,
    /// Added to the experts' scores, `[E]`, or empty.
    pub bias: Vec<f32>,
    /// Experts that are chosen first.
    pub forced: Vec<u32>,
    /// The expert that replaces each expert after the choice, `[E]`, or empty.
    pub renamed: Vec<u32>,
    /// Noise on the router logits.
    pub noise: Noise,
    /// Seed of the noise and of random gates.
    pub seed: u32,
    /// The capacity of the experts; `None` where there is none.
    pub limit: Option<Limit>,
}

impl Setting {
    /// The setting of the model's own gate for a layer of this shape, which must have a gate; `context` is the
    /// model's.
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

    /// Whether the weights of a softmax are first computed as shares of all candidates.
    pub fn shares_all(&self) -> bool {
        !self.gate.renormalise || self.gate.has_floor() || self.experts_choose() || self.gate.kind.has_bias()
    }

    /// Whether the logits of experts that were not chosen affect the choice or the weights, other than by being
    /// smaller.
    pub fn reads_all(&self) -> bool {
        let by_softmax = matches!(self.gate.kind, GateKind::SoftmaxTopK | GateKind::SoftmaxBias);
        let mixes = self.gate.kind == GateKind::SparseMixer || self.experts_choose();
        (by_softmax && self.shares_all()) || mixes || self.gate.group_limit.is_some()
    }

    /// Whether the experts choose their tokens (expert choice).
    pub fn experts_choose(&self) -> bool {
        self.gate.kind == GateKind::ExpertChoice
    }

    /// The expert that replaces `expert` after the choice.
    pub fn rename(&self, expert: u32) -> u32 {
        self.renamed.get(expert as usize).copied().unwrap_or(expert)
    }

    /// Length of a row of selected experts.
    pub fn row(&self) -> usize {
        if self.experts_choose() { self.experts } else { self.top_k }
    }
}

/// The setting that applies at `position`. `settings` are ordered by their first positions, which start at 0.
pub fn setting_at(settings: &[Setting], position: usize) -> &Setting {
    &settings[settings.partition_point(|setting| setting.first <= position) - 1]
}

/// The settings of a model's gates, in order of position for each layer; empty for a dense layer.
pub type Settings = Vec<Vec<Setting>>;

/// The settings of a model's own gates: one for each routed layer, none for a dense layer.
pub fn own_settings(architecture: &Architecture) -> Settings {
    let own =
        |moe: &MoeShape| if moe.gate.is_some() { vec![Setting::own(moe, architecture.context)] } else { Vec::new() };
    architecture.layers.iter().map(|layer| own(&layer.moe)).collect()
}

/// Whether some layer has expert choice, which needs whole windows.
pub fn experts_choose(settings: &Settings) -> bool {
    settings.iter().flatten().any(Setting::experts_choose)
}
