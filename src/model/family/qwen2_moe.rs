//! Qwen2-MoE and Qwen1.5-MoE: `Qwen2MoeForCausalLM` of Hugging Face transformers. Queries, keys and values have biases;
//! a shared expert of its own width is weighted by a sigmoid.

use super::backbone::{self, Defaults, Names, sizes};
use super::qwen;
use crate::error::Result;
use crate::model::keys::Keys;
use crate::model::tensors::Tensors;
use crate::model::weights::Weights;
use crate::shape::{Architecture, MoeShape, SharedShape};
use serde_json::Value;

/// The defaults of transformers' `Qwen2MoeConfig`.
const DEFAULTS: Defaults = Defaults { context: 32768, kv_heads: Some(16), ..Defaults::PLAIN };

/// The architecture of a config.
pub fn architecture(config: &Value) -> Result<Architecture> {
    let keys = Keys::of(config)?;
    let intermediate = keys.needed("shared_expert_intermediate_size", sizes::INNER)?;
    let shared_ffn = Some(SharedShape { intermediate, gated: true, count: 1 });
    let moe = MoeShape { shared_ffn, ..qwen::moe(&keys, "moe_intermediate_size")? };
    let (is_dense, inner) = (qwen::is_dense(&keys, moe.experts)?, backbone::intermediate(&keys)?);
    let of_layer = |n| if is_dense(n) { MoeShape::dense(inner) } else { moe.clone() };
    let known = [&qwen::EXPERT_KEYS[..], &qwen::LAYER_KEYS, &qwen::WINDOW_KEYS];
    let known = [known.concat(), vec!["shared_expert_intermediate_size", "qkv_bias"]].concat();
    let mut a = backbone::architecture(&keys, &DEFAULTS, of_layer, &known)?;
    let first = keys.size("max_window_layers", 0..=usize::MAX)?.unwrap_or(28);
    let (windows, context) = (qwen::windows(&keys, a.layers.len(), first)?, a.context);
    let bias = !keys.has("qkv_bias") || keys.flag("qkv_bias")?;
    backbone::each_attention(&mut a, |n, attention| {
        attention.bias = bias;
        attention.window = windows[n].filter(|window| *window < context);
    });
    a.checked()
}

/// Views of all tensors, with their shapes checked.
pub fn weights<'a>(tensors: &'a Tensors, a: &Architecture) -> Result<Weights<'a>> {
    backbone::weights(tensors, a, &Names::PLAIN, |at, moe| {
        let mut ffn = backbone::ffn(tensors, &format!("{at}.mlp"), "shared_expert", moe, a.hidden)?;
        if moe.shared_ffn.is_some() {
            ffn.shared_gate = Some(tensors.matrix(&format!("{at}.mlp.shared_expert_gate.weight"), 1, a.hidden)?);
        }
        Ok(ffn)
    })
}
