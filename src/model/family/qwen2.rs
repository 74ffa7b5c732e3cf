//! Qwen2 and Qwen2.5: `Qwen2ForCausalLM` of Hugging Face transformers, dense. Queries, keys and values have biases.

use super::backbone::{self, Defaults, Names};
use super::qwen;
use crate::error::Result;
use crate::model::keys::Keys;
use crate::model::tensors::Tensors;
use crate::model::weights::Weights;
use crate::shape::{Architecture, MoeShape};
use serde_json::Value;

/// The defaults of transformers' `Qwen2Config`.
const DEFAULTS: Defaults = Defaults { context: 32768, kv_heads: Some(32), ..Defaults::PLAIN };

/// The architecture of a config.
pub fn architecture(config: &Value) -> Result<Architecture> {
    let mut a = dense(&Keys::of(config)?, &DEFAULTS)?;
    backbone::each_attention(&mut a, |_, attention| attention.bias = true);
    a.checked()
}

/// The architecture of a dense Qwen model, with its windows.
pub fn dense(keys: &Keys, defaults: &Defaults) -> Result<Architecture> {
    let inner = backbone::intermediate(keys)?;
    let mut a = backbone::architecture(keys, defaults, |_| MoeShape::dense(inner), &qwen::WINDOW_KEYS)?;
    let first = keys.size("max_window_layers", 0..=usize::MAX)?.unwrap_or(28);
    let (windows, context) = (qwen::windows(keys, a.layers.len(), first)?, a.context);
    backbone::each_attention(&mut a, |n, attention| {
        attention.window = windows[n].filter(|window| *window < context);
    });
    Ok(a)
}

/// Views of all tensors, with their shapes checked.
pub fn weights<'a>(tensors: &'a Tensors, a: &Architecture) -> Result<Weights<'a>> {
    backbone::weights(tensors, a, &Names::PLAIN, |at, moe| {
        backbone::ffn(tensors, &format!("{at}.mlp"), "", moe, a.hidden)
    })
}
