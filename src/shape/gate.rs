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
    /// The k largest `softmax(l) + bias`; weights from the softmax alone (`Ernie4_5_MoeTopKRouter` in transformers).
    SoftmaxBias,
    /// The k largest logits; the sigmoid of each of them (`Llama4Router`, `Cohere2MoeTopKRouter`).
    SigmoidTopK,
    /// The k largest logits, one after the other: the weight of each is its share of a softmax over those that are left
    /// and close to it (Liu et al. 2024, "GRIN"; `sparsemixer` of Phi-3.5-MoE).
    SparseMixer,
}

/// By what a group of experts is ranked, where a token uses few groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GroupScore {
    /// The largest key of its experts (DeepSeek-V2).
    Max,
    /// The sum of its two largest keys (DeepSeek-V3).
    TwoBest,
}

/// Only experts of the best groups may be chosen. Expert e is in group `e / (E / groups)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupLimit {
    /// Groups of experts; divides E.
    pub groups: usize,
    /// Groups whose experts a token may use.
    pub per_token: usize,
    /// By what groups are ranked.
    pub score: GroupScore,
}

impl GateKind {
    /// Kinds that a checkpoint's router can have.
    pub const OF_MODELS: [Self; 8] = [
        Self::SoftmaxTopK,
        Self::TopKOfSoftmax,
        Self::NoisyTopK,
        Self::Hierarchical,
        Self::SigmoidBias,
        Self::SoftmaxBias,
        Self::SigmoidTopK,
        Self::SparseMixer,
    ];

    /// Kinds that a policy can put in place of the model's own.
    pub const OF_POLICIES: [Self; 12] = [
        Self::SoftmaxTopK,
        Self::TopKOfSoftmax,
        Self::NoisyTopK,
        Self::SigmoidBias,
        Self::SoftmaxBias,
        Self::SigmoidTopK,
        Self::SparseMixer,
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

    /// Whether the model's own bias of each expert is added to what it ranks experts by.
    pub fn has_bias(self) -> bool {
        matches!(self, Self::SigmoidBias | Self::SoftmaxBias)
    }

    /// Whether weights come from the router's scores: they have a scale, and can be made to sum to 1.
    pub fn weighs_scores(self) -> bool {
        !matches!(self, Self::Hierarchical | Self::Hash | Self::Random | Self::RoundRobin)
    }
}

/// Denominators are at least this, so that weights whose sum is 0 stay 0.
const LEAST_SUM: f32 = f32::MIN_POSITIVE;

/// A kind of gate and its parameters. A parameter that the kind does not have is as [`Gate::new`] makes it.
///
/// The weights `w` of the chosen experts become `w / (max(sum of w, least_sum) + epsilon) * scale` where they are
/// renormalised, and `w * scale` otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// The kind.
    pub kind: GateKind,
    /// Groups of experts of a hierarchical gate, `G`; expert e is in group `e / (E / G)`. 0 for other kinds.
    pub groups: usize,
    /// Groups that a token uses, of a hierarchical gate.
    pub groups_per_token: usize,
    /// Whether the weights are divided by their sum.
    pub renormalise: bool,
    /// Is added to that sum.
    pub epsilon: f32,
    /// The least that the sum counts as; above 0.
    pub least_sum: f32,
    /// What the weights are multiplied by.
    pub scale: f32,
    /// Which groups' experts may be chosen; all where it is none.
    pub group_limit: Option<GroupLimit>,
    /// How close an expert must be to count in a sparse mixer's softmax: within `2 * jitter`, relatively.
    pub jitter: f32,
    /// An expert's capacity over that of an even load, where the experts choose.
    pub capacity_factor: f32,
}

impl Gate {
    /// A gate without groups or scale, at the capacity of an even load.
    pub fn new(kind: GateKind) -> Self {
        use GateKind::{ExpertChoice, SigmoidTopK, Soft, SoftmaxBias, SparseMixer, TopKOfSoftmax};
        Self {
            kind,
            groups: 0,
            groups_per_token: 1,
            renormalise: !matches!(kind, TopKOfSoftmax | Soft | ExpertChoice | SigmoidTopK | SparseMixer),
            epsilon: 0.0,
            // What ERNIE 4.5 takes.
            least_sum: if kind == SoftmaxBias { 1e-12 } else { LEAST_SUM },
            scale: 1.0,
            group_limit: None,
            jitter: 0.01,
            capacity_factor: 1.0,
        }
    }

    /// The k largest logits, weighed by the softmax: over them alone, or by their shares of all.
    pub fn softmax(renormalise: bool) -> Self {
        Self::new(if renormalise { GateKind::SoftmaxTopK } else { GateKind::TopKOfSoftmax })
    }

    /// A hierarchical gate.
    pub fn hierarchical(groups: usize, groups_per_token: usize) -> Self {
        Self { groups, groups_per_token, ..Self::new(GateKind::Hierarchical) }
    }

    /// A sigmoid gate with a bias, whose weights sum to `scale`.
    pub fn sigmoid_bias(scale: f32) -> Self {
        Self { scale, ..Self::new(GateKind::SigmoidBias) }
    }

    /// The gate of DeepSeek-V3 and those that follow it: sigmoids with a bias, the sum of the weights with 1e-20 added,
    /// and of `groups` groups the `per_token` with the largest sum of two keys.
    pub fn deepseek_v3(groups: usize, per_token: usize, renormalise: bool, scale: f32) -> Self {
        let limit = GroupLimit { groups, per_token, score: GroupScore::TwoBest };
        // A token that may use all groups is not limited.
        let group_limit = (per_token != groups).then_some(limit);
        Self { renormalise, epsilon: 1e-20, group_limit, ..Self::sigmoid_bias(scale) }
    }

    /// The gate that ranks experts in the same way: kinds that differ from softmax top-k in parameters alone, or in
    /// what a [`Setting`](super::Setting) says besides (noise, k), become that kind.
    pub fn ranking(self) -> Self {
        match self.kind {
            GateKind::TopKOfSoftmax | GateKind::NoisyTopK | GateKind::Soft => {
                Self { kind: GateKind::SoftmaxTopK, ..self }
            }
            _ => self,
        }
    }

    /// Whether weights are divided by something else than their sum.
    pub fn has_floor(&self) -> bool {
        self.epsilon > 0.0 || self.least_sum > LEAST_SUM
    }
}

/// The name that serde gives to a variant without fields.
pub(super) fn serde_name(variant: impl Serialize) -> String {
    match serde_json::to_value(variant) {
        Ok(serde_json::Value::String(name)) => name,
        other => unreachable!("a variant without fields is a string, not {other:?}"),
    }
}
