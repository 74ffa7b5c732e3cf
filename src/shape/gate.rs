//! Gates: how router logits become a choice of experts. The formulas and their sources are in docs/gates.md and
//! docs/model-format.md.

use serde::{Deserialize, Serialize};

/// In a row of selected experts: no expert. Such entries end a row that is shorter than others of its layer.
pub const NONE: u32 = u32::MAX;

/// The kinds of gates, by the names of docs/model-format.md and docs/gates.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GateKind {
    /// The k largest logits; softmax over them (Jiang et al. 2024, "Mixtral of Experts", section 2.1;
    /// `MixtralSparseMoeBlock` in Hugging Face transformers).
    SoftmaxTopK,
    /// The k largest logits; their share of the softmax over all (Fedus et al. 2021, "Switch Transformers").
    TopKOfSoftmax,
    /// Softmax top-k with learned noise on the logits (Shazeer et al. 2017, equations 3 to 5).
    NoisyTopK,
    /// The largest groups, and in each of them the largest experts (Shazeer et al. 2017, appendix B).
    Hierarchical,
    /// The k largest `sigmoid(l) + bias`; weights from `sigmoid(l)` alone (DeepSeek-AI 2024, "DeepSeek-V3", section
    /// 2.1.2).
    SigmoidBias,
    /// All experts, each with its share of the softmax.
    Soft,
    /// By the token's id.
    Hash,
    /// At random.
    Random,
    /// In turn.
    RoundRobin,
    /// The experts choose the tokens of a window: `ceil(factor * k * n / E)` of its n tokens each.
    ExpertChoice,
}

impl GateKind {
    /// Kinds that a checkpoint's router can have.
    pub const OF_MODELS: [Self; 5] =
        [Self::SoftmaxTopK, Self::TopKOfSoftmax, Self::NoisyTopK, Self::Hierarchical, Self::SigmoidBias];

    /// Kinds that a policy can put in place of the model's own.
    pub const OF_POLICIES: [Self; 9] = [
        Self::SoftmaxTopK,
        Self::TopKOfSoftmax,
        Self::NoisyTopK,
        Self::SigmoidBias,
        Self::Soft,
        Self::Hash,
        Self::Random,
        Self::RoundRobin,
        Self::ExpertChoice,
    ];

    /// As in JSON: "softmax-top-k".
    pub fn name(self) -> String {
        serde_name(self)
    }
}

/// A kind of gate and its parameters. A parameter that the kind does not have is as [`Gate::new`] makes it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// The kind.
    pub kind: GateKind,
    /// Groups of experts of a hierarchical gate, `G`; expert e is in group `e / (E / G)`. 0 for other kinds.
    pub groups: usize,
    /// Groups that a token uses, of a hierarchical gate.
    pub groups_per_token: usize,
    /// What a sigmoid gate multiplies the weights by, which sum to 1 before.
    pub scale: f32,
    /// An expert's capacity over that of an even load, where the experts choose.
    pub capacity_factor: f32,
}

impl Gate {
    /// A gate without groups or scale, at the capacity of an even load.
    pub fn new(kind: GateKind) -> Self {
        Self { kind, groups: 0, groups_per_token: 1, scale: 1.0, capacity_factor: 1.0 }
    }

    /// A hierarchical gate.
    pub fn hierarchical(groups: usize, groups_per_token: usize) -> Self {
        Self { groups, groups_per_token, ..Self::new(GateKind::Hierarchical) }
    }

    /// A sigmoid gate with a bias, whose weights sum to `scale`.
    pub fn sigmoid_bias(scale: f32) -> Self {
        Self { scale, ..Self::new(GateKind::SigmoidBias) }
    }

    /// The gate that ranks experts in the same way: kinds that differ from softmax top-k in what a
    /// [`Setting`](super::Setting) says besides (renormalisation, noise, k) become that kind.
    pub fn ranking(self) -> Self {
        match self.kind {
            GateKind::TopKOfSoftmax | GateKind::NoisyTopK | GateKind::Soft => Self::new(GateKind::SoftmaxTopK),
            _ => self,
        }
    }
}

/// The name that serde gives to a variant without fields.
pub(super) fn serde_name(variant: impl Serialize) -> String {
    match serde_json::to_value(variant) {
        Ok(serde_json::Value::String(name)) => name,
        other => unreachable!("a variant without fields is a string, not {other:?}"),
    }
}
