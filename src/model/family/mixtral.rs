//! Mixtral: `MixtralForCausalLM` of Hugging Face transformers.

use super::backbone::{self, Defaults, Names, sizes};
use crate::error::Result;
use crate::model::keys::Keys;
use crate::model::tensors::Tensors;
use crate::model::weights::{FfnWeights, Weights};
use crate::shape::{Architecture, MoeShape};
use serde_json::Value;

/// The defaults of transformers' `MixtralConfig`.
pub const DEFAULTS: Defaults = Defaults {
    context: 4096 * 32,
    norm_eps: 1e-5,
    rope_theta: 1e6,
    kv_heads: Some(8),
    has_window: true,
    ..Defaults::PLAIN
};

/// The keys for the number of experts. `num_experts` is another name of `num_local_experts` and takes precedence.
pub const KNOWN: [&str; 3] = ["num_local_experts", "num_experts", "num_experts_per_tok"];

/// The experts of a Mixtral config.
pub fn moe(keys: &Keys) -> Result<MoeShape> {
    let count = |key| keys.size(key, sizes::EXPERTS);
    let experts = count("num_experts")?.or(count("num_local_experts")?).unwrap_or(8);
    Ok(MoeShape::mixtral(experts, count("num_experts_per_tok")?.unwrap_or(2), backbone::intermediate(keys)?))
}

/// The architecture of a Mixtral config.
pub fn architecture(config: &Value) -> Result<Architecture> {
    let keys = Keys::of(config)?;
    let moe = moe(&keys)?;
    backbone::architecture(&keys, &DEFAULTS, |_| moe.clone(), &KNOWN)
}

/// Views of all tensors, with their shapes checked.
pub fn weights<'a>(tensors: &'a Tensors, a: &Architecture) -> Result<Weights<'a>> {
    backbone::weights(tensors, a, &Names::PLAIN, |at, moe| ffn(tensors, at, moe, a.hidden))
}

/// Router and experts of the layer `at`.
pub fn ffn<'a>(tensors: &'a Tensors, at: &str, moe: &MoeShape, hidden: usize) -> Result<FfnWeights<'a>> {
    let fused = tensors.has(&format!("{at}.mlp.experts.gate_up_proj"));
    let part = if fused { "mlp" } else { "block_sparse_moe" };
    backbone::routed(tensors, &format!("{at}.{part}"), ["w1", "w2", "w3"], moe, hidden)
}
