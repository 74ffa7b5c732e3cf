//! The architectures of GGUF files that open: how each one's tensors are called, and what of its metadata becomes a
//! config. They are listed here and nowhere else.

use super::header::Header;
use super::keys::Keys;
use crate::error::{Error, Result};
use serde_json::{Map, Value, json};

/// One architecture.
pub struct Architecture {
    /// Its name in `general.architecture`.
    pub name: &'static str,
    /// Adds to a config what is this architecture's own.
    pub config: fn(&Keys, &mut Map<String, Value>) -> Result<()>,
    /// Tensors of a layer: lists of the file's name and Hugging Face's, without the endings `.weight` and `.bias`. For
    /// `{e}` comes the number of an expert, whose matrices the file has in one tensor.
    pub layer: &'static [&'static [(&'static str, &'static str)]],
    /// The same for tensors that belong to no layer.
    pub whole: &'static [(&'static str, &'static str)],
    /// Whether each layer has its own number of heads of keys, 0 for a layer without attention.
    pub heads_by_layer: bool,
    /// Tensors of a layer that may have a bias.
    pub biases: &'static [&'static str],
    /// Whether the rows of each head of queries and keys lie as llama.cpp turns them: the two that turn together are
    /// neighbours.
    pub neighbours: bool,
}

/// Tensors that belong to no layer: the file's name and Hugging Face's.
pub const WHOLE: [(&str, &str); 3] =
    [("token_embd", "model.embed_tokens"), ("output_norm", "model.norm"), ("output", "lm_head")];

/// An architecture without biases, whose rows of queries and keys are in order.
const PLAIN: Architecture = Architecture {
    name: "",
    config: llama,
    layer: &[],
    whole: &WHOLE,
    heads_by_layer: false,
    biases: &[],
    neighbours: false,
};

/// Biases of queries, keys and values.
const QKV: [&str; 3] = ["attn_q", "attn_k", "attn_v"];

/// All of them.
static ARCHITECTURES: [Architecture; 18] = [
    Architecture {
        name: "llama",
        layer: &[&LLAMA],
        biases: &["attn_q", "attn_k", "attn_v", "attn_output"],
        neighbours: true,
        ..PLAIN
    },
    Architecture { name: "qwen2", config: qwen2, layer: &[&ATTENTION, &DENSE], biases: &QKV, ..PLAIN },
    Architecture {
        name: "qwen2moe",
        config: qwen2moe,
        layer: &[&ATTENTION, &DENSE, &EXPERTS, &QWEN2_SHARED],
        biases: &QKV,
        ..PLAIN
    },
    Architecture { name: "qwen3", config: qwen3, layer: &[&ATTENTION, &HEAD_NORMS, &DENSE], ..PLAIN },
    Architecture { name: "qwen3moe", config: qwen3moe, layer: &[&ATTENTION, &HEAD_NORMS, &DENSE, &EXPERTS], ..PLAIN },
    Architecture { name: "olmoe", config: olmoe, layer: &[&ATTENTION, &HEAD_NORMS, &EXPERTS], ..PLAIN },
    // Its converter is Llama's, which turns the rows of queries and keys.
    Architecture { name: "granitemoe", config: granitemoe, layer: &[&ATTENTION, &GRANITE], neighbours: true, ..PLAIN },
    Architecture { name: "gpt-oss", config: gpt_oss, layer: &[&GPT_OSS], biases: &GPT_OSS_BIASES, ..PLAIN },
    Architecture {
        name: "lfm2moe",
        config: lfm2moe,
        layer: &[&LFM2],
        whole: &[("token_embd", "model.embed_tokens"), ("token_embd_norm", "model.embedding_norm")],
        heads_by_layer: true,
        biases: &["exp_probs_b"],
        ..PLAIN
    },
    Architecture {
        name: "deepseek2",
        config: deepseek2,
        layer: &[&LATENT, &DENSE, &EXPERTS, &SHARED, &SIGMOID_BIAS],
        biases: &["exp_probs_b"],
        ..PLAIN
    },
    Architecture {
        name: "dots1",
        config: dots1,
        layer: &[&ATTENTION, &HEAD_NORMS, &DENSE, &EXPERTS, &SHARED, &SIGMOID_BIAS],
        biases: &["exp_probs_b"],
        ..PLAIN
    },
    Architecture {
        name: "glm4moe",
        config: glm4moe,
        layer: &[
            &ATTENTION,
            &[("post_attention_norm", "post_attention_layernorm")],
            &HEAD_NORMS,
            &DENSE,
            &EXPERTS,
            &SHARED,
            &SIGMOID_BIAS,
        ],
        biases: &["attn_q", "attn_k", "attn_v", "exp_probs_b"],
        ..PLAIN
    },
    Architecture {
        name: "minimax-m2",
        config: minimax_m2,
        layer: &[&LLAMA, &HEAD_NORMS, &[("exp_probs_b", "block_sparse_moe.e_score_correction_bias")]],
        biases: &["exp_probs_b"],
        ..PLAIN
    },
    Architecture {
        name: "ernie4_5-moe",
        config: ernie4_5_moe,
        layer: &[&ATTENTION, &DENSE, &EXPERTS, &SHARED, &[("exp_probs_b", ERNIE_BIAS)]],
        biases: &["exp_probs_b"],
        ..PLAIN
    },
    Architecture { name: "hunyuan-moe", config: hunyuan_moe, layer: &[&HUNYUAN, &ATTENTION, &EXPERTS], ..PLAIN },
    Architecture {
        name: "phimoe",
        config: phimoe,
        layer: &[&LLAMA],
        biases: &["attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "output_norm", "output"],
        ..PLAIN
    },
    Architecture { name: "smollm3", config: smollm3, layer: &[&ATTENTION, &DENSE], neighbours: true, ..PLAIN },
    Architecture {
        name: "granitehybrid",
        config: granitehybrid,
        layer: &[&ATTENTION, &GRANITE, &GRANITE_HYBRID],
        heads_by_layer: true,
        biases: &["ssm_conv1d", "ssm_dt"],
        neighbours: true,
        ..PLAIN
    },
];

/// Tensors of a layer of Llama and Mixtral; see [`Architecture`].
pub const LLAMA: [(&str, &str); 13] = [
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
    ("ffn_gate_inp", "block_sparse_moe.gate"),
    ("ffn_gate_exps", "block_sparse_moe.experts.{e}.w1"),
    ("ffn_up_exps", "block_sparse_moe.experts.{e}.w3"),
    ("ffn_down_exps", "block_sparse_moe.experts.{e}.w2"),
];

/// Attention and norms.
const ATTENTION: [(&str, &str); 6] = [
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_norm", "post_attention_layernorm"),
];

/// Norms of queries and keys.
const HEAD_NORMS: [(&str, &str); 2] = [("attn_q_norm", "self_attn.q_norm"), ("attn_k_norm", "self_attn.k_norm")];

/// A dense FFN.
const DENSE: [(&str, &str); 3] =
    [("ffn_gate", "mlp.gate_proj"), ("ffn_up", "mlp.up_proj"), ("ffn_down", "mlp.down_proj")];

/// Router and experts in most families.
const EXPERTS: [(&str, &str); 4] = [
    ("ffn_gate_inp", "mlp.gate"),
    ("ffn_gate_exps", "mlp.experts.{e}.gate_proj"),
    ("ffn_up_exps", "mlp.experts.{e}.up_proj"),
    ("ffn_down_exps", "mlp.experts.{e}.down_proj"),
];

/// The shared expert of Qwen2-MoE, and its gate.
const QWEN2_SHARED: [(&str, &str); 4] = [
    (SHARED_GATE, "mlp.shared_expert_gate"),
    ("ffn_gate_shexp", "mlp.shared_expert.gate_proj"),
    ("ffn_up_shexp", "mlp.shared_expert.up_proj"),
    ("ffn_down_shexp", "mlp.shared_expert.down_proj"),
];

/// A matrix of one row, which the file has as a vector.
pub const SHARED_GATE: &str = "ffn_gate_inp_shexp";

/// Router, experts and shared expert of Granite.
const GRANITE: [(&str, &str); 7] = [
    ("ffn_gate_inp", "block_sparse_moe.router"),
    ("ffn_gate_exps", "block_sparse_moe.experts.{e}.gate_proj"),
    ("ffn_up_exps", "block_sparse_moe.experts.{e}.up_proj"),
    ("ffn_down_exps", "block_sparse_moe.experts.{e}.down_proj"),
    ("ffn_gate_shexp", "shared_mlp.gate_proj"),
    ("ffn_up_shexp", "shared_mlp.up_proj"),
    ("ffn_down_shexp", "shared_mlp.down_proj"),
];

/// Shared experts as one, in families that follow DeepSeek.
const SHARED: [(&str, &str); 3] = [
    ("ffn_gate_shexp", "mlp.shared_experts.gate_proj"),
    ("ffn_up_shexp", "mlp.shared_experts.up_proj"),
    ("ffn_down_shexp", "mlp.shared_experts.down_proj"),
];

/// The bias for the choice, in families that follow DeepSeek-V3.
const SIGMOID_BIAS: [(&str, &str); 1] = [("exp_probs_b", "mlp.gate.e_score_correction_bias")];

/// The same of ERNIE, `[1, E]`.
pub const ERNIE_BIAS: &str = "mlp.moe_statics.e_score_correction_bias";

/// Latent attention. Newer files have the product of keys and values as two tensors, that of keys transposed.
const LATENT: [(&str, &str); 12] = [
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_q_a", "self_attn.q_a_proj"),
    ("attn_q_a_norm", "self_attn.q_a_layernorm"),
    ("attn_q_b", "self_attn.q_b_proj"),
    ("attn_kv_a_mqa", "self_attn.kv_a_proj_with_mqa"),
    ("attn_kv_a_norm", "self_attn.kv_a_layernorm"),
    ("attn_kv_b", "self_attn.kv_b_proj"),
    ("attn_k_b", "self_attn.k_b_proj"),
    ("attn_v_b", "self_attn.v_b_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_norm", "post_attention_layernorm"),
];

/// What Hunyuan calls differently.
const HUNYUAN: [(&str, &str); 6] = [
    ("attn_q_norm", "self_attn.query_layernorm"),
    ("attn_k_norm", "self_attn.key_layernorm"),
    ("ffn_gate_inp", "mlp.gate.wg"),
    ("ffn_gate_shexp", "mlp.shared_mlp.gate_proj"),
    ("ffn_up_shexp", "mlp.shared_mlp.up_proj"),
    ("ffn_down_shexp", "mlp.shared_mlp.down_proj"),
];

/// State-space mixers of Granite, and the FFN of models without experts.
const GRANITE_HYBRID: [(&str, &str); 10] = [
    ("ssm_in", "mamba.in_proj"),
    (SSM_KERNEL, "mamba.conv1d"),
    ("ssm_dt", "mamba.dt_bias"),
    ("ssm_a", "mamba.A"),
    ("ssm_d", "mamba.D"),
    ("ssm_norm", "mamba.norm"),
    ("ssm_out", "mamba.out_proj"),
    ("ffn_gate", "shared_mlp.gate_proj"),
    ("ffn_up", "shared_mlp.up_proj"),
    ("ffn_down", "shared_mlp.down_proj"),
];

/// The kernel of a state-space mixer's convolution; as [`KERNEL`].
pub const SSM_KERNEL: &str = "ssm_conv1d";

/// Tensors of a layer whose names have no ending.
pub const WITHOUT_ENDING: [&str; 2] = ["ssm_a", "ssm_d"];

/// Vectors that the file has as matrices of one row or column.
pub const VECTORS: [&str; 3] = ["ssm_a", "ssm_d", "ssm_norm"];

/// Tensors of a layer of gpt-oss.
const GPT_OSS: [(&str, &str); 11] = [
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_sinks", "self_attn.sinks"),
    ("post_attention_norm", "post_attention_layernorm"),
    ("ffn_gate_inp", "mlp.router"),
    ("ffn_gate_exps", "mlp.experts.{e}.gate_proj"),
    ("ffn_up_exps", "mlp.experts.{e}.up_proj"),
    ("ffn_down_exps", "mlp.experts.{e}.down_proj"),
];

/// Those that have a bias.
const GPT_OSS_BIASES: [&str; 8] =
    ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate_inp", "ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"];

/// Tensors of a layer of LFM2-MoE.
const LFM2: [(&str, &str); 19] = [
    ("attn_norm", "operator_norm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.out_proj"),
    ("attn_q_norm", "self_attn.q_layernorm"),
    ("attn_k_norm", "self_attn.k_layernorm"),
    (KERNEL, "conv.conv"),
    ("shortconv.in_proj", "conv.in_proj"),
    ("shortconv.out_proj", "conv.out_proj"),
    ("ffn_norm", "ffn_norm"),
    ("ffn_gate", "feed_forward.w1"),
    ("ffn_down", "feed_forward.w2"),
    ("ffn_up", "feed_forward.w3"),
    ("ffn_gate_inp", "feed_forward.gate"),
    ("ffn_gate_exps", "feed_forward.experts.{e}.w1"),
    ("ffn_down_exps", "feed_forward.experts.{e}.w2"),
    ("ffn_up_exps", "feed_forward.experts.{e}.w3"),
    ("exp_probs_b", "feed_forward.expert_bias"),
];

/// A convolution's kernel, which has one more size in Hugging Face's files: `[D, 1, positions]`.
pub const KERNEL: &str = "shortconv.conv";

/// Hugging Face's names that have no ending.
pub const BARE: [&str; 8] = [
    "self_attn.sinks",
    "feed_forward.expert_bias",
    "mlp.gate.e_score_correction_bias",
    "block_sparse_moe.e_score_correction_bias",
    ERNIE_BIAS,
    "mamba.dt_bias",
    "mamba.A",
    "mamba.D",
];

/// The architecture that a file names.
///
/// # Errors
/// It names none, or one that is not known.
pub fn architecture(file: &str, header: &Header) -> Result<&'static Architecture> {
    let name = header.metadata.text("general.architecture");
    let name = name.as_deref().unwrap_or("(none)");
    ARCHITECTURES.iter().find(|architecture| architecture.name == name).ok_or_else(|| {
        let known = ARCHITECTURES.iter().map(|architecture| architecture.name).collect::<Vec<_>>().join(", ");
        let why = format!("its architecture is \"{name}\", which is not known as GGUF; known are: {known}");
        Error::model(file, why)
    })
}

type Config = Map<String, Value>;

fn put(config: &mut Config, key: &str, value: impl Into<Value>) {
    config.insert(key.into(), value.into());
}

/// Llama, and Mixtral where there are experts.
fn llama(keys: &Keys, config: &mut Config) -> Result<()> {
    let experts = keys.size("expert_count")?.unwrap_or(0);
    let used = keys.size("expert_used_count")?;
    let is_mixtral = experts > 0;
    put(config, "model_type", if is_mixtral { "mixtral" } else { "llama" });
    if is_mixtral {
        put(config, "num_local_experts", experts);
        put(config, "num_experts_per_tok", json!(used));
        renormalised(keys)?;
    }
    put(config, "attention_bias", keys.has("blk.0.attn_q.bias"));
    Ok(())
}

fn qwen2(_: &Keys, config: &mut Config) -> Result<()> {
    put(config, "model_type", "qwen2");
    Ok(())
}

fn qwen3(_: &Keys, config: &mut Config) -> Result<()> {
    put(config, "model_type", "qwen3");
    Ok(())
}

fn qwen2moe(keys: &Keys, config: &mut Config) -> Result<()> {
    put(config, "model_type", "qwen2_moe");
    qwen_experts(keys, config, false)?;
    let shared = keys.size("expert_shared_feed_forward_length")?.or(keys.size("feed_forward_length")?);
    put(config, "shared_expert_intermediate_size", json!(shared));
    Ok(())
}

fn qwen3moe(keys: &Keys, config: &mut Config) -> Result<()> {
    put(config, "model_type", "qwen3_moe");
    qwen_experts(keys, config, true)
}

/// The experts of a Qwen, whose width is not that of a dense layer.
fn qwen_experts(keys: &Keys, config: &mut Config, norm: bool) -> Result<()> {
    let used = experts(keys, config, norm)?;
    let dense = keys.size("feed_forward_length")?;
    // llama.cpp has the same default.
    let width = keys.size("expert_feed_forward_length")?.or(dense.and_then(|dense| dense.checked_div(used)));
    put(config, "moe_intermediate_size", json!(width));
    if dense.is_none() {
        put(config, "intermediate_size", json!(width));
    }
    let layer = |name: &str| name.strip_prefix("blk.")?.strip_suffix(".ffn_gate.weight")?.parse::<u32>().ok();
    let dense = keys.header.tensors.iter().filter_map(|tensor| layer(&tensor.name));
    put(config, "mlp_only_layers", dense.collect::<Vec<_>>());
    Ok(())
}

fn olmoe(keys: &Keys, config: &mut Config) -> Result<()> {
    put(config, "model_type", "olmoe");
    experts(keys, config, false)?;
    own_width(keys, config)
}

/// The number of experts, and the gate: a softmax of all scores. `norm` says whether the chosen ones are divided by
/// their sum, where the file does not. Returns how many experts a token uses.
fn experts(keys: &Keys, config: &mut Config, norm: bool) -> Result<usize> {
    let used = keys.needed("expert_used_count")?;
    put(config, "num_experts", keys.needed("expert_count")?);
    put(config, "num_experts_per_tok", used);
    softmax(keys)?;
    put(config, "norm_topk_prob", keys.flag("expert_weights_norm")?.unwrap_or(norm));
    Ok(used)
}

/// The width of experts in architectures that have no dense layers.
fn own_width(keys: &Keys, config: &mut Config) -> Result<()> {
    if let Some(width) = keys.size("expert_feed_forward_length")? {
        put(config, "intermediate_size", width);
    }
    Ok(())
}

fn granitemoe(keys: &Keys, config: &mut Config) -> Result<()> {
    let shared = keys.size("expert_shared_feed_forward_length")?.unwrap_or(0);
    put(config, "model_type", if shared > 0 { "granitemoeshared" } else { "granitemoe" });
    if shared > 0 {
        put(config, "shared_intermediate_size", shared);
    }
    put(config, "num_local_experts", keys.needed("expert_count")?);
    put(config, "num_experts_per_tok", keys.needed("expert_used_count")?);
    renormalised(keys)?;
    own_width(keys, config)?;
    granite(keys, config)?;
    // In this architecture llama.cpp reads the key as whether there are rotary positions.
    if keys.flag("rope.scaling.finetuned")? == Some(false) {
        return Err(
            keys.wrong("the model has no rotary positions (rope.scaling.finetuned is false), which is not known")
        );
    }
    Ok(())
}

/// Granite's multipliers.
fn granite(keys: &Keys, config: &mut Config) -> Result<()> {
    for (ours, theirs) in [
        ("embedding_scale", "embedding_multiplier"),
        ("residual_scale", "residual_multiplier"),
        ("attention.scale", "attention_multiplier"),
        ("logit_scale", "logits_scaling"),
    ] {
        let missing = || keys.wrong(format!("{} is missing; convert the model again", keys.full(ours)));
        put(config, theirs, keys.number(ours)?.ok_or_else(missing)?);
    }
    Ok(())
}

fn gpt_oss(keys: &Keys, config: &mut Config) -> Result<()> {
    put(config, "model_type", "gpt_oss");
    put(config, "num_local_experts", keys.needed("expert_count")?);
    put(config, "num_experts_per_tok", keys.needed("expert_used_count")?);
    put(config, "sliding_window", keys.needed("attention.sliding_window")?);
    renormalised(keys)?;
    own_width(keys, config)?;
    // Published models do not round the positions between which the scaling changes; the file has no key for it.
    if let Some(Value::Object(scaling)) = config.get_mut("rope_scaling") {
        put(scaling, "truncate", false);
    }
    Ok(())
}

fn lfm2moe(keys: &Keys, config: &mut Config) -> Result<()> {
    put(config, "model_type", "lfm2_moe");
    put(config, "num_experts", keys.needed("expert_count")?);
    put(config, "num_experts_per_tok", keys.needed("expert_used_count")?);
    put(config, "moe_intermediate_size", keys.needed("expert_feed_forward_length")?);
    put(config, "num_dense_layers", keys.size("leading_dense_block_count")?.unwrap_or(0));
    put(config, "conv_L_cache", keys.needed("shortconv.l_cache")?);
    put(config, "use_expert_bias", true);
    put(config, "norm_topk_prob", keys.flag("expert_weights_norm")?.unwrap_or(true));
    put(config, "routed_scaling_factor", keys.number("expert_weights_scale")?.unwrap_or(1.0));
    put(config, "norm_eps", config.get("rms_norm_eps").cloned().unwrap_or_default());
    let heads = keys.sizes("attention.head_count_kv")?.unwrap_or_default();
    let kind = |heads: &usize| if *heads > 0 { "full_attention" } else { "conv" };
    put(config, "layer_types", heads.iter().map(kind).collect::<Vec<_>>());
    sigmoid(keys)
}

/// `expert_gating_func` of a sigmoid.
const SIGMOID: usize = 2;

/// Returns an error for a gate that is not a sigmoid.
fn sigmoid(keys: &Keys) -> Result<()> {
    match keys.needed("expert_gating_func")? {
        SIGMOID => Ok(()),
        gate => {
            let why = format!("is {gate}; only 2 (sigmoid) is known in this architecture");
            Err(keys.wrong(format!("{} {why}", keys.full("expert_gating_func"))))
        }
    }
}

/// The keys of experts in families that follow DeepSeek, but for the gate.
fn deepseek_experts(keys: &Keys, config: &mut Config) -> Result<()> {
    put(config, "n_routed_experts", keys.needed("expert_count")?);
    put(config, "num_experts_per_tok", keys.needed("expert_used_count")?);
    put(config, "moe_intermediate_size", keys.needed("expert_feed_forward_length")?);
    put(config, "n_shared_experts", keys.size("expert_shared_count")?.unwrap_or(0));
    put(config, "first_k_dense_replace", keys.size("leading_dense_block_count")?.unwrap_or(0));
    // llama.cpp scales by 0 as little as without the key.
    let scale = keys.number("expert_weights_scale")?.filter(|scale| *scale != 0.0);
    put(config, "routed_scaling_factor", scale.unwrap_or(1.0));
    put(config, "n_group", keys.size("expert_group_count")?.unwrap_or(1).max(1));
    put(config, "topk_group", keys.size("expert_group_used_count")?.unwrap_or(1).max(1));
    Ok(())
}

/// The same with a gate of sigmoids.
fn sigmoid_experts(keys: &Keys, config: &mut Config, norm: bool) -> Result<()> {
    deepseek_experts(keys, config)?;
    put(config, "norm_topk_prob", keys.flag("expert_weights_norm")?.unwrap_or(norm));
    sigmoid(keys)
}

fn deepseek2(keys: &Keys, config: &mut Config) -> Result<()> {
    let is_sigmoid = keys.size("expert_gating_func")? == Some(SIGMOID);
    put(config, "model_type", if is_sigmoid { "deepseek_v3" } else { "deepseek_v2" });
    if is_sigmoid {
        sigmoid_experts(keys, config, false)?;
    } else {
        deepseek_experts(keys, config)?;
        softmax_of(keys, false)?;
        if keys.flag("expert_weights_norm")? == Some(true) {
            let key = keys.full("expert_weights_norm");
            return Err(keys.wrong(format!("{key} is true beside a softmax, which is not known in this architecture")));
        }
        let groups = config.get("n_group").and_then(Value::as_u64).unwrap_or(1);
        put(config, "topk_method", if groups > 1 { "group_limited_greedy" } else { "greedy" });
    }
    let head = config.remove("head_dim").and_then(|head| head.as_u64()).unwrap_or(0);
    let shared = keys.needed("rope.dimension_count")?;
    put(config, "kv_lora_rank", keys.needed("attention.kv_lora_rank")?);
    put(config, "q_lora_rank", json!(keys.size("attention.q_lora_rank")?.filter(|rank| *rank > 0)));
    put(config, "qk_rope_head_dim", shared);
    put(config, "qk_nope_head_dim", head.saturating_sub(shared as u64));
    let values = keys.size("attention.value_length_mla")?;
    let other = keys.size("attention.value_length")?;
    put(config, "v_head_dim", json!(values.or(other)));
    if let (Some(Value::Object(scaling)), Some(log)) =
        (config.get_mut("rope_scaling"), keys.number("rope.scaling.yarn_log_multiplier")?)
    {
        // The factors of rotation and of scores, which have the same in all published models.
        put(scaling, "mscale", 10.0 * log);
        put(scaling, "mscale_all_dim", 10.0 * log);
    }
    Ok(())
}

fn dots1(keys: &Keys, config: &mut Config) -> Result<()> {
    put(config, "model_type", "dots1");
    sigmoid_experts(keys, config, false)
}

fn glm4moe(keys: &Keys, config: &mut Config) -> Result<()> {
    put(config, "model_type", "glm4_moe");
    put(config, "num_hidden_layers", keys.layers()?);
    put(config, "use_qk_norm", keys.has("blk.0.attn_q_norm.weight"));
    put(config, "attention_bias", keys.has("blk.0.attn_q.bias"));
    sigmoid_experts(keys, config, true)
}

fn minimax_m2(keys: &Keys, config: &mut Config) -> Result<()> {
    put(config, "model_type", "minimax_m2");
    put(config, "num_local_experts", keys.needed("expert_count")?);
    put(config, "num_experts_per_tok", keys.needed("expert_used_count")?);
    own_width(keys, config)?;
    unscaled(keys)?;
    normed(keys)?;
    sigmoid(keys)
}

fn ernie4_5_moe(keys: &Keys, config: &mut Config) -> Result<()> {
    put(config, "model_type", "ernie4_5_moe");
    put(config, "moe_num_experts", keys.needed("expert_count")?);
    put(config, "moe_k", keys.needed("expert_used_count")?);
    put(config, "moe_intermediate_size", keys.needed("expert_feed_forward_length")?);
    put(config, "moe_num_shared_experts", keys.size("expert_shared_count")?.unwrap_or(0));
    // The tensors have this width; they are checked.
    keys.size("expert_shared_feed_forward_length")?;
    put(config, "moe_layer_start_index", keys.size("leading_dense_block_count")?.unwrap_or(0));
    put(config, "moe_layer_interval", keys.size("interleave_moe_layer_step")?.unwrap_or(1));
    renormalised(keys)
}

fn hunyuan_moe(keys: &Keys, config: &mut Config) -> Result<()> {
    put(config, "model_type", "hunyuan_v1_moe");
    put(config, "num_experts", keys.needed("expert_count")?);
    put(config, "moe_topk", keys.needed("expert_used_count")?);
    put(config, "num_shared_expert", keys.size("expert_shared_count")?.unwrap_or(1));
    own_width(keys, config)?;
    // The tensors have this width; they are checked.
    keys.size("expert_shared_feed_forward_length")?;
    renormalised(keys)
}

fn phimoe(keys: &Keys, config: &mut Config) -> Result<()> {
    put(config, "model_type", "phimoe");
    put(config, "num_local_experts", keys.needed("expert_count")?);
    put(config, "num_experts_per_tok", keys.needed("expert_used_count")?);
    put(config, "sliding_window", json!(keys.size("attention.sliding_window")?));
    put(config, "attention_bias", keys.has("blk.0.attn_q.bias"));
    put(config, "lm_head_bias", keys.has("output.bias"));
    let factor = keys.number("rope.scaling.attn_factor")?;
    if let Some(Value::Object(scaling)) = config.get_mut("rope_scaling") {
        put(scaling, "rope_type", "longrope");
        if let Some(factors) = scaling.remove("factors") {
            put(scaling, "short_factor", factors);
        }
        put(scaling, "short_mscale", factor.unwrap_or(1.0));
        let original = keys.size("rope.scaling.original_context_length")?;
        put(config, "original_max_position_embeddings", json!(original));
    }
    unscaled(keys)
}

fn smollm3(_: &Keys, config: &mut Config) -> Result<()> {
    put(config, "model_type", "smollm3");
    Ok(())
}

fn granitehybrid(keys: &Keys, config: &mut Config) -> Result<()> {
    granite(keys, config)?;
    put(config, "model_type", "granitemoehybrid");
    let experts = keys.size("expert_count")?.unwrap_or(0);
    put(config, "num_local_experts", experts);
    let dense = config.get("intermediate_size").cloned();
    own_width(keys, config)?;
    let shared = keys.size("expert_shared_feed_forward_length")?.filter(|_| experts > 0).map(Value::from);
    put(config, "shared_intermediate_size", json!(shared.or(dense)));
    if experts > 0 {
        put(config, "num_experts_per_tok", keys.needed("expert_used_count")?);
        renormalised(keys)?;
    } else {
        keys.size("expert_used_count")?;
    }
    let turns = keys.flag("rope.scaling.finetuned")?.unwrap_or(true);
    put(config, "position_embedding_type", if turns { "rope" } else { "nope" });
    let heads = keys.sizes("attention.head_count_kv")?.unwrap_or_default();
    let kind = |heads: &usize| if *heads > 0 { "attention" } else { "mamba" };
    put(config, "layer_types", heads.iter().map(kind).collect::<Vec<_>>());
    let (inner, heads) = (keys.needed("ssm.inner_size")?, keys.needed("ssm.time_step_rank")?);
    put(config, "mamba_n_heads", heads);
    put(config, "mamba_d_head", inner.checked_div(heads).unwrap_or(0));
    put(config, "mamba_expand", inner.checked_div(keys.needed("embedding_length")?).unwrap_or(0));
    put(config, "mamba_d_state", keys.needed("ssm.state_size")?);
    put(config, "mamba_d_conv", keys.needed("ssm.conv_kernel")?);
    put(config, "mamba_n_groups", keys.size("ssm.group_count")?.unwrap_or(1));
    let has = |end: &str| keys.header.tensors.iter().any(|tensor| tensor.name.ends_with(end));
    put(config, "mamba_conv_bias", has(".ssm_conv1d.bias"));
    Ok(())
}

/// Returns an error for a gate that is not a softmax of the chosen scores.
fn renormalised(keys: &Keys) -> Result<()> {
    softmax(keys)?;
    normed(keys)
}

/// Returns an error for weights that do not sum to 1.
fn normed(keys: &Keys) -> Result<()> {
    match keys.flag("expert_weights_norm")? {
        Some(false) => {
            let why = "is false; only weights of experts that sum to 1 are known in this architecture";
            Err(keys.wrong(format!("{} {why}", keys.full("expert_weights_norm"))))
        }
        _ => Ok(()),
    }
}

/// Returns an error for a gate that is not a softmax, or that scales the weights.
fn softmax(keys: &Keys) -> Result<()> {
    softmax_of(keys, true)
}

/// Returns an error for a gate that is not a softmax, and for one that is scaled where it must not be.
fn softmax_of(keys: &Keys, must_be_unscaled: bool) -> Result<()> {
    /// `expert_gating_func` of a softmax; 0 means that it is not set.
    const SOFTMAX: [usize; 2] = [0, 1];
    if let Some(gate) = keys.size("expert_gating_func")?.filter(|gate| !SOFTMAX.contains(gate)) {
        let why = format!("is {gate}; only 1 (softmax) is known in this architecture");
        return Err(keys.wrong(format!("{} {why}", keys.full("expert_gating_func"))));
    }
    if must_be_unscaled { unscaled(keys) } else { Ok(()) }
}

/// Returns an error for weights that are scaled.
fn unscaled(keys: &Keys) -> Result<()> {
    // llama.cpp scales by 1 and by 0 as little as without the key.
    if let Some(scale) = keys.number("expert_weights_scale")?.filter(|scale| ![0.0, 1.0].contains(scale)) {
        let why = format!("is {scale}; only 1 is known in this architecture");
        return Err(keys.wrong(format!("{} {why}", keys.full("expert_weights_scale"))));
    }
    Ok(())
}
