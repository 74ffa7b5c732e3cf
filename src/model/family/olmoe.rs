//! OLMoE: `OlmoeForCausalLM` of Hugging Face transformers. Queries and keys are normed over all heads together.

use super::backbone::{self, Defaults, Names};
use super::qwen;
use crate::error::Result;
use crate::model::keys::Keys;
use crate::model::tensors::Tensors;
use crate::model::weights::Weights;
use crate::shape::{Architecture, HeadNorm};
use serde_json::Value;

/// The defaults of transformers' `OlmoeConfig`.
const DEFAULTS: Defaults = Defaults { context: 4096, norm_eps: 1e-5, bias: Some(false), ..Defaults::PLAIN };

/// The architecture of a config.
pub fn architecture(config: &Value) -> Result<Architecture> {
    let keys = Keys::of(config)?;
    let moe = qwen::moe(&keys, "intermediate_size")?;
    let mut a = backbone::architecture(&keys, &DEFAULTS, |_| moe.clone(), &qwen::EXPERT_KEYS)?;
    backbone::each_attention(&mut a, |_, attention| attention.norm = Some(HeadNorm::Row));
    a.checked()
}

/// Views of all tensors, with their shapes checked.
pub fn weights<'a>(tensors: &'a Tensors, a: &Architecture) -> Result<Weights<'a>> {
    backbone::weights(tensors, a, &Names::PLAIN, |at, moe| {
        backbone::ffn(tensors, &format!("{at}.mlp"), "", moe, a.hidden)
    })
}
