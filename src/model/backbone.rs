//! What the families share: a decoder with RMSNorm, rotary positions and grouped-query attention, in Hugging
//! Face's config keys and tensor names. A family adds its defaults and its FFN.

use super::tensors::Tensors;
use super::weights::{ExpertWeights, FfnWeights, LayerWeights, Weights};
use crate::error::{Error, Result};
use crate::shape::{Architecture, AttentionShape, LayerShape, MoeShape};
use serde::Deserialize;

/// Longest text that the engines keep room for; configs that allow more get this much.
const MOST_CONTEXT: usize = 4096;

/// The keys that all families have.
#[derive(Deserialize)]
pub struct Config {
    vocab_size: usize,
    hidden_size: usize,
    /// Width inside an expert, or inside the FFN.
    pub intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    /// `null` means as many as there are heads, a missing key the family's default.
    #[serde(default, deserialize_with = "given")]
    num_key_value_heads: Option<Option<usize>>,
    head_dim: Option<usize>,
    max_position_embeddings: Option<usize>,
    rms_norm_eps: Option<f32>,
    /// Top level in checkpoints written by transformers 4.
    rope_theta: Option<f32>,
    /// Where transformers 5 writes `rope_theta`.
    rope_parameters: Option<RopeParameters>,
    rope_scaling: Option<serde_json::Value>,
    sliding_window: Option<usize>,
    #[serde(default)]
    tie_word_embeddings: bool,
    hidden_act: Option<String>,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
}

#[derive(Deserialize)]
struct RopeParameters {
    rope_theta: Option<f32>,
    rope_type: Option<String>,
}

/// Tells a key that is `null` from one that is missing.
fn given<'de, D: serde::Deserializer<'de>>(value: D) -> std::result::Result<Option<Option<usize>>, D::Error> {
    Option::deserialize(value).map(Some)
}

/// What a family takes where a key is missing.
pub struct Defaults {
    /// `max_position_embeddings`
    pub context: usize,
    /// `rms_norm_eps`
    pub norm_eps: f32,
    /// `rope_theta`
    pub rope_theta: f32,
    /// `num_key_value_heads`; none for as many as there are heads.
    pub kv_heads: Option<usize>,
}

/// What a config asks to compute, with the same `moe` in every layer.
pub fn architecture(config: &Config, defaults: &Defaults, moe: MoeShape) -> Result<Architecture> {
    refuse_unknown_extras(config)?;
    let heads = config.num_attention_heads;
    if heads == 0 || (config.head_dim.is_none() && !config.hidden_size.is_multiple_of(heads)) {
        let hidden = config.hidden_size;
        let why =
            format!("num_attention_heads ({heads}) must divide hidden_size ({hidden}) where head_dim is not given");
        return Err(Error::model("config.json", why));
    }
    let nested_theta = config.rope_parameters.as_ref().and_then(|rope| rope.rope_theta);
    let attention = AttentionShape {
        heads,
        kv_heads: config.num_key_value_heads.unwrap_or(defaults.kv_heads).unwrap_or(heads),
        head_dim: config.head_dim.unwrap_or_else(|| config.hidden_size / heads),
        rope_theta: nested_theta.or(config.rope_theta).unwrap_or(defaults.rope_theta),
        window: config.sliding_window,
    };
    Architecture {
        vocabulary: config.vocab_size,
        hidden: config.hidden_size,
        context: config.max_position_embeddings.unwrap_or(defaults.context).min(MOST_CONTEXT),
        norm_eps: config.rms_norm_eps.unwrap_or(defaults.norm_eps),
        tied: config.tie_word_embeddings,
        layers: vec![LayerShape { attention, moe }; config.num_hidden_layers],
    }
    .checked()
}

/// Options that would change the numbers and are not implemented are errors, never ignored.
fn refuse_unknown_extras(config: &Config) -> Result<()> {
    let wrong = |why: String| Err(Error::model("config.json", why));
    if let Some(act) = config.hidden_act.as_ref().filter(|act| *act != "silu") {
        return wrong(format!("hidden_act is \"{act}\"; only \"silu\" is known"));
    }
    if config.attention_bias || config.mlp_bias {
        return wrong("attention_bias and mlp_bias are not known; only projections without a bias are".into());
    }
    let scaled =
        config.rope_scaling.as_ref().is_some_and(|scaling| !scaling.is_null() && scaling.get("rope_theta").is_none());
    let kind = config.rope_parameters.as_ref().and_then(|rope| rope.rope_type.as_deref()).unwrap_or("default");
    if scaled || kind != "default" {
        return wrong("scaled rotary positions (rope_scaling) are not known; only rope_type \"default\" is".into());
    }
    Ok(())
}

/// Views of all tensors, with their shapes checked; `ffn` gives those of the FFN of a layer, from the layer's
/// name ("model.layers.0") and shape.
pub fn weights<'a>(
    tensors: &'a Tensors,
    a: &Architecture,
    ffn: impl Fn(&str, &MoeShape) -> Result<FfnWeights<'a>>,
) -> Result<Weights<'a>> {
    let layer = |(n, shape): (usize, &LayerShape)| {
        let at = format!("model.layers.{n}");
        let attention = &shape.attention;
        let (queries, keys) = (attention.query_width(), attention.kv_heads * attention.head_dim);
        let projection = |name, rows, cols| tensors.matrix(&format!("{at}.self_attn.{name}_proj.weight"), rows, cols);
        Ok(LayerWeights {
            attention_norm: tensors.vector(&format!("{at}.input_layernorm.weight"), a.hidden)?,
            qkv: [
                projection("q", queries, a.hidden)?,
                projection("k", keys, a.hidden)?,
                projection("v", keys, a.hidden)?,
            ],
            output: projection("o", a.hidden, queries)?,
            moe_norm: tensors.vector(&format!("{at}.post_attention_layernorm.weight"), a.hidden)?,
            ffn: ffn(&at, &shape.moe)?,
        })
    };
    Ok(Weights {
        embed: tensors.matrix("model.embed_tokens.weight", a.vocabulary, a.hidden)?,
        layers: a.layers.iter().enumerate().map(layer).collect::<Result<_>>()?,
        norm: tensors.vector("model.norm.weight", a.hidden)?,
        lm_head: if a.tied { None } else { Some(tensors.matrix("lm_head.weight", a.vocabulary, a.hidden)?) },
    })
}

/// The SwiGLU matrices called `[w1, w2, w3]` under `at`.
pub fn expert<'a>(
    tensors: &'a Tensors,
    at: &str,
    names: [&str; 3],
    inner: usize,
    hidden: usize,
) -> Result<ExpertWeights<'a>> {
    let matrix = |name: &str, rows, cols| tensors.matrix(&format!("{at}.{name}.weight"), rows, cols);
    let [w1, w2, w3] = names;
    Ok(ExpertWeights { w1: matrix(w1, inner, hidden)?, w2: matrix(w2, hidden, inner)?, w3: matrix(w3, inner, hidden)? })
}
