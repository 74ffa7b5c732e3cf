//! Llama: `LlamaForCausalLM` of Hugging Face transformers, the dense model to compare with.

use super::backbone::{self, Defaults, Names};
use crate::error::Result;
use crate::model::keys::Keys;
use crate::model::tensors::Tensors;
use crate::model::weights::Weights;
use crate::shape::{Architecture, MoeShape};

/// The defaults of transformers' `LlamaConfig`.
/// `LlamaForCausalLM` does not read `sliding_window`.
const DEFAULTS: Defaults = Defaults { bias: Some(false), ..Defaults::PLAIN };

/// The architecture of a Llama config.
pub fn architecture(config: &serde_json::Value) -> Result<Architecture> {
    let keys = Keys::of(config)?;
    let inner = backbone::intermediate(&keys)?;
    backbone::architecture(&keys, &DEFAULTS, |_| MoeShape::dense(inner), &[])
}

/// Views of all tensors, with their shapes checked.
pub fn weights<'a>(tensors: &'a Tensors, a: &Architecture) -> Result<Weights<'a>> {
    backbone::weights(tensors, a, &Names::PLAIN, |at, moe| {
        backbone::ffn(tensors, &format!("{at}.mlp"), "", moe, a.hidden)
    })
}
