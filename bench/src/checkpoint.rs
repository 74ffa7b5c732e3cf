//! Writes a model as a Hugging Face directory of `MixtralForCausalLM`.

use crate::shape::{EPSILON, ROPE_THETA, Shape};
use crate::weights::{Numbers, encoded, tensors};
use anyhow::{Context, Result};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use std::path::Path;

/// Writes a model of `shape` with seeded weights in the format `dtype` to the directory `to`.
///
/// # Errors
/// A file cannot be written.
pub fn write(shape: &Shape, dtype: Dtype, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    let name = match dtype {
        Dtype::F16 => "float16",
        Dtype::BF16 => "bfloat16",
        _ => "float32",
    };
    let config = serde_json::json!({
        "architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "dtype": name,
        "vocab_size": shape.vocabulary, "hidden_size": shape.hidden, "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads, "num_key_value_heads": shape.heads, "intermediate_size": shape.ff,
        "num_local_experts": shape.experts, "num_experts_per_tok": shape.top_k, "hidden_act": "silu",
        "max_position_embeddings": shape.context, "rms_norm_eps": EPSILON, "tie_word_embeddings": false,
        "rope_parameters": { "rope_type": "default", "rope_theta": ROPE_THETA },
    });
    std::fs::write(to.join("config.json"), serde_json::to_string_pretty(&config)?)?;
    let tensors = tensors(shape).into_iter().map(|tensor| Ok((encoded(&Numbers::Seeded.of(&tensor)?, dtype), tensor)));
    let tensors: Vec<_> = tensors.collect::<Result<_>>()?;
    let views =
        tensors.iter().map(|(bytes, tensor)| Ok((&tensor.name, TensorView::new(dtype, tensor.shape.clone(), bytes)?)));
    let views: Vec<_> = views.collect::<Result<_>>()?;
    let path = to.join("model.safetensors");
    safetensors::serialize_to_file(views, None, &path).with_context(|| format!("cannot write {}", path.display()))
}
