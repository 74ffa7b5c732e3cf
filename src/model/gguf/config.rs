//! Translates the metadata of a GGUF file to a Hugging Face config. A key of the architecture that is not read here
//! could change the numbers, so it is an error.

use super::architectures::architecture;
use super::header::Header;
use super::keys::Keys;
use super::names::factors_of;
use crate::error::{Error, Result};
use serde_json::{Map, Value, json};

/// Names of control tokens that end a turn or a text, for files that do not say so themselves.
const ENDS: [&str; 8] = [
    "<|im_end|>",
    "<|eot_id|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
];

/// The `tokenizer.ggml.token_type` of a control token.
const CONTROL: f64 = 3.0;

/// The config that the file `file` describes; `factors` are those of its rotary positions.
pub fn translated(file: &str, header: &Header, factors: Option<Vec<f32>>) -> Result<Value> {
    let architecture = architecture(file, header)?;
    let keys = Keys::of(file, header, architecture.name);
    let mut config = common(&keys, architecture.heads_by_layer)?;
    if let Some(scaling) = scaling(&keys, factors)? {
        config.insert("rope_scaling".into(), scaling);
    }
    (architecture.config)(&keys, &mut config)?;
    keys.refuse_others()?;
    Ok(Value::Object(config))
}

/// The keys that all architectures have.
fn common(keys: &Keys, heads_by_layer: bool) -> Result<Map<String, Value>> {
    let embeddings = keys.header.tensors.iter().find(|tensor| tensor.name == "token_embd.weight");
    let vocabulary = embeddings.and_then(|tensor| tensor.shape.first());
    let vocabulary = vocabulary.ok_or_else(|| keys.wrong("the tensor token_embd.weight is missing"))?;
    let (hidden, heads) = (keys.needed("embedding_length")?, keys.needed("attention.head_count")?);
    if heads == 0 {
        return Err(keys.wrong("attention.head_count is 0"));
    }
    let is_latent = keys.size("attention.kv_lora_rank")?.is_some();
    let length = keys.size("attention.key_length")?;
    let head_dim = keys.size("attention.key_length_mla")?.or(length).unwrap_or(hidden / heads);
    if keys.size("attention.value_length")?.is_some_and(|length| length != head_dim) && !is_latent {
        return Err(keys.wrong("attention.value_length differs from attention.key_length, which is not known"));
    }
    let mut config = Map::new();
    let mut put = |key: &str, value: Value| drop(config.insert(key.into(), value));
    put("vocab_size", json!(vocabulary));
    put("hidden_size", json!(hidden));
    put("num_hidden_layers", json!(keys.needed("block_count")?));
    put("num_attention_heads", json!(heads));
    put("head_dim", json!(head_dim));
    put("tie_word_embeddings", json!(!keys.has("output.weight")));
    put("hidden_act", json!("silu"));
    let kv_heads = if heads_by_layer { same_heads(keys)? } else { keys.size("attention.head_count_kv")? };
    // llama.cpp has the same default for a missing key.
    put("num_key_value_heads", json!(kv_heads.unwrap_or(heads)));
    put("rope_theta", json!(keys.number("rope.freq_base")?.unwrap_or(10_000.0)));
    put("max_position_embeddings", json!(keys.needed("context_length")?));
    if let Some(epsilon) = keys.number("attention.layer_norm_rms_epsilon")? {
        put("rms_norm_eps", json!(epsilon));
    }
    if let Some(inner) = keys.size("feed_forward_length")? {
        put("intermediate_size", json!(inner));
    }
    if let Some(turned) = keys.size("rope.dimension_count")?.filter(|turned| *turned != head_dim && !is_latent) {
        put("partial_rotary_factor", json!(turned as f64 / head_dim as f64));
    }
    put("eos_token_id", json!(ends(keys)));
    if let Some(begin) = keys.header.metadata.size("tokenizer.ggml.bos_token_id") {
        put("bos_token_id", json!(begin));
    }
    Ok(config)
}

/// The heads of keys in the layers with attention.
fn same_heads(keys: &Keys) -> Result<Option<usize>> {
    let mut heads = keys.sizes("attention.head_count_kv")?.unwrap_or_default();
    heads.retain(|heads| *heads > 0);
    heads.dedup();
    match heads.as_slice() {
        [] => Ok(None),
        [heads] => Ok(Some(*heads)),
        _ => Err(keys.wrong("attention.head_count_kv differs between layers with attention, which is not known")),
    }
}

/// The scaling of rotary positions; `None` where there is none.
fn scaling(keys: &Keys, factors: Option<Vec<f32>>) -> Result<Option<Value>> {
    let kind = keys.text("rope.scaling.type").filter(|kind| kind != "none");
    let factor = keys.number("rope.scaling.factor")?.or(keys.number("rope.scale_linear")?);
    let context = keys.size("rope.scaling.original_context_length")?;
    // Whether the model was trained further with the scaling does not change the numbers.
    keys.header.metadata.get(&keys.full("rope.scaling.finetuned"));
    let Some(kind) = kind.or(factor.filter(|factor| *factor != 1.0).map(|_| "linear".into())) else {
        return Ok(factors.map(|factors| json!({"rope_type": "factors", "factors": factors})));
    };
    if factors.is_some() && kind != "longrope" {
        let why = format!("scales the rotary positions too, beside {}, which is not known", keys.full("rope.scaling"));
        let tensor = factors_of(keys.header).unwrap_or_default();
        return Err(Error::model(format!("{}, tensor {tensor}", keys.file), why));
    }
    let mut scaling = Map::new();
    scaling.insert("rope_type".into(), json!(kind));
    if let Some(factors) = factors {
        scaling.insert("factors".into(), json!(factors));
    }
    if let Some(factor) = factor {
        scaling.insert("factor".into(), json!(factor));
    }
    if let Some(context) = context {
        scaling.insert("original_max_position_embeddings".into(), json!(context));
    }
    Ok(Some(Value::Object(scaling)))
}

/// The ids of tokens that end a text or a turn.
fn ends(keys: &Keys) -> Vec<usize> {
    let metadata = &keys.header.metadata;
    let id = |kind: &str| metadata.size(&format!("tokenizer.ggml.{kind}_token_id"));
    let mut ids: Vec<usize> = ["eos", "eot", "eom"].into_iter().filter_map(id).collect();
    let types = metadata.numbers("tokenizer.ggml.token_type").unwrap_or_default();
    let tokens = metadata.texts("tokenizer.ggml.tokens").unwrap_or_default();
    for (id, (token, kind)) in tokens.iter().zip(types).enumerate() {
        if kind == CONTROL && ENDS.contains(&&**token) {
            ids.push(id);
        }
    }
    let mut seen = Vec::new();
    ids.retain(|id| {
        !seen.contains(id) && {
            seen.push(*id);
            true
        }
    });
    ids
}
