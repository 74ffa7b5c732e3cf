//! Hunyuan-A13B: `HunYuanMoEV1ForCausalLM` of Hugging Face transformers: heads normed one by one after their rotation;
//! a shared expert of the other experts' width.

use super::backbone::{self, Defaults, Names, PROJECTIONS, sizes};
use crate::error::Result;
use crate::model::keys::{Keys, short, wrong};
use crate::model::tensors::Tensors;
use crate::model::weights::Weights;
use crate::shape::{Architecture, HeadNorm, MoeShape, SharedShape};
use serde_json::Value;

/// The defaults of transformers' `HunYuanMoEV1Config`.
const DEFAULTS: Defaults = Defaults { norm_eps: 1e-5, bias: Some(false), ..Defaults::PLAIN };

/// The family's own keys, and some without effect.
const KNOWN: [&str; 19] = [
    "num_experts",
    "num_local_experts",
    "moe_topk",
    "num_experts_per_tok",
    "num_shared_expert",
    "moe_intermediate_size",
    "moe_layer_num_skipped",
    "attention_head_dim",
    "use_qk_norm",
    "use_mixed_mlp_moe",
    "cla_share_factor",
    "class_num",
    "eod_token_id",
    "group_limited_greedy",
    "moe_drop_tokens",
    "norm_type",
    "org_vocab_size",
    "norm_topk_prob",
    "routed_scaling_factor",
];

/// The architecture of a config.
pub fn architecture(config: &Value) -> Result<Architecture> {
    let keys = Keys::of(config)?;
    for (key, only) in [
        ("use_qk_norm", "true"),
        ("norm_topk_prob", "true"),
        ("norm_type", "\"rms\""),
        ("routed_scaling_factor", "1.0"),
        ("group_limited_greedy", "false"),
    ] {
        keys.only(key, only)?;
    }
    let layers = keys.needed("num_hidden_layers", sizes::LAYERS)?;
    // A number, or a list with one for each layer.
    let each = |key: &str, default: usize| -> Result<Vec<usize>> {
        let Some(value) = keys.get(key) else { return Ok(vec![default; layers]) };
        let number = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok());
        let list = match value {
            Value::Array(list) if list.len() == layers => list.iter().map(number).collect(),
            one => number(one).map(|n| vec![n; layers]),
        };
        list.filter(|list| list.iter().all(|n| sizes::INNER.contains(n.max(&1)))).ok_or_else(|| {
            wrong(format!("{key} is {}; it must be a number, or a list of one for each layer", short(value)))
        })
    };
    let inner = backbone::intermediate(&keys)?;
    let (experts, used) = (each("num_experts", 1)?, each("moe_topk", 1)?);
    let (shared, widths) = (each("num_shared_expert", 1)?, each("moe_intermediate_size", inner)?);
    let (others, skipped) = (experts.iter().any(|n| *n != experts[0]), each("moe_layer_num_skipped", 0)?);
    if others || shared.iter().any(|n| *n != 1) || widths.iter().any(|n| *n != inner) || skipped[0] != 0 {
        let why = "num_experts, moe_intermediate_size, num_shared_expert or moe_layer_num_skipped ask for layers that \
                   differ; only one shared expert, all experts of the width intermediate_size, is known";
        return Err(wrong(why.into()));
    }
    let shared = Some(SharedShape { intermediate: inner, gated: false, count: 1 });
    let of_layer = |n: usize| MoeShape { shared_ffn: shared, ..MoeShape::mixtral(experts[n], used[n], inner) };
    let mut a = backbone::architecture(&keys, &DEFAULTS, of_layer, &KNOWN)?;
    backbone::each_attention(&mut a, |_, attention| {
        attention.norm = Some(HeadNorm::Head);
        attention.norm_last = true;
    });
    a.checked()
}

/// Views of all tensors, with their shapes checked.
pub fn weights<'a>(tensors: &'a Tensors, a: &Architecture) -> Result<Weights<'a>> {
    let head_norms = ["self_attn.query_layernorm", "self_attn.key_layernorm"];
    backbone::weights(tensors, a, &Names { head_norms, ..Names::PLAIN }, |at, moe| {
        let at = format!("{at}.mlp");
        let router = format!("{at}.gate.wg.weight");
        let mut ffn = backbone::routed_by(tensors, &at, &router, PROJECTIONS, moe, a.hidden)?;
        let shared = format!("{at}.shared_mlp");
        ffn.shared = Some(backbone::expert(tensors, &shared, PROJECTIONS, moe.intermediate, a.hidden)?);
        Ok(ffn)
    })
}
