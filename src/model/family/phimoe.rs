//! Phi-3.5-MoE, Phi-mini-MoE and Phi-tiny-MoE: `PhimoeForCausalLM` of Hugging Face transformers: LayerNorms, biases in
//! attention and output, SparseMixer.

use super::backbone::{self, Defaults, Names};
use super::mixtral;
use super::rotary::RopeKeys;
use crate::error::Result;
use crate::model::keys::{Keys, short, wrong};
use crate::model::tensors::Tensors;
use crate::model::weights::Weights;
use crate::shape::{Architecture, Gate, GateKind, MoeShape, Scaling};
use serde_json::Value;

/// The defaults of transformers' `PhimoeConfig`.
const DEFAULTS: Defaults = Defaults {
    context: 4096 * 32,
    norm_eps: 1e-5,
    rope_theta: 1e6,
    kv_heads: Some(8),
    has_window: true,
    bias: Some(false),
    ..Defaults::PLAIN
};

/// The family's own keys.
const KNOWN: [&str; 4] = ["lm_head_bias", "input_jitter_noise", "router_jitter_noise", "num_experts"];

/// The architecture of a config.
pub fn architecture(config: &Value) -> Result<Architecture> {
    let keys = Keys::of(config)?;
    let jitter = keys.number("router_jitter_noise", 0.0..=1.0)?.unwrap_or(0.01);
    let gate = Some(Gate { jitter, ..Gate::new(GateKind::SparseMixer) });
    let moe = MoeShape { gate, ..mixtral::moe(&keys)? };
    if moe.top_k != 2 {
        return Err(wrong(format!("num_experts_per_tok is {}; this family's gate chooses 2", moe.top_k)));
    }
    let known = [&mixtral::KNOWN[..], &KNOWN].concat();
    let mut a = backbone::architecture(&keys, &DEFAULTS, |_| moe.clone(), &known)?;
    a.layer_norm = true;
    a.head_bias = keys.flag("lm_head_bias")?;
    if let Some((original, scaling)) = short_texts(&keys)? {
        // For longer texts all rotations would differ, from the first token on.
        a.context = a.context.min(original);
        backbone::each_attention(&mut a, |_, attention| {
            attention.rope.iter_mut().for_each(|rope| rope.scaling = scaling.clone());
        });
    }
    a.checked()
}

/// Rotary positions of texts up to the length of the training, where the config scales them ("longrope").
fn short_texts(keys: &Keys) -> Result<Option<(usize, Scaling)>> {
    let given = RopeKeys::of(keys)?;
    if given.kind()? != "longrope" {
        return Ok(None);
    }
    let factors = given.get("short_factor").and_then(Value::as_array);
    let factors = factors.and_then(|list| list.iter().map(|x| x.as_f64().map(|x| x as f32)).collect());
    let list = given.get("short_factor").map_or("missing".into(), short);
    let factors = factors.ok_or_else(|| wrong(format!("short_factor is {list}; it must be a list of numbers")))?;
    let attention = given.number("short_mscale", 1e-3..=1e3)?.unwrap_or(1.0);
    let original = match keys.size("original_max_position_embeddings", 1..=usize::MAX)? {
        Some(original) => original,
        None => given.number("original_max_position_embeddings", 1.0..=1e9)?.unwrap_or(4096.0) as usize,
    };
    Ok(Some((original, Scaling::Factors { factors, attention })))
}

/// Views of all tensors, with their shapes checked.
pub fn weights<'a>(tensors: &'a Tensors, a: &Architecture) -> Result<Weights<'a>> {
    backbone::weights(tensors, a, &Names::PLAIN, |at, moe| mixtral::ffn(tensors, at, moe, a.hidden))
}
