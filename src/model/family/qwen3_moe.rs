//! Qwen3-MoE: `Qwen3MoeForCausalLM` of Hugging Face transformers. Queries and keys are normed head by head.

use super::backbone::{self, Defaults, Names};
use super::qwen;
use crate::error::Result;
use crate::model::keys::Keys;
use crate::model::tensors::Tensors;
use crate::model::weights::Weights;
use crate::shape::{Architecture, HeadNorm, MoeShape};
use serde_json::Value;

/// The defaults of transformers' `Qwen3MoeConfig`.
const DEFAULTS: Defaults = Defaults { context: 32768, kv_heads: Some(4), bias: Some(false), ..Defaults::PLAIN };

/// The architecture of a config.
pub fn architecture(config: &Value) -> Result<Architecture> {
    let keys = Keys::of(config)?;
    let moe = qwen::moe(&keys, "moe_intermediate_size")?;
    let (is_dense, inner) = (qwen::is_dense(&keys, moe.experts)?, backbone::intermediate(&keys)?);
    let of_layer = |n| if is_dense(n) { MoeShape::dense(inner) } else { moe.clone() };
    let known = [&qwen::EXPERT_KEYS[..], &qwen::LAYER_KEYS, &qwen::WINDOW_KEYS].concat();
    let mut a = backbone::architecture(&keys, &DEFAULTS, of_layer, &known)?;
    let (windows, context) = (qwen::windows(&keys, a.layers.len(), 0)?, a.context);
    backbone::each_attention(&mut a, |n, attention| {
        attention.norm = Some(HeadNorm::Head);
        attention.window = windows[n].filter(|window| *window < context);
    });
    a.checked()
}

/// Views of all tensors, with their shapes checked.
pub fn weights<'a>(tensors: &'a Tensors, a: &Architecture) -> Result<Weights<'a>> {
    backbone::weights(tensors, a, &Names::PLAIN, |at, moe| {
        backbone::ffn(tensors, &format!("{at}.mlp"), "", moe, a.hidden)
    })
}
