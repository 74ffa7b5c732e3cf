//! The parts shared by the families that follow DeepSeek: the experts' keys and weights, the layers that have experts,
//! shared experts as one FFN of their common width, and latent attention.

use super::backbone::{self, Defaults, sizes};
use super::rotary::{self, RopeKeys};
use crate::error::Result;
use crate::model::keys::{Keys, short, wrong};
use crate::model::tensors::Tensors;
use crate::model::weights::FfnWeights;
use crate::shape::{AttentionShape, Gate, GroupLimit, GroupScore, LatentShape, MoeShape, Rope, SharedShape};
use serde_json::Value;

/// The keys that [`moe`] reads, and some without effect.
pub const EXPERT_KEYS: [&str; 17] = [
    "n_routed_experts",
    "num_local_experts",
    "num_experts_per_tok",
    "moe_intermediate_size",
    "n_shared_experts",
    "first_k_dense_replace",
    "routed_scaling_factor",
    "n_group",
    "topk_group",
    "norm_topk_prob",
    "scoring_func",
    "topk_method",
    "moe_layer_freq",
    "aux_loss_alpha",
    "seq_aux",
    "ep_size",
    "num_nextn_predict_layers",
];

/// The keys that [`latent`] reads.
pub const LATENT_KEYS: [&str; 7] = [
    "q_lora_rank",
    "kv_lora_rank",
    "qk_nope_head_dim",
    "qk_rope_head_dim",
    "qk_head_dim",
    "v_head_dim",
    "rope_interleave",
];

/// The experts of a config, weighted by the softmax or the sigmoid of their logits.
pub fn moe(keys: &Keys, scores: &str) -> Result<MoeShape> {
    for (key, only) in [("scoring_func", scores), ("moe_layer_freq", "1")] {
        if let Some(value) = keys.get(key).filter(|value| value.to_string().trim_matches('"') != only) {
            return Err(wrong(format!("{key} is {}; only {only} is known in this family", short(value))));
        }
    }
    let shape = backbone::experts(keys, ["n_routed_experts", "num_experts_per_tok", "moe_intermediate_size"])?;
    let count = keys.size("n_shared_experts", sizes::EXPERTS)?.unwrap_or(0);
    let shared = SharedShape { intermediate: count * shape.intermediate, gated: false, count };
    let gate = if scores == "softmax" { softmax_gate(keys)? } else { sigmoid_gate(keys)? };
    let bias = gate.kind.has_bias();
    Ok(MoeShape { gate: Some(gate), bias, shared_ffn: (count > 0).then_some(shared), ..shape })
}

fn scale(keys: &Keys) -> Result<f32> {
    Ok(keys.number("routed_scaling_factor", 0.0..=1e6)?.unwrap_or(1.0))
}

/// Groups of experts, and how many of them a token uses.
fn groups(keys: &Keys) -> Result<(usize, usize)> {
    let size = |key| Ok::<_, crate::error::Error>(keys.size(key, sizes::EXPERTS)?.unwrap_or(1));
    Ok((size("n_group")?, size("topk_group")?))
}

/// DeepSeek-V2's gate: weights from a softmax over all experts, not renormalised.
fn softmax_gate(keys: &Keys) -> Result<Gate> {
    let (groups, per_token) = groups(keys)?;
    let limit = match keys.get("topk_method").and_then(Value::as_str) {
        Some("group_limited_greedy") => Some(GroupLimit { groups, per_token, score: GroupScore::Max }),
        Some("greedy") | None => None,
        Some(other) => return Err(wrong(format!("topk_method is \"{other}\", which is not known"))),
    };
    Ok(Gate { scale: scale(keys)?, group_limit: limit, ..Gate::softmax(false) })
}

/// DeepSeek-V3's gate: sigmoids, with a bias that affects only the choice.
fn sigmoid_gate(keys: &Keys) -> Result<Gate> {
    let (groups, per_token) = groups(keys)?;
    let renormalise = !keys.has("norm_topk_prob") || keys.flag("norm_topk_prob")?;
    Ok(Gate::deepseek_v3(groups, per_token, renormalise, scale(keys)?))
}

/// The experts of layer `n`: the first layers are dense.
pub fn of_layer(keys: &Keys, moe: MoeShape) -> Result<impl Fn(usize) -> MoeShape + use<>> {
    let dense = keys.size("first_k_dense_replace", 0..=usize::MAX)?.unwrap_or(0);
    let inner = backbone::intermediate(keys)?;
    Ok(move |n: usize| if n < dense { MoeShape::dense(inner) } else { moe.clone() })
}

/// Latent attention with as many heads as `attention` has.
pub fn latent(
    keys: &Keys,
    defaults: &Defaults,
    attention: &AttentionShape,
    interleaved: bool,
) -> Result<AttentionShape> {
    let width = |key| keys.needed(key, sizes::HEAD_DIM);
    let (own, shared) = (width("qk_nope_head_dim")?, width("qk_rope_head_dim")?);
    let rank = keys.needed("kv_lora_rank", sizes::HIDDEN)?;
    let rope = Rope { first: rank, interleaved, ..rotary::rope(keys, defaults, shared)? };
    let head_dim = own + shared;
    let latent = LatentShape {
        query_rank: keys.size("q_lora_rank", sizes::HIDDEN)?,
        rank,
        shared,
        own,
        value_dim: width("v_head_dim")?,
        eps: 1e-6,
    };
    let given = RopeKeys::of(keys)?;
    let mut scale = 1.0 / (head_dim as f32).sqrt();
    if let (Some(all), Some(factor)) = (given.number("mscale_all_dim", 0.0..=1e3)?, given.number("factor", 1e-3..=1e6)?)
        && given.kind()? != "default"
        && all != 0.0
    {
        scale *= rotary::yarn_scale(factor, all).powi(2);
    }
    Ok(AttentionShape {
        heads: attention.heads,
        kv_heads: 1,
        head_dim: rank + shared,
        value_dim: rank,
        rope: Some(rope),
        scale: Some(scale),
        latent: Some(latent),
        ..attention.clone()
    })
}

/// Router, experts and shared experts of the layer `at`; or its one FFN.
pub fn ffn<'a>(tensors: &'a Tensors, at: &str, moe: &MoeShape, hidden: usize) -> Result<FfnWeights<'a>> {
    let at = format!("{at}.mlp");
    let mut ffn = backbone::ffn(tensors, &at, "shared_experts", moe, hidden)?;
    if moe.bias {
        ffn.bias = Some(tensors.vector(&format!("{at}.gate.e_score_correction_bias"), moe.experts)?);
    }
    Ok(ffn)
}
