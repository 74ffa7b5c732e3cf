//! ERNIE 4.5 MoE: `Ernie4_5_MoeForCausalLM` of Hugging Face transformers: rotated pairs are neighbouring dimensions;
//! the gate is a softmax with a bias for the choice; there are shared experts.

use super::backbone::{self, Defaults, Names, sizes};
use crate::error::Result;
use crate::model::keys::Keys;
use crate::model::tensors::Tensors;
use crate::model::weights::Weights;
use crate::shape::{Architecture, Gate, GateKind, MoeShape, SharedShape};
use serde_json::Value;

/// The defaults of transformers' `Ernie4_5_MoeConfig`.
const DEFAULTS: Defaults =
    Defaults { context: 131_072, norm_eps: 1e-5, rope_theta: 5e5, kv_heads: Some(4), tied: true, ..Defaults::PLAIN };

/// The family's own keys.
const KNOWN: [&str; 17] = [
    "use_bias",
    "moe_intermediate_size",
    "moe_k",
    "num_experts_per_tok",
    "moe_num_experts",
    "num_experts",
    "moe_num_shared_experts",
    "moe_layer_start_index",
    "moe_layer_end_index",
    "moe_layer_interval",
    "moe_norm_min",
    "moe_capacity",
    "moe_use_aux_free",
    "moe_gate",
    "moe_group",
    "fuse_rope",
    "num_nextn_predict_layers",
];

/// The architecture of a config.
pub fn architecture(config: &Value) -> Result<Architecture> {
    let keys = Keys::of(config)?;
    let used = if keys.has("moe_k") { "moe_k" } else { "num_experts_per_tok" };
    let all = if keys.has("moe_num_experts") { "moe_num_experts" } else { "num_experts" };
    let shape = backbone::experts(&keys, [all, used, "moe_intermediate_size"])?;
    let count = keys.size("moe_num_shared_experts", sizes::EXPERTS)?.unwrap_or(2);
    let shared = SharedShape { intermediate: count * shape.intermediate, gated: false, count };
    let least_sum = keys.number("moe_norm_min", 1e-30..=1.0)?.unwrap_or(1e-12);
    let gate = Some(Gate { least_sum, ..Gate::new(GateKind::SoftmaxBias) });
    let moe = MoeShape { gate, bias: true, shared_ffn: (count > 0).then_some(shared), ..shape };
    let number = |key| keys.get(key).and_then(Value::as_i64);
    let (first, last) = (number("moe_layer_start_index").unwrap_or(1), number("moe_layer_end_index").unwrap_or(-1));
    let last = if last < 0 { i64::MAX } else { last };
    let every = keys.size("moe_layer_interval", 1..=usize::MAX)?.unwrap_or(1);
    let inner = backbone::intermediate(&keys)?;
    let of_layer = |n: usize| {
        let has_experts = (n + 1).is_multiple_of(every) && (first..=last).contains(&(n as i64));
        if has_experts { moe.clone() } else { MoeShape::dense(inner) }
    };
    if keys.flag("use_bias")? {
        return Err(crate::model::keys::wrong("use_bias is true; only projections without a bias are known".into()));
    }
    let mut a = backbone::architecture(&keys, &DEFAULTS, of_layer, &KNOWN)?;
    backbone::each_attention(&mut a, |_, attention| {
        attention.rope.iter_mut().for_each(|rope| rope.interleaved = true);
    });
    a.checked()
}

/// Views of all tensors, with their shapes checked.
pub fn weights<'a>(tensors: &'a Tensors, a: &Architecture) -> Result<Weights<'a>> {
    backbone::weights(tensors, a, &Names::PLAIN, |at, moe| {
        let at = format!("{at}.mlp");
        let mut ffn = backbone::ffn(tensors, &at, "shared_experts", moe, a.hidden)?;
        if moe.bias {
            let names = ["moe_statics", "gate.moe_statics"].map(|name| format!("{at}.{name}.e_score_correction_bias"));
            let name = names.iter().find(|name| tensors.has(name)).unwrap_or(&names[0]);
            ffn.bias = Some(tensors.reshaped(name, &[1, moe.experts], moe.experts)?);
        }
        Ok(ffn)
    })
}
