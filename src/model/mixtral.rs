//! Mixtral: `MixtralForCausalLM` of Hugging Face transformers, config keys and tensor names.

use super::architecture::{Architecture, AttentionShape, LayerShape, MoeShape};
use super::tensors::Tensors;
use super::weights::{ExpertWeights, LayerWeights, Weights};
use crate::error::{Error, Result};
use serde::Deserialize;

#[derive(Deserialize)]
struct Config {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    /// `null` means as many as there are heads.
    #[serde(default = "default_kv_heads")]
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    #[serde(default = "default_context")]
    max_position_embeddings: usize,
    #[serde(default = "default_eps")]
    rms_norm_eps: f32,
    /// Top level in checkpoints written by transformers 4.
    rope_theta: Option<f32>,
    /// Where transformers 5 writes `rope_theta`.
    rope_parameters: Option<RopeParameters>,
    rope_scaling: Option<serde_json::Value>,
    sliding_window: Option<usize>,
    #[serde(default = "default_experts")]
    num_local_experts: usize,
    #[serde(default = "default_top_k")]
    num_experts_per_tok: usize,
    #[serde(default)]
    tie_word_embeddings: bool,
    #[serde(default = "default_act")]
    hidden_act: String,
}

#[derive(Deserialize)]
struct RopeParameters {
    rope_theta: Option<f32>,
    rope_type: Option<String>,
}

// What transformers' MixtralConfig takes where a key is missing.
fn default_kv_heads() -> Option<usize> {
    Some(8)
}
fn default_context() -> usize {
    4096 * 32
}
fn default_eps() -> f32 {
    1e-5
}
fn default_experts() -> usize {
    8
}
fn default_top_k() -> usize {
    2
}
fn default_act() -> String {
    "silu".into()
}
const DEFAULT_ROPE_THETA: f32 = 1e6;
/// Longest text that the engines keep room for; configs that allow more get this much.
const MOST_CONTEXT: usize = 4096;

/// What a Mixtral config asks to compute.
pub fn architecture(config: &serde_json::Value) -> Result<Architecture> {
    let config = Config::deserialize(config).map_err(|e| {
        Error::model("config.json", format!("{e}; a Mixtral config needs the keys of Hugging Face's MixtralConfig"))
    })?;
    refuse_unknown_extras(&config)?;
    let heads = config.num_attention_heads;
    if heads == 0 || (config.head_dim.is_none() && !config.hidden_size.is_multiple_of(heads)) {
        let why = format!(
            "num_attention_heads ({heads}) must divide hidden_size ({}) where head_dim is not given",
            config.hidden_size
        );
        return Err(Error::model("config.json", why));
    }
    let nested_theta = config.rope_parameters.as_ref().and_then(|rope| rope.rope_theta);
    let layer = LayerShape {
        attention: AttentionShape {
            heads,
            kv_heads: config.num_key_value_heads.unwrap_or(heads),
            head_dim: config.head_dim.unwrap_or_else(|| config.hidden_size / heads),
            rope_theta: nested_theta.or(config.rope_theta).unwrap_or(DEFAULT_ROPE_THETA),
            window: config.sliding_window,
        },
        moe: MoeShape {
            experts: config.num_local_experts,
            top_k: config.num_experts_per_tok,
            intermediate: config.intermediate_size,
        },
    };
    Architecture {
        vocabulary: config.vocab_size,
        hidden: config.hidden_size,
        context: config.max_position_embeddings.min(MOST_CONTEXT),
        norm_eps: config.rms_norm_eps,
        tied: config.tie_word_embeddings,
        layers: vec![layer; config.num_hidden_layers],
    }
    .checked()
}

/// Options that would change the numbers and are not implemented are errors, never ignored.
fn refuse_unknown_extras(config: &Config) -> Result<()> {
    if config.hidden_act != "silu" {
        return Err(Error::model(
            "config.json",
            format!("hidden_act is \"{}\"; only \"silu\" is known", config.hidden_act),
        ));
    }
    let scaled =
        config.rope_scaling.as_ref().is_some_and(|scaling| !scaling.is_null() && scaling.get("rope_theta").is_none());
    let kind = config.rope_parameters.as_ref().and_then(|rope| rope.rope_type.as_deref()).unwrap_or("default");
    if scaled || kind != "default" {
        return Err(Error::model(
            "config.json",
            "scaled rotary positions (rope_scaling) are not known; only rope_type \"default\" is",
        ));
    }
    Ok(())
}

/// Views of all tensors, with their shapes checked.
pub fn weights<'a>(tensors: &'a Tensors, a: &Architecture) -> Result<Weights<'a>> {
    let layers =
        a.layers.iter().enumerate().map(|(n, shape)| layer(tensors, a.hidden, n, shape)).collect::<Result<_>>()?;
    Ok(Weights {
        embed: tensors.matrix("model.embed_tokens.weight", a.vocabulary, a.hidden)?,
        layers,
        norm: tensors.vector("model.norm.weight", a.hidden)?,
        lm_head: if a.tied { None } else { Some(tensors.matrix("lm_head.weight", a.vocabulary, a.hidden)?) },
    })
}

fn layer<'a>(tensors: &'a Tensors, hidden: usize, n: usize, shape: &LayerShape) -> Result<LayerWeights<'a>> {
    let at = format!("model.layers.{n}");
    let attention = &shape.attention;
    let (queries, keys) = (attention.query_width(), attention.kv_heads * attention.head_dim);
    let projection = |name: &str, rows, cols| tensors.matrix(&format!("{at}.self_attn.{name}_proj.weight"), rows, cols);
    let expert = |e: usize| {
        let matrix = |name: &str, rows, cols| {
            tensors.matrix(&format!("{at}.block_sparse_moe.experts.{e}.{name}.weight"), rows, cols)
        };
        Ok(ExpertWeights {
            w1: matrix("w1", shape.moe.intermediate, hidden)?,
            w2: matrix("w2", hidden, shape.moe.intermediate)?,
            w3: matrix("w3", shape.moe.intermediate, hidden)?,
        })
    };
    Ok(LayerWeights {
        attention_norm: tensors.vector(&format!("{at}.input_layernorm.weight"), hidden)?,
        qkv: [projection("q", queries, hidden)?, projection("k", keys, hidden)?, projection("v", keys, hidden)?],
        output: projection("o", hidden, queries)?,
        moe_norm: tensors.vector(&format!("{at}.post_attention_layernorm.weight"), hidden)?,
        router: tensors.matrix(&format!("{at}.block_sparse_moe.gate.weight"), shape.moe.experts, hidden)?,
        experts: (0..shape.moe.experts).map(expert).collect::<Result<_>>()?,
    })
}
