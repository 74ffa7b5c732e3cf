//! Mixtral: `MixtralForCausalLM` of Hugging Face transformers.

use super::backbone::{self, Defaults, MOST_EXPERTS};
use super::keys::Keys;
use super::tensors::Tensors;
use super::weights::{ExpertWeights, FfnWeights, Weights};
use crate::error::Result;
use crate::shape::{Architecture, MoeShape};
use serde_json::Value;

/// What transformers' `MixtralConfig` takes where a key is missing.
pub const DEFAULTS: Defaults =
    Defaults { context: 4096 * 32, norm_eps: 1e-5, rope_theta: 1e6, kv_heads: Some(8), has_window: true };

/// The keys that say how many experts there are. `num_experts` is another name of `num_local_experts`, and goes before
/// it.
pub const KNOWN: [&str; 3] = ["num_local_experts", "num_experts", "num_experts_per_tok"];

/// The experts that a Mixtral config asks for.
pub fn moe(keys: &Keys) -> Result<MoeShape> {
    let count = |key| keys.size(key, 0..=MOST_EXPERTS);
    let experts = count("num_experts")?.or(count("num_local_experts")?).unwrap_or(8);
    Ok(MoeShape::mixtral(experts, count("num_experts_per_tok")?.unwrap_or(2), backbone::intermediate(keys)?))
}

/// What a Mixtral config asks to compute.
pub fn architecture(config: &Value) -> Result<Architecture> {
    let keys = Keys::of(config)?;
    backbone::architecture(&keys, &DEFAULTS, moe(&keys)?, &KNOWN)
}

/// Views of all tensors, with their shapes checked.
pub fn weights<'a>(tensors: &'a Tensors, a: &Architecture) -> Result<Weights<'a>> {
    backbone::weights(tensors, a, |at, moe| ffn(tensors, at, moe, a.hidden))
}

/// Router and experts of the layer `at`, expert by expert, or in one tensor for all as transformers 5 has them in
/// memory (and saves them with `save_original_format=False`).
pub fn ffn<'a>(tensors: &'a Tensors, at: &str, moe: &MoeShape, hidden: usize) -> Result<FfnWeights<'a>> {
    let (fused, apart) = (format!("{at}.mlp"), format!("{at}.block_sparse_moe"));
    let is_fused = tensors.has(&format!("{fused}.experts.gate_up_proj"));
    let at = if is_fused { fused } else { apart };
    let expert = |e| match is_fused {
        true => fused_expert(tensors, &at, e, moe, hidden),
        false => backbone::expert(tensors, &format!("{at}.experts.{e}"), ["w1", "w2", "w3"], moe.intermediate, hidden),
    };
    let router = tensors.matrix(&format!("{at}.gate.weight"), moe.experts, hidden)?;
    Ok(FfnWeights::routed(router, (0..moe.experts).map(expert).collect::<Result<_>>()?))
}

/// Expert `e` of `gate_up_proj`, `[E, 2 F, D]` (gate above up), and of `down_proj`, `[E, D, F]`.
fn fused_expert<'a>(
    tensors: &'a Tensors,
    at: &str,
    e: usize,
    moe: &MoeShape,
    hidden: usize,
) -> Result<ExpertWeights<'a>> {
    let inner = moe.intermediate;
    let up = format!("{at}.experts.gate_up_proj");
    let gate_and_up = |rows| tensors.rows_of(&up, [moe.experts, 2 * inner, hidden], e, rows);
    Ok(ExpertWeights {
        w1: gate_and_up(0..inner)?,
        w2: tensors.rows_of(&format!("{at}.experts.down_proj"), [moe.experts, hidden, inner], e, 0..hidden)?,
        w3: gate_and_up(inner..2 * inner)?,
    })
}
