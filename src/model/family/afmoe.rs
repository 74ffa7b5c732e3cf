//! AFMoE (Trinity): `AfmoeForCausalLM` of Hugging Face transformers: attention with a gated output, windows with rotary
//! positions and whole attention without them, norms before and after mixer and experts, DeepSeek-V3's gate.

use super::backbone::{self, Defaults, Names, PROJECTIONS, sizes};
use super::qwen;
use crate::error::Result;
use crate::model::keys::{Keys, wrong};
use crate::model::tensors::Tensors;
use crate::model::weights::{FfnWeights, Weights};
use crate::shape::{Architecture, Gate, HeadNorm, MoeShape, SharedShape};
use serde_json::Value;

/// The defaults of transformers' `AfmoeConfig`.
const DEFAULTS: Defaults =
    Defaults { context: 16384, norm_eps: 1e-5, head_dim: Some(128), bias: Some(false), ..Defaults::PLAIN };

const NAMES: Names = Names {
    ffn_norm: "pre_mlp_layernorm",
    post_norms: ["post_attention_layernorm", "post_mlp_layernorm"],
    ..Names::PLAIN
};

/// The family's own keys, and some without effect.
const KNOWN: [&str; 20] = [
    "num_experts",
    "num_experts_per_tok",
    "moe_intermediate_size",
    "num_dense_layers",
    "num_shared_experts",
    "route_scale",
    "route_norm",
    "score_func",
    "n_group",
    "topk_group",
    "num_expert_groups",
    "num_limited_groups",
    "global_attn_every_n_layers",
    "sliding_window",
    "layer_types",
    "mup_enabled",
    "load_balance_coeff",
    "use_grouped_mm",
    "num_local_experts",
    "router_jitter_noise",
];

/// The architecture of a config.
pub fn architecture(config: &Value) -> Result<Architecture> {
    let keys = Keys::of(config)?;
    for (key, only) in [
        ("score_func", "\"sigmoid\""),
        ("route_norm", "true"),
        ("n_group", "1"),
        ("topk_group", "1"),
        ("num_expert_groups", "1"),
        ("num_limited_groups", "1"),
    ] {
        keys.only(key, only)?;
    }
    let scale = keys.number("route_scale", 0.0..=1e6)?.unwrap_or(1.0);
    let shape = backbone::experts(&keys, ["num_experts", "num_experts_per_tok", "moe_intermediate_size"])?;
    let count = keys.size("num_shared_experts", sizes::EXPERTS)?.unwrap_or(2);
    let shared = SharedShape { intermediate: count * shape.intermediate, gated: false, count };
    let gate = Some(Gate::deepseek_v3(1, 1, true, scale));
    let moe = MoeShape { gate, bias: true, shared_ffn: (count > 0).then_some(shared), ..shape };
    let dense = keys.size("num_dense_layers", 0..=usize::MAX)?.unwrap_or(1);
    let inner = backbone::intermediate(&keys)?;
    let of_layer = |n| if n < dense { MoeShape::dense(inner) } else { moe.clone() };
    let mut a = backbone::architecture(&keys, &DEFAULTS, of_layer, &KNOWN)?;
    if keys.flag("mup_enabled")? {
        a.embedding_scale = (a.hidden as f32).sqrt();
    }
    let types = qwen::layer_types(&keys, a.layers.len())?;
    let every = keys.size("global_attn_every_n_layers", 1..=usize::MAX)?.unwrap_or(4);
    let slides = |n: usize| match &types {
        None => Ok(!(n + 1).is_multiple_of(every)),
        Some(types) if types[n] == "sliding_attention" => Ok(true),
        Some(types) if types[n] == "full_attention" => Ok(false),
        Some(types) => Err(wrong(format!("layer_types has \"{}\", which is not known", types[n]))),
    };
    let slides = (0..a.layers.len()).map(slides).collect::<Result<Vec<_>>>()?;
    let (window, context) = (keys.size("sliding_window", 1..=usize::MAX)?.unwrap_or(1024), a.context);
    a.layers.iter_mut().for_each(|layer| layer.post_norms = true);
    backbone::each_attention(&mut a, |n, attention| {
        attention.norm = Some(HeadNorm::Head);
        attention.gated = true;
        if slides[n] {
            attention.window = Some(window).filter(|window| *window < context);
        } else {
            attention.rope = None;
        }
    });
    a.checked()
}

/// Views of all tensors, with their shapes checked.
pub fn weights<'a>(tensors: &'a Tensors, a: &Architecture) -> Result<Weights<'a>> {
    backbone::weights(tensors, a, &NAMES, |at, moe| {
        let at = format!("{at}.mlp");
        if moe.gate.is_none() {
            return Ok(FfnWeights::dense(backbone::expert(tensors, &at, PROJECTIONS, moe.intermediate, a.hidden)?));
        }
        let router = format!("{at}.router.gate.weight");
        let mut ffn = backbone::routed_by(tensors, &at, &router, PROJECTIONS, moe, a.hidden)?;
        ffn.bias = Some(tensors.vector(&format!("{at}.expert_bias"), moe.experts)?);
        if let Some(SharedShape { intermediate, .. }) = moe.shared_ffn {
            let at = format!("{at}.shared_experts");
            ffn.shared = Some(backbone::expert(tensors, &at, PROJECTIONS, intermediate, a.hidden)?);
        }
        Ok(ffn)
    })
}
