//! Llama: `LlamaForCausalLM` of Hugging Face transformers, the dense model to compare with.

use super::backbone::{self, Defaults};
use super::keys::Keys;
use super::tensors::Tensors;
use super::weights::{FfnWeights, Weights};
use crate::error::Result;
use crate::shape::{Architecture, MoeShape};

/// What transformers' `LlamaConfig` takes where a key is missing.
/// `LlamaForCausalLM` does not read `sliding_window`.
const DEFAULTS: Defaults =
    Defaults { context: 2048, norm_eps: 1e-6, rope_theta: 1e4, kv_heads: None, has_window: false };

/// What a Llama config asks to compute.
pub fn architecture(config: &serde_json::Value) -> Result<Architecture> {
    let keys = Keys::of(config)?;
    backbone::architecture(&keys, &DEFAULTS, MoeShape::dense(backbone::intermediate(&keys)?), &[])
}

/// Views of all tensors, with their shapes checked.
pub fn weights<'a>(tensors: &'a Tensors, a: &Architecture) -> Result<Weights<'a>> {
    backbone::weights(tensors, a, |at, moe| {
        let names = ["gate_proj", "down_proj", "up_proj"];
        let ffn = backbone::expert(tensors, &format!("{at}.mlp"), names, moe.intermediate, a.hidden)?;
        Ok(FfnWeights::dense(vec![ffn]))
    })
}
