//! Granite 4 hybrid: `GraniteMoeHybridForCausalLM` of Hugging Face transformers: most layers are state-space mixers,
//! the others attention, usually without positions; Granite's multipliers, experts and shared expert.

use super::backbone::{self, Names, sizes};
use super::{granitemoe, granitemoeshared, qwen};
use crate::error::Result;
use crate::model::keys::{Keys, short, wrong};
use crate::model::tensors::Tensors;
use crate::model::weights::{FfnWeights, Weights};
use crate::shape::{Architecture, Mixer, MoeShape, SharedShape, StateSpaceShape};
use serde_json::Value;

/// The family's own keys, and some without effect.
const KNOWN: [&str; 16] = [
    "shared_intermediate_size",
    "position_embedding_type",
    "layer_types",
    "layers_block_type",
    "mamba_n_heads",
    "mamba_n_groups",
    "mamba_d_state",
    "mamba_d_head",
    "mamba_d_conv",
    "mamba_expand",
    "mamba_chunk_size",
    "mamba_conv_bias",
    "mamba_proj_bias",
    "time_step_limit",
    "normalization_function",
    "init_method",
];

/// The architecture of a config.
pub fn architecture(config: &Value) -> Result<Architecture> {
    let keys = Keys::of(config)?;
    keys.only("mamba_n_groups", "1")?;
    keys.only("normalization_function", "\"rmsnorm\"")?;
    if let Some(limit) = keys.get("time_step_limit").filter(|limit| !is_no_limit(limit)) {
        return Err(wrong(format!("time_step_limit is {}; only 0 to infinity is known", short(limit))));
    }
    let width = keys.size("shared_intermediate_size", sizes::INNER)?.unwrap_or(1024);
    let moe = match keys.size("num_local_experts", sizes::EXPERTS)? {
        // Without experts, what is elsewhere the shared expert is the whole FFN.
        Some(0) => MoeShape::dense(width),
        _ => MoeShape {
            shared_ffn: Some(SharedShape { intermediate: width, gated: false, count: 1 }),
            ..granitemoe::moe(&keys)?
        },
    };
    let mut a = granitemoe::described(&keys, moe, &[&granitemoe::KNOWN[..], &KNOWN].concat())?;
    let turns = match keys.get("position_embedding_type").and_then(Value::as_str) {
        None | Some("nope") => false,
        Some("rope") => true,
        Some(other) => return Err(wrong(format!("position_embedding_type is \"{other}\", which is not known"))),
    };
    let types = qwen::layer_types(&keys, a.layers.len())?;
    let mamba = state_space(&keys, a.hidden)?;
    for (n, layer) in a.layers.iter_mut().enumerate() {
        match (types.as_ref().map_or("mamba", |types| &types[n]), layer.attention_mut()) {
            ("mamba" | "linear_attention", _) => layer.mixer = Mixer::StateSpace(mamba.clone()),
            ("attention" | "full_attention", Some(attention)) => {
                attention.rope = attention.rope.take().filter(|_| turns);
            }
            (other, _) => {
                return Err(wrong(format!("layer_types has \"{other}\"; only mamba and attention are known")));
            }
        }
    }
    a.checked()
}

fn state_space(keys: &Keys, hidden: usize) -> Result<StateSpaceShape> {
    let size = |key: &str, default| Ok::<_, crate::error::Error>(keys.size(key, sizes::INNER)?.unwrap_or(default));
    let (heads, inner) = (size("mamba_n_heads", 128)?, size("mamba_expand", 2)?.saturating_mul(hidden));
    let head_dim = match keys.get("mamba_d_head") {
        Some(value) if *value != "auto" => size("mamba_d_head", 0)?,
        _ => inner / heads,
    };
    if heads.checked_mul(head_dim) != Some(inner) || !sizes::INNER.contains(&inner) {
        let why = format!(
            "mamba_n_heads ({heads}) times mamba_d_head ({head_dim}) is not mamba_expand times hidden_size, or is too \
             large"
        );
        return Err(wrong(why));
    }
    Ok(StateSpaceShape {
        heads,
        head_dim,
        state: keys.size("mamba_d_state", sizes::HEAD_DIM)?.unwrap_or(256),
        positions: keys.size("mamba_d_conv", 1..=64)?.unwrap_or(4),
        kernel_bias: !keys.has("mamba_conv_bias") || keys.flag("mamba_conv_bias")?,
        bias: keys.flag("mamba_proj_bias")?,
    })
}

/// JSON has no infinity: Python writes it as `Infinity`, other tools as a large number, as text or as null.
fn is_no_limit(limit: &Value) -> bool {
    let Some([low, high]) = limit.as_array().map(Vec::as_slice) else { return false };
    let large = high.as_f64().is_some_and(|high| high > 1e30) || high.is_null() || high.is_string() || high.is_object();
    low.as_f64() == Some(0.0) && large
}

/// Views of all tensors, with their shapes checked.
pub fn weights<'a>(tensors: &'a Tensors, a: &Architecture) -> Result<Weights<'a>> {
    backbone::weights(tensors, a, &Names::PLAIN, |at, moe| {
        let shared = |width| granitemoeshared::shared(tensors, &format!("{at}.shared_mlp"), width, a.hidden);
        let Some(SharedShape { intermediate, .. }) = moe.shared_ffn else {
            return Ok(FfnWeights::dense(shared(moe.intermediate)?));
        };
        let mut ffn = granitemoe::ffn(tensors, at, moe, a.hidden)?;
        ffn.shared = Some(shared(intermediate)?);
        Ok(ffn)
    })
}
