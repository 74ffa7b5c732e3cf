//! gpt-oss: `GptOssForCausalLM` of Hugging Face transformers: attention sinks, a window in every second layer, biases
//! everywhere, clamped SwiGLU. Rows of gate and up alternate, and the experts' matrices are stored transposed.

use super::backbone::{self, Defaults, Names, PROJECTIONS};
use super::{mixtral, qwen};
use crate::error::{Error, Result};
use crate::model::keys::{Keys, short, wrong};
use crate::model::tensors::Tensors;
use crate::model::weights::{ExpertWeights, FfnWeights, Weights};
use crate::shape::{Activation, Architecture, MoeShape};
use serde_json::Value;

/// The defaults of transformers' `GptOssConfig`.
const DEFAULTS: Defaults = Defaults {
    context: 131_072,
    norm_eps: 1e-5,
    rope_theta: 150_000.0,
    kv_heads: Some(8),
    head_dim: Some(64),
    bias: Some(true),
    ..Defaults::PLAIN
};

/// The family's own keys, and some without effect.
const KNOWN: [&str; 8] = [
    "quantization_config",
    "experts_per_token",
    "initial_context_length",
    "layer_types",
    "sliding_window",
    "swiglu_alpha",
    "swiglu_limit",
    "num_experts",
];

/// The architecture of a config.
pub fn architecture(config: &Value) -> Result<Architecture> {
    let keys = Keys::of(config)?;
    if let Some(packed) = keys.get("quantization_config").filter(|packed| packed["quant_method"] != "mxfp4") {
        return Err(wrong(format!("quantization_config is {}; only quant_method \"mxfp4\" is known", short(packed))));
    }
    let number = |key, default| Ok::<f32, Error>(keys.number(key, 1e-3..=1e6)?.unwrap_or(default));
    let activation = Activation::Clamped { alpha: number("swiglu_alpha", 1.702)?, limit: number("swiglu_limit", 7.0)? };
    let moe = MoeShape { activation, expert_bias: true, router_bias: true, ..mixtral::moe(&keys)? };
    let known = [&mixtral::KNOWN[..], &KNOWN].concat();
    let mut a = backbone::architecture(&keys, &DEFAULTS, |_| moe.clone(), &known)?;
    let types = qwen::layer_types(&keys, a.layers.len())?;
    let slides = |n: usize| types.as_ref().map_or(n.is_multiple_of(2), |types| types[n] == "sliding_attention");
    let (window, context) = (keys.size("sliding_window", 1..=usize::MAX)?.unwrap_or(128), a.context);
    backbone::each_attention(&mut a, |n, attention| {
        attention.sinks = true;
        attention.window = Some(window).filter(|window| slides(n) && *window < context);
    });
    a.checked()
}

/// Views of all tensors, with their shapes checked.
pub fn weights<'a>(tensors: &'a Tensors, a: &Architecture) -> Result<Weights<'a>> {
    backbone::weights(tensors, a, &Names::PLAIN, |at, moe| {
        let at = format!("{at}.mlp");
        let by_expert = tensors.has(&format!("{at}.experts.0.gate_proj.weight"));
        let expert = |e| match by_expert {
            true => single_expert(tensors, &format!("{at}.experts.{e}"), moe.intermediate, a.hidden),
            false => expert(tensors, &format!("{at}.experts"), e, moe, a.hidden),
        };
        let router = tensors.matrix(&format!("{at}.router.weight"), moe.experts, a.hidden)?;
        Ok(FfnWeights {
            experts: (0..moe.experts).map(expert).collect::<Result<_>>()?,
            router_bias: Some(tensors.vector(&format!("{at}.router.bias"), moe.experts)?),
            ..FfnWeights::routed(Some(router))
        })
    })
}

/// Expert `e` of `gate_up_proj`, `[E, D, 2 F]` (gate and up in turn), and `down_proj`, `[E, F, D]`; or of their blocks
/// in MXFP4, which are not transposed.
fn expert<'a>(tensors: &'a Tensors, at: &str, e: usize, moe: &MoeShape, hidden: usize) -> Result<ExpertWeights<'a>> {
    let (all, inner) = (moe.experts, moe.intermediate);
    let (up, down) = (format!("{at}.gate_up_proj"), format!("{at}.down_proj"));
    let is_packed = tensors.has(&format!("{up}_blocks"));
    let in_turn = |first| match is_packed {
        true => tensors.mxfp4_rows_of(&up, [all, 2 * inner, hidden], e, first, 2),
        false => tensors.columns_of(&up, [all, hidden, 2 * inner], e, first, 2),
    };
    let (up_bias, down_bias) = (format!("{up}_bias"), format!("{down}_bias"));
    let bias = |first| tensors.numbers_of(&up_bias, [all, 2 * inner], e, first, 2);
    Ok(ExpertWeights {
        w1: in_turn(0)?,
        w2: match is_packed {
            true => tensors.mxfp4_rows_of(&down, [all, hidden, inner], e, 0, 1)?,
            false => tensors.columns_of(&down, [all, inner, hidden], e, 0, 1)?,
        },
        w3: in_turn(1)?,
        bias: Some([bias(0)?, bias(1)?, tensors.numbers_of(&down_bias, [all, hidden], e, 0, 1)?]),
    })
}

/// The expert `at`, whose matrices are tensors of their own.
fn single_expert<'a>(tensors: &'a Tensors, at: &str, inner: usize, hidden: usize) -> Result<ExpertWeights<'a>> {
    let bias = |name: &str, rows| tensors.vector(&format!("{at}.{name}.bias"), rows);
    Ok(ExpertWeights {
        bias: Some([bias("gate_proj", inner)?, bias("up_proj", inner)?, bias("down_proj", hidden)?]),
        ..backbone::expert(tensors, at, PROJECTIONS, inner, hidden)?
    })
}
