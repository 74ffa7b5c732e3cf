//! GLM-4.5 and 4.6: `Glm4MoeForCausalLM` of Hugging Face transformers: half of each head rotated, DeepSeek-V3's gate.

use super::backbone::{self, Defaults, Names};
use super::deepseek;
use crate::error::Result;
use crate::model::keys::Keys;
use crate::model::tensors::Tensors;
use crate::model::weights::Weights;
use crate::shape::{Architecture, HeadNorm};
use serde_json::Value;

/// The defaults of transformers' `Glm4MoeConfig`.
const DEFAULTS: Defaults = Defaults {
    context: 131_072,
    norm_eps: 1e-5,
    kv_heads: Some(8),
    bias: Some(false),
    partial: Some(0.5),
    ..Defaults::PLAIN
};

/// The architecture of a config.
pub fn architecture(config: &Value) -> Result<Architecture> {
    let keys = Keys::of(config)?;
    let of_layer = deepseek::of_layer(&keys, deepseek::moe(&keys, "sigmoid")?)?;
    let known = [&deepseek::EXPERT_KEYS[..], &["use_qk_norm"]].concat();
    let mut a = backbone::architecture(&keys, &DEFAULTS, of_layer, &known)?;
    let norm = keys.flag("use_qk_norm")?.then_some(HeadNorm::Head);
    backbone::each_attention(&mut a, |_, attention| {
        attention.norm = norm;
        attention.output_bias = false;
    });
    a.checked()
}

/// Views of all tensors, with their shapes checked.
pub fn weights<'a>(tensors: &'a Tensors, a: &Architecture) -> Result<Weights<'a>> {
    backbone::weights(tensors, a, &Names::PLAIN, |at, moe| deepseek::ffn(tensors, at, moe, a.hidden))
}
