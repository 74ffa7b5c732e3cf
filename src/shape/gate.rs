//! Gates: the rules that choose experts from router logits. docs/gates.md and docs/model-format.md have the formulas
//! and their sources.

use serde::{Deserialize, Serialize};

/// Marks an unused entry in a row of selected experts, at the end of a row that is shorter than others of its layer.
pub const NONE: u32 = u32::MAX;

/// The kinds of gates, with the names of docs/model-format.md and docs/gates.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GateKind {
    /// The k largest logits; softmax over them (Jiang et al. 2024, "Mixtral of Experts", section 2.1;
    /// `MixtralSparseMoeBlock` in Hugging Face transformers).
    SoftmaxTopK,
    /// The k largest logits; each has its share of the softmax over all (Fedus et al. 2021, "Switch Transformers").
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
    /// Chosen by a hash of the token's id.
    Hash,
    /// Chosen at random.
    Random,
    /// Chosen in turn, by the token's position.
    RoundRobin,
    /// Each expert chooses `ceil(factor * k * n / E)` of the n tokens of a window.
    ExpertChoice,
    /// The k largest `softmax(l) + bias`; weights from the softmax alone (`Ernie4_5_MoeTopKRouter` in transformers).
    SoftmaxBias,
    /// The k largest logits; each has the sigmoid of its logit as its weight (`Llama4Router`, `Cohere2MoeTopKRouter`).
    SigmoidTopK,
    /// The k largest logits, one after the other. The weight of each is its share of a softmax over the remaining
    /// experts that are close to it (Liu et al. 2024, "GRIN"; `sparsemixer` of Phi-3.5-MoE).
    SparseMixer,
}

/// The score by which groups of experts are ranked, where a token uses only some groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GroupScore {
    /// The largest key of its experts (DeepSeek-V2).
    Max,
    /// The sum of its two largest keys (DeepSeek-V3).
    TwoBest,
}

/// A limit of the choice to the experts of the best groups. Expert e is in group `e / (E / groups)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupLimit {
    /// Number of groups; divides E.
    pub groups: usize,
    /// Number of groups whose experts a token may use.
    pub per_token: usize,
    /// The score by which groups are ranked.
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

    /// Kinds that a policy can use instead of the model's own gate.
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

    /// The name in JSON, such as "softmax-top-k".
    pub fn name(self) -> String {
        serde_name(self)
    }

    /// Whether the model's bias of each expert is added to the key by which experts are ranked.
    pub fn has_bias(self) -> bool {
        matches!(self, Self::SigmoidBias | Self::SoftmaxBias)
    }

    /// Whether the weights come from the router's scores; such weights have a scale and can be renormalised.
    pub fn weighs_scores(self) -> bool {
        !matches!(self, Self::Hierarchical | Self::Hash | Self::Random | Self::RoundRobin)
    }
}

/// The least denominator, so that weights with the sum 0 stay 0.
const LEAST_SUM: f32 = f32::MIN_POSITIVE;

/// A kind of gate and its parameters. Parameters that the kind does not have are those of [`Gate::new`].
///
/// Where they are renormalised, the weights `w` of the chosen experts become `w / (max(sum of w, least_sum) + epsilon)
/// * scale`; otherwise they become `w * scale`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// The kind.
    pub kind: GateKind,
    /// Number of expert groups of a hierarchical gate, `G`; expert e is in group `e / (E / G)`. 0 for other kinds.
    pub groups: usize,
    /// Number of groups that a token uses, for a hierarchical gate.
    pub groups_per_token: usize,
    /// Whether the weights are divided by their sum.
    pub renormalise: bool,
    /// Added to that sum.
    pub epsilon: f32,
    /// The least value of that sum; above 0.
    pub least_sum: f32,
    /// The factor of the weights.
    pub scale: f32,
    /// The limit to the experts of the best groups; `None` where experts of all groups may be chosen.
    pub group_limit: Option<GroupLimit>,
    /// For a sparse mixer: an expert counts in a softmax if its logit is relatively at most `2 * jitter` below the
    /// chosen one.
    pub jitter: f32,
    /// For expert choice: an expert's capacity, as a multiple of an even share.
    pub capacity_factor: f32,
}

impl Gate {
    /// A gate of this kind without groups and scale, and with the capacity of an even share.
    pub fn new(kind: GateKind) -> Self {
        use GateKind::{ExpertChoice, SigmoidTopK, Soft, SoftmaxBias, SparseMixer, TopKOfSoftmax};
        Self {
            kind,
            groups: 0,
            groups_per_token: 1,
            renormalise: !matches!(kind, TopKOfSoftmax | Soft | ExpertChoice | SigmoidTopK | SparseMixer),
            epsilon: 0.0,
            // The value of ERNIE 4.5.
            least_sum: if kind == SoftmaxBias { 1e-12 } else { LEAST_SUM },
            scale: 1.0,
            group_limit: None,
            jitter: 0.01,
            capacity_factor: 1.0,
        }
    }

    /// The k largest logits, weighted by the softmax over them alone (`renormalise`) or by their shares of the softmax
    /// over all.
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

    /// The gate of DeepSeek-V3 and its successors: sigmoids with a bias, 1e-20 added to the sum of the weights, and of
    /// `groups` groups the `per_token` with the largest sum of two keys.
    pub fn deepseek_v3(groups: usize, per_token: usize, renormalise: bool, scale: f32) -> Self {
        let limit = GroupLimit { groups, per_token, score: GroupScore::TwoBest };
        // There is no limit if a token may use all groups.
        let group_limit = (per_token != groups).then_some(limit);
        Self { renormalise, epsilon: 1e-20, group_limit, ..Self::sigmoid_bias(scale) }
    }

    /// The gate that ranks experts in the same way. Kinds that differ from softmax top-k only in their parameters, or
    /// in other fields of a [`Setting`](super::Setting) (noise, k), become softmax top-k.
    pub fn ranking(self) -> Self {
        match self.kind {
            GateKind::TopKOfSoftmax | GateKind::NoisyTopK | GateKind::Soft => {
                Self { kind: GateKind::SoftmaxTopK, ..self }
            }
            _ => self,
        }
    }

    /// Whether weights are divided by more than their sum (a floor or an epsilon).
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
