//! MiniMax-M2: `MiniMaxM2ForCausalLM` of Hugging Face transformers: queries and keys are normed over all heads, a part
//! of each head is rotated, and the gate is a sigmoid with a bias for the choice.

use super::backbone::{self, Defaults, Names};
use super::mixtral;
use crate::error::Result;
use crate::model::keys::Keys;
use crate::model::tensors::Tensors;
use crate::model::weights::Weights;
use crate::shape::{Architecture, Gate, HeadNorm, MoeShape, Rope};
use serde_json::Value;

/// The defaults of transformers' `MiniMaxM2Config`.
const DEFAULTS: Defaults = Defaults {
    context: 196_608,
    rope_theta: 5e6,
    kv_heads: Some(8),
    head_dim: Some(128),
    partial: Some(1.0),
    ..Defaults::PLAIN
};

/// The family's own keys, and some without effect.
const KNOWN: [&str; 9] = [
    "num_local_experts",
    "num_experts",
    "num_experts_per_tok",
    "rotary_dim",
    "use_qk_norm",
    "qk_norm_type",
    "scoring_func",
    "use_routing_bias",
    "shared_intermediate_size",
];

/// The architecture of a config.
pub fn architecture(config: &Value) -> Result<Architecture> {
    let keys = Keys::of(config)?;
    let moe = MoeShape { gate: Some(Gate::sigmoid_bias(1.0)), bias: true, ..mixtral::moe(&keys)? };
    let mut a = backbone::architecture(&keys, &DEFAULTS, |_| moe.clone(), &KNOWN)?;
    let turned = keys.size("rotary_dim", 2..=4096)?;
    backbone::each_attention(&mut a, |_, attention| {
        attention.norm = Some(HeadNorm::Row);
        if let (Some(dim), Some(rope)) = (turned, &mut attention.rope) {
            *rope = Rope { dim, ..rope.clone() };
        }
    });
    a.checked()
}

/// Views of all tensors, with their shapes checked.
pub fn weights<'a>(tensors: &'a Tensors, a: &Architecture) -> Result<Weights<'a>> {
    backbone::weights(tensors, a, &Names::PLAIN, |at, moe| {
        let mut ffn = mixtral::ffn(tensors, at, moe, a.hidden)?;
        let part = if tensors.has(&format!("{at}.mlp.e_score_correction_bias")) { "mlp" } else { "block_sparse_moe" };
        ffn.bias = Some(tensors.vector(&format!("{at}.{part}.e_score_correction_bias"), moe.experts)?);
        Ok(ffn)
    })
}
