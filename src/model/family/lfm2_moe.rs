//! LFM2-MoE: `Lfm2MoeForCausalLM` of Hugging Face transformers. Most layers are short convolutions, the others
//! attention whose queries and keys are normed head by head; the first layers are dense.

use super::backbone::{self, Defaults, Names, sizes};
use super::qwen;
use crate::error::Result;
use crate::model::keys::{Keys, wrong};
use crate::model::tensors::Tensors;
use crate::model::weights::{FfnWeights, Weights};
use crate::shape::{Architecture, ConvolutionShape, Gate, HeadNorm, Mixer, MoeShape};
use serde_json::Value;

/// The defaults of transformers' `Lfm2MoeConfig`.
const DEFAULTS: Defaults = Defaults {
    context: 128_000,
    norm_eps: 1e-5,
    eps_key: "norm_eps",
    rope_theta: 1e6,
    kv_heads: Some(8),
    tied: true,
    ..Defaults::PLAIN
};

const NAMES: Names = Names {
    mixer_norm: "operator_norm",
    ffn_norm: "ffn_norm",
    output: "self_attn.out_proj",
    head_norms: ["self_attn.q_layernorm", "self_attn.k_layernorm"],
    last_norm: "model.embedding_norm",
    ..Names::PLAIN
};

/// The family's own keys.
const KNOWN: [&str; 12] = [
    "num_experts",
    "num_experts_per_tok",
    "moe_intermediate_size",
    "norm_topk_prob",
    "num_dense_layers",
    "use_expert_bias",
    "routed_scaling_factor",
    "conv_L_cache",
    "conv_bias",
    "layer_types",
    "tie_embedding",
    "block_auto_adjust_ff_dim",
];

/// The architecture of a config.
pub fn architecture(config: &Value) -> Result<Architecture> {
    let keys = Keys::of(config)?;
    let bias = !keys.has("use_expert_bias") || keys.flag("use_expert_bias")?;
    let renormalise = !keys.has("norm_topk_prob") || keys.flag("norm_topk_prob")?;
    let scale = keys.number("routed_scaling_factor", 0.0..=1e6)?.unwrap_or(1.0);
    let gate = Some(Gate { renormalise, epsilon: 1e-6, ..Gate::sigmoid_bias(scale) });
    let moe = backbone::experts(&keys, ["num_experts", "num_experts_per_tok", "moe_intermediate_size"])?;
    let moe = MoeShape { gate, bias, ..moe };
    let (dense, inner) = (keys.size("num_dense_layers", 0..=usize::MAX)?.unwrap_or(2), backbone::intermediate(&keys)?);
    let of_layer = |n| if n < dense { MoeShape::dense(inner) } else { moe.clone() };
    let mut a = backbone::architecture(&keys, &DEFAULTS, of_layer, &KNOWN)?;
    if keys.has("tie_embedding") {
        a.tied = keys.flag("tie_embedding")?;
    }
    let missing = || wrong("layer_types is missing; it says which layers are convolutions".into());
    let types = qwen::layer_types(&keys, a.layers.len())?.ok_or_else(missing)?;
    let positions = keys.size("conv_L_cache", sizes::HEAD_DIM)?.unwrap_or(3);
    let convolution = ConvolutionShape { positions, bias: keys.flag("conv_bias")? };
    for (layer, kind) in a.layers.iter_mut().zip(&types) {
        match (kind.as_str(), layer.attention_mut()) {
            ("conv", _) => layer.mixer = Mixer::Convolution(convolution.clone()),
            ("full_attention", Some(attention)) => attention.norm = Some(HeadNorm::Head),
            _ => return Err(wrong(format!("layer_types has \"{kind}\"; only conv and full_attention are known"))),
        }
    }
    a.checked()
}

/// Views of all tensors, with their shapes checked.
pub fn weights<'a>(tensors: &'a Tensors, a: &Architecture) -> Result<Weights<'a>> {
    backbone::weights(tensors, a, &NAMES, |at, moe| {
        let at = format!("{at}.feed_forward");
        let names = ["w1", "w2", "w3"];
        if moe.gate.is_none() {
            return Ok(FfnWeights::dense(backbone::expert(tensors, &at, names, moe.intermediate, a.hidden)?));
        }
        let mut ffn = backbone::routed(tensors, &at, names, moe, a.hidden)?;
        if moe.bias {
            ffn.bias = Some(tensors.vector(&format!("{at}.expert_bias"), moe.experts)?);
        }
        Ok(ffn)
    })
}
