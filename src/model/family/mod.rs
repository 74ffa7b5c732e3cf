//! The families that can be loaded. A family is a file here that translates a config and tensor names; this table is
//! the only place that lists them.

mod afmoe;
mod backbone;
mod deepseek;
mod deepseek_v2;
mod deepseek_v3;
mod defaults;
mod dots1;
mod ernie4_5_moe;
mod glm4_moe;
mod gpt_oss;
mod granitemoe;
mod granitemoehybrid;
mod granitemoeshared;
mod hunyuan_v1_moe;
mod lfm2_moe;
mod llama;
mod minimax_m2;
mod mixtral;
mod moescope;
mod olmoe;
mod phimoe;
mod qwen;
mod qwen2;
mod qwen2_moe;
mod qwen3;
mod qwen3_moe;
mod rotary;
mod smollm3;

use super::tensors::Tensors;
use super::weights::Weights;
use crate::error::{Error, Result};
use crate::shape::Architecture;
use serde_json::Value;

/// One family of checkpoints.
pub struct Family {
    /// Its `model_type` in config.json.
    pub name: &'static str,
    /// Returns the architecture of a config.
    pub architecture: fn(&Value) -> Result<Architecture>,
    /// Views of all tensors, with their shapes checked.
    pub weights: for<'a> fn(&'a Tensors, &Architecture) -> Result<Weights<'a>>,
}

/// An entry of the table: the family in the file of this name.
macro_rules! family {
    ($name:ident) => {
        Family { name: stringify!($name), architecture: $name::architecture, weights: $name::weights }
    };
}

/// All families.
static FAMILIES: [Family; 23] = [
    family!(mixtral),
    family!(llama),
    family!(moescope),
    family!(olmoe),
    family!(qwen3_moe),
    family!(qwen2_moe),
    family!(granitemoe),
    family!(granitemoeshared),
    family!(lfm2_moe),
    family!(deepseek_v2),
    family!(deepseek_v3),
    family!(glm4_moe),
    family!(dots1),
    family!(minimax_m2),
    family!(gpt_oss),
    family!(phimoe),
    family!(ernie4_5_moe),
    family!(qwen3),
    family!(qwen2),
    family!(afmoe),
    family!(hunyuan_v1_moe),
    family!(granitemoehybrid),
    family!(smollm3),
];

/// Families that need an operation for which there is no kernel yet, and that operation.
const HYBRIDS: [(&str, &str); 12] = [
    ("bamba", "state-space layers (Mamba-2)"),
    ("falcon_h1", "state-space layers (Mamba-2)"),
    ("jamba", "state-space layers (Mamba)"),
    ("jetmoe", "experts within attention"),
    ("nemotron_h", "state-space layers in several groups (Mamba-2), and experts of squared ReLUs"),
    ("qwen3_5_moe", "linear attention (gated DeltaNet)"),
    ("qwen3_5_moe_text", "linear attention (gated DeltaNet)"),
    ("qwen3_next", "linear attention (gated DeltaNet)"),
    ("kimi_linear", "linear attention (Kimi Delta Attention)"),
    ("minimax", "linear attention (lightning attention)"),
    ("switch_transformers", "an encoder and cross-attention"),
    ("llama4_text", "experts whose inputs are scaled"),
];

/// Returns the family that a config names.
pub fn of(config: &Value) -> Result<&'static Family> {
    let name = config.get("model_type").and_then(Value::as_str).unwrap_or("(none)");
    FAMILIES.iter().find(|family| family.name == name).ok_or_else(|| {
        let known = FAMILIES.iter().map(|family| family.name).collect::<Vec<_>>().join(", ");
        let what = match HYBRIDS.iter().find(|(hybrid, _)| *hybrid == name) {
            Some((_, needs)) => format!("needs {needs}, which no engine here computes"),
            None => "is not known".into(),
        };
        Error::model("config.json", format!("model_type is \"{name}\", which {what}; known families: {known}"))
    })
}
