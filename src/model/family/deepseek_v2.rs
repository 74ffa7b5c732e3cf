//! DeepSeek-V2: `DeepseekV2ForCausalLM` of Hugging Face transformers: latent attention, shared experts, dense first
//! layers.

use super::backbone::{self, Defaults, Names};
use super::deepseek;
use crate::error::Result;
use crate::model::keys::Keys;
use crate::model::tensors::Tensors;
use crate::model::weights::Weights;
use crate::shape::{Architecture, Mixer};
use serde_json::Value;

/// The defaults of transformers' `DeepseekV2Config`.
const DEFAULTS: Defaults = Defaults { context: 2048, head_dim: Some(64), ..Defaults::PLAIN };

/// The architecture of a config.
pub fn architecture(config: &Value) -> Result<Architecture> {
    let keys = Keys::of(config)?;
    let of_layer = deepseek::of_layer(&keys, deepseek::moe(&keys, "softmax")?)?;
    let known = [&deepseek::EXPERT_KEYS[..], &deepseek::LATENT_KEYS].concat();
    let mut a = backbone::architecture(&keys, &DEFAULTS, of_layer, &known)?;
    // The rotated pairs are neighbours.
    let interleaved = true;
    for layer in &mut a.layers {
        if let Some(attention) = layer.attention() {
            layer.mixer = Mixer::Attention(deepseek::latent(&keys, &DEFAULTS, attention, interleaved)?);
        }
    }
    a.checked()
}

/// Views of all tensors, with their shapes checked.
pub fn weights<'a>(tensors: &'a Tensors, a: &Architecture) -> Result<Weights<'a>> {
    backbone::weights(tensors, a, &Names::PLAIN, |at, moe| deepseek::ffn(tensors, at, moe, a.hidden))
}
