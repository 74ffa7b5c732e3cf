//! Mixtral: `MixtralForCausalLM` of Hugging Face transformers.

use super::backbone::{self, Defaults};
use super::tensors::Tensors;
use super::weights::{FfnWeights, Weights};
use crate::error::{Error, Result};
use crate::shape::{Architecture, MoeShape};
use serde::Deserialize;

/// What transformers' `MixtralConfig` takes where a key is missing.
pub const DEFAULTS: Defaults = Defaults { context: 4096 * 32, norm_eps: 1e-5, rope_theta: 1e6, kv_heads: Some(8) };

/// The keys that say how many experts there are.
#[derive(Deserialize)]
pub struct Experts {
    #[serde(default = "eight")]
    num_local_experts: usize,
    #[serde(default = "two")]
    num_experts_per_tok: usize,
}

fn eight() -> usize {
    8
}

fn two() -> usize {
    2
}

/// Reads the keys of any config of Mixtral's form.
pub fn read<T: for<'de> Deserialize<'de>>(config: &serde_json::Value) -> Result<T> {
    let why = |e| format!("{e}; the keys are those of Hugging Face's config of this family");
    T::deserialize(config).map_err(|e| Error::model("config.json", why(e)))
}

/// The experts that a Mixtral config asks for.
pub fn moe(config: &serde_json::Value) -> Result<MoeShape> {
    let Experts { num_local_experts, num_experts_per_tok } = read(config)?;
    let common: backbone::Config = read(config)?;
    Ok(MoeShape::mixtral(num_local_experts, num_experts_per_tok, common.intermediate_size))
}

/// What a Mixtral config asks to compute.
pub fn architecture(config: &serde_json::Value) -> Result<Architecture> {
    backbone::architecture(&read(config)?, &DEFAULTS, moe(config)?)
}

/// Views of all tensors, with their shapes checked.
pub fn weights<'a>(tensors: &'a Tensors, a: &Architecture) -> Result<Weights<'a>> {
    backbone::weights(tensors, a, |at, moe| ffn(tensors, at, moe, a.hidden))
}

/// Router and experts of the layer `at`.
pub fn ffn<'a>(tensors: &'a Tensors, at: &str, moe: &MoeShape, hidden: usize) -> Result<FfnWeights<'a>> {
    let at = format!("{at}.block_sparse_moe");
    let expert =
        |e| backbone::expert(tensors, &format!("{at}.experts.{e}"), ["w1", "w2", "w3"], moe.intermediate, hidden);
    Ok(FfnWeights {
        router: Some(tensors.matrix(&format!("{at}.gate.weight"), moe.experts, hidden)?),
        group_router: None,
        noise_router: None,
        bias: None,
        experts: (0..moe.experts).map(expert).collect::<Result<_>>()?,
    })
}
