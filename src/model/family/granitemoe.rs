//! Granite 3 MoE: `GraniteMoeForCausalLM` of Hugging Face transformers. Embeddings, residual connections, attention
//! and logits have multipliers; the experts are stacked in one tensor.

use super::backbone::{self, Defaults, Names, PROJECTIONS, sizes};
use crate::error::Result;
use crate::model::keys::Keys;
use crate::model::tensors::Tensors;
use crate::model::weights::{FfnWeights, Weights};
use crate::shape::{Architecture, MoeShape};
use serde_json::Value;

/// The defaults of transformers' `GraniteMoeConfig`.
const DEFAULTS: Defaults = Defaults { bias: Some(false), ..Defaults::PLAIN };

/// The family's own keys.
pub const KNOWN: [&str; 6] = [
    "num_local_experts",
    "num_experts_per_tok",
    "embedding_multiplier",
    "residual_multiplier",
    "attention_multiplier",
    "logits_scaling",
];

/// The architecture of a config.
pub fn architecture(config: &Value) -> Result<Architecture> {
    let keys = Keys::of(config)?;
    described(&keys, moe(&keys)?, &KNOWN)
}

/// The experts of a config.
pub fn moe(keys: &Keys) -> Result<MoeShape> {
    let count = |key, default| Ok::<_, crate::error::Error>(keys.size(key, sizes::EXPERTS)?.unwrap_or(default));
    let (experts, used) = (count("num_local_experts", 8)?, count("num_experts_per_tok", 2)?);
    Ok(MoeShape::mixtral(experts, used, backbone::intermediate(keys)?))
}

/// The architecture with these experts, and the multipliers of `keys`.
pub fn described(keys: &Keys, moe: MoeShape, known: &[&str]) -> Result<Architecture> {
    let mut a = backbone::architecture(keys, &DEFAULTS, |_| moe.clone(), known)?;
    let factor = |key| Ok::<_, crate::error::Error>(keys.number(key, 1e-9..=1e9)?.unwrap_or(1.0));
    a.embedding_scale = factor("embedding_multiplier")?;
    a.logit_scale = 1.0 / factor("logits_scaling")?;
    let (residual, scale) = (factor("residual_multiplier")?, factor("attention_multiplier")?);
    a.layers.iter_mut().for_each(|layer| layer.residual = residual);
    backbone::each_attention(&mut a, |_, attention| attention.scale = Some(scale));
    a.checked()
}

/// Views of all tensors, with their shapes checked.
pub fn weights<'a>(tensors: &'a Tensors, a: &Architecture) -> Result<Weights<'a>> {
    backbone::weights(tensors, a, &Names::PLAIN, |at, moe| ffn(tensors, at, moe, a.hidden))
}

/// Router and experts of the layer `at`: as published, as transformers 5 stores them in memory, or expert by expert.
pub fn ffn<'a>(tensors: &'a Tensors, at: &str, moe: &MoeShape, hidden: usize) -> Result<FfnWeights<'a>> {
    let at = format!("{at}.block_sparse_moe");
    let is_published = tensors.has(&format!("{at}.input_linear.weight"));
    let names = match is_published {
        true => ["router.layer.weight", "input_linear.weight", "output_linear.weight"],
        false => ["router.weight", "experts.gate_up_proj", "experts.down_proj"],
    };
    let [router, up, down] = names.map(|name| format!("{at}.{name}"));
    let by_expert = tensors.has(&format!("{at}.experts.0.gate_proj.weight"));
    let expert = |e| match by_expert {
        true => backbone::expert(tensors, &format!("{at}.experts.{e}"), PROJECTIONS, moe.intermediate, hidden),
        false => backbone::stacked_expert(tensors, [&up, &down], e, moe, hidden),
    };
    Ok(FfnWeights {
        experts: (0..moe.experts).map(expert).collect::<Result<_>>()?,
        ..FfnWeights::routed(Some(tensors.matrix(&router, moe.experts, hidden)?))
    })
}
