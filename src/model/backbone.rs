//! What the families share: a decoder with RMSNorm, rotary positions and grouped-query attention, in Hugging
//! Face's config keys and tensor names. A family adds its defaults and its FFN.

use super::keys::{Keys, number, short, wrong};
use super::tensors::Tensors;
use super::weights::{ExpertWeights, FfnWeights, LayerWeights, Weights};
use crate::error::Result;
use crate::shape::{Architecture, AttentionShape, LayerShape, MoeShape};
use serde_json::{Map, Value};
use std::ops::RangeInclusive;

/// Longest text that the engines keep room for; configs that allow more get this much.
const MOST_CONTEXT: usize = 4096;

/// The keys that all families have.
const KNOWN: [&str; 16] = [
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
    "rms_norm_eps",
    "rope_theta",
    "rope_parameters",
    "rope_scaling",
    "tie_word_embeddings",
    "hidden_act",
    "attention_bias",
    "mlp_bias",
];

/// Sizes that are asked for, with room above those of published models. Products of a few of them fit 32 bits.
mod sizes {
    use super::RangeInclusive;

    pub const VOCABULARY: RangeInclusive<usize> = 1..=1 << 24;
    pub const HIDDEN: RangeInclusive<usize> = 1..=1 << 16;
    pub const INNER: RangeInclusive<usize> = 1..=1 << 20;
    pub const LAYERS: RangeInclusive<usize> = 1..=1024;
    pub const HEADS: RangeInclusive<usize> = 1..=1024;
    pub const HEAD_DIM: RangeInclusive<usize> = 1..=4096;
}

/// The most experts of a layer.
pub const MOST_EXPERTS: usize = 4096;

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
    /// Whether it knows `sliding_window`.
    pub has_window: bool,
}

/// Width inside an expert, or inside the FFN.
pub fn intermediate(keys: &Keys) -> Result<usize> {
    keys.needed("intermediate_size", sizes::INNER)
}

/// What a config asks to compute, with the same `moe` in every layer; `known` are the family's own keys.
pub fn architecture(keys: &Keys, defaults: &Defaults, moe: MoeShape, known: &[&str]) -> Result<Architecture> {
    refuse_extras(keys)?;
    let window: &[&str] = if defaults.has_window { &["sliding_window"] } else { &[] };
    keys.refuse_others(&[&KNOWN, known, window].concat())?;
    let (hidden, heads) =
        (keys.needed("hidden_size", sizes::HIDDEN)?, keys.needed("num_attention_heads", sizes::HEADS)?);
    let head_dim = keys.size("head_dim", sizes::HEAD_DIM)?;
    if head_dim.is_none() && !hidden.is_multiple_of(heads) {
        return Err(wrong(format!(
            "num_attention_heads ({heads}) must divide hidden_size ({hidden}) where head_dim is not given"
        )));
    }
    // Null means as many as there are heads, a missing key the family's default.
    let kv_heads = match keys.has("num_key_value_heads") {
        true => keys.size("num_key_value_heads", sizes::HEADS)?,
        false => defaults.kv_heads,
    };
    let context = keys.size("max_position_embeddings", 1..=usize::MAX)?.unwrap_or(defaults.context).min(MOST_CONTEXT);
    // A window that no text fills is none.
    let window = if defaults.has_window { keys.size("sliding_window", 0..=usize::MAX)? } else { None };
    let attention = AttentionShape {
        heads,
        kv_heads: kv_heads.unwrap_or(heads),
        head_dim: head_dim.unwrap_or(hidden / heads),
        rope_theta: rope_theta(keys, defaults.rope_theta)?,
        window: window.filter(|window| *window < context),
    };
    let layers = keys.needed("num_hidden_layers", sizes::LAYERS)?;
    Architecture {
        vocabulary: keys.needed("vocab_size", sizes::VOCABULARY)?,
        hidden,
        context,
        norm_eps: keys.number("rms_norm_eps", 0.0..=1e6)?.unwrap_or(defaults.norm_eps),
        tied: keys.flag("tie_word_embeddings")?,
        layers: vec![LayerShape { attention, moe }; layers],
    }
    .checked()
}

/// Options that would change the numbers and are not implemented are errors, never ignored.
fn refuse_extras(keys: &Keys) -> Result<()> {
    // Two names of one function.
    if let Some(act) = keys.get("hidden_act").filter(|act| **act != "silu" && **act != "swish") {
        return Err(wrong(format!("hidden_act is {}; only \"silu\" (\"swish\") is known", short(act))));
    }
    if keys.flag("attention_bias")? || keys.flag("mlp_bias")? {
        return Err(wrong("attention_bias and mlp_bias are not known; only projections without a bias are".into()));
    }
    Ok(())
}

/// The base of the rotary frequencies, found where `transformers` finds it: in `rope_scaling` (the older name) where
/// that says anything, in `rope_parameters` otherwise; then at the top; then the family's. Scaled positions are
/// refused.
fn rope_theta(keys: &Keys, default: f32) -> Result<f32> {
    const THETA: RangeInclusive<f32> = 1e-3..=1e30;
    let rope = |key| -> Result<Option<(&str, &Map<String, Value>)>> {
        let Some(value) = keys.get(key) else { return Ok(None) };
        let rope =
            value.as_object().ok_or_else(|| wrong(format!("{key} is {}; it must be an object", short(value))))?;
        Ok((!rope.is_empty()).then_some((key, rope)))
    };
    let given = match rope("rope_scaling")? {
        Some(given) => Some(given),
        None => rope("rope_parameters")?,
    };
    let top = keys.number("rope_theta", THETA)?;
    let Some((at, rope)) = given else { return Ok(top.unwrap_or(default)) };
    let value = |key: &str| rope.get(key).filter(|value| !value.is_null());
    // `rope_type` is the newer name of `type`, and goes before it.
    let kind = value("rope_type").or(value("type"));
    if let Some(kind) = kind.filter(|kind| **kind != "default") {
        return Err(wrong(format!(
            "{at} asks for scaled rotary positions (rope_scaling) of the type {}, which are not known; \
             only \"default\" is",
            short(kind)
        )));
    }
    if let Some(part) = value("partial_rotary_factor").filter(|part| part.as_f64() != Some(1.0)) {
        return Err(wrong(format!("{at}.partial_rotary_factor is {}; only 1 is known", short(part))));
    }
    let inside = value("rope_theta").map(|theta| number(&format!("{at}.rope_theta"), theta, THETA)).transpose()?;
    Ok(inside.or(top).unwrap_or(default))
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
    let embed = tensors.matrix("model.embed_tokens.weight", a.vocabulary, a.hidden)?;
    Ok(Weights {
        // A row that no text asks for may hold anything; tied, each row is a part of every product.
        embed: if a.tied { embed } else { embed.of_single_rows() },
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
