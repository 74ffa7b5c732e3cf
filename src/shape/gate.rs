//! Gates: how router logits become a choice of experts. The formulas and their sources are in docs/gates.md and
//! docs/model-format.md.

use serde::{Deserialize, Serialize};

/// In a row of selected experts: no expert. Such entries end a row that is shorter than others of its layer.
pub const NONE: u32 = u32::MAX;

/// How a model's router logits become a choice.
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
