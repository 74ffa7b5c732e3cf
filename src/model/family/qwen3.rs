//! Qwen3: `Qwen3ForCausalLM` of Hugging Face transformers, dense. Queries and keys are normed head by head.

use super::backbone::{self, Defaults};
use super::qwen2;
use crate::error::Result;
use crate::model::keys::Keys;
use crate::shape::{Architecture, HeadNorm};
use serde_json::Value;

pub use super::qwen2::weights;

/// The defaults of transformers' `Qwen3Config`.
const DEFAULTS: Defaults =
    Defaults { context: 32768, kv_heads: Some(32), head_dim: Some(128), bias: Some(false), ..Defaults::PLAIN };

/// The architecture of a config.
pub fn architecture(config: &Value) -> Result<Architecture> {
    let mut a = qwen2::dense(&Keys::of(config)?, &DEFAULTS)?;
    backbone::each_attention(&mut a, |_, attention| attention.norm = Some(HeadNorm::Head));
    a.checked()
}
