//! dots.llm1: `Dots1ForCausalLM` of Hugging Face transformers: each head normed separately, DeepSeek-V3's experts.

use super::backbone::{self, Defaults, Names};
use super::{deepseek, qwen};
use crate::error::Result;
use crate::model::keys::Keys;
use crate::model::tensors::Tensors;
use crate::model::weights::Weights;
use crate::shape::{Architecture, HeadNorm};
use serde_json::Value;

/// The defaults of transformers' `Dots1Config`.
const DEFAULTS: Defaults = Defaults { kv_heads: Some(32), bias: Some(false), ..Defaults::PLAIN };

/// The architecture of a config.
pub fn architecture(config: &Value) -> Result<Architecture> {
    let keys = Keys::of(config)?;
    let of_layer = deepseek::of_layer(&keys, deepseek::moe(&keys, "sigmoid")?)?;
    let known = [&deepseek::EXPERT_KEYS[..], &["sliding_window", "layer_types"]].concat();
    let mut a = backbone::architecture(&keys, &DEFAULTS, of_layer, &known)?;
    let first = keys.size("max_window_layers", 0..=usize::MAX)?.unwrap_or(62);
    let (windows, context) = (qwen::windows_of(&keys, a.layers.len(), first)?, a.context);
    backbone::each_attention(&mut a, |n, attention| {
        attention.norm = Some(HeadNorm::Head);
        attention.window = windows[n].filter(|window| *window < context);
    });
    a.checked()
}

/// Views of all tensors, with their shapes checked.
pub fn weights<'a>(tensors: &'a Tensors, a: &Architecture) -> Result<Weights<'a>> {
    backbone::weights(tensors, a, &Names::PLAIN, |at, moe| deepseek::ffn(tensors, at, moe, a.hidden))
}
