//! The names of tensors in a GGUF file, and in Hugging Face's files. The supported architectures are listed here and
//! nowhere else.

use super::header::{Header, TensorInfo};
use super::keys::Keys;
use crate::error::{Error, Result};
use crate::shape::Dtype;
use serde_json::{Map, Value, json};
use std::ops::Range;

/// One architecture.
pub struct Architecture {
    /// Its name in `general.architecture`.
    pub name: &'static str,
    /// Adds to a config what is this architecture's own.
    pub config: fn(&Keys, &mut Map<String, Value>) -> Result<()>,
    /// Tensors of a layer: the file's name and Hugging Face's, without the endings `.weight` and `.bias`. For `{e}`
    /// comes the number of an expert, whose matrices the file has in one tensor.
    layer: &'static [(&'static str, &'static str)],
    /// Whether the rows of each head of queries and keys lie as llama.cpp turns them: the two that turn together are
    /// neighbours.
    neighbours: bool,
}

/// Tensors that belong to no layer: the file's name and Hugging Face's.
pub const WHOLE: [(&str, &str); 3] =
    [("token_embd", "model.embed_tokens"), ("output_norm", "model.norm"), ("output", "lm_head")];

/// All of them.
static ARCHITECTURES: [Architecture; 1] =
    [Architecture { name: "llama", config: llama, layer: &LLAMA, neighbours: true }];

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

/// Llama, and Mixtral where there are experts.
fn llama(keys: &Keys, config: &mut Map<String, Value>) -> Result<()> {
    let experts = keys.size("expert_count")?.unwrap_or(0);
    let used = keys.size("expert_used_count")?;
    let is_mixtral = experts > 0;
    config.insert("model_type".into(), json!(if is_mixtral { "mixtral" } else { "llama" }));
    if is_mixtral {
        config.insert("num_local_experts".into(), json!(experts));
        config.insert("num_experts_per_tok".into(), json!(used));
    }
    config.insert("attention_bias".into(), json!(keys.has("blk.0.attn_q.bias")));
    config.insert("mlp_bias".into(), json!(keys.has("blk.0.ffn_up.bias")));
    Ok(())
}

/// The most experts of a layer.
const MOST_EXPERTS: usize = 4096;

/// The architecture that a file names.
pub fn architecture(file: &str, header: &Header) -> Result<&'static Architecture> {
    let name = header.metadata.text("general.architecture");
    let name = name.as_deref().unwrap_or("(none)");
    ARCHITECTURES.iter().find(|architecture| architecture.name == name).ok_or_else(|| {
        let known = ARCHITECTURES.iter().map(|architecture| architecture.name).collect::<Vec<_>>().join(", ");
        let why = format!("its architecture is \"{name}\", which is not known as GGUF; known are: {known}");
        Error::model(file, why)
    })
}

/// How the tensors of a file are called in a Hugging Face directory.
pub struct Names {
    architecture: &'static Architecture,
    heads: usize,
    kv_heads: usize,
    experts: usize,
}

/// A tensor, or one matrix of it, as a family looks for it.
pub struct Place {
    /// Its name.
    pub name: String,
    /// Its sizes, columns last.
    pub shape: Vec<usize>,
    /// How it is stored; none for a format that is not known.
    pub dtype: Option<Dtype>,
    /// Where it is in the file.
    pub range: Range<usize>,
    /// Heads whose rows lie as neighbours that turn together; 0 for rows in order.
    pub neighbours: usize,
}

impl Names {
    /// Those of the model whose first file is `file`.
    ///
    /// # Errors
    /// The architecture is not known.
    pub fn of(file: &str, header: &Header) -> Result<Self> {
        let architecture = architecture(file, header)?;
        let size = |key: &str| header.metadata.size(&format!("{}.{key}", architecture.name));
        let heads = size("attention.head_count").unwrap_or(0);
        let experts = size("expert_count").unwrap_or(0).min(MOST_EXPERTS);
        Ok(Self { architecture, heads, kv_heads: size("attention.head_count_kv").unwrap_or(heads), experts })
    }

    /// What a family looks for where the file has `tensor`.
    ///
    /// # Errors
    /// The tensor is none of this architecture: without it the numbers could be others.
    pub fn places(&self, file: &str, tensor: &TensorInfo) -> Result<Vec<Place>> {
        let unknown = || {
            let why = format!(
                "is no tensor of a \"{}\" that is known here, and may change the numbers; take another file",
                self.architecture.name
            );
            Error::model(format!("{file}, tensor {}", tensor.name), why)
        };
        let (base, ending) = tensor.name.rsplit_once('.').ok_or_else(unknown)?;
        if ending != "weight" && ending != "bias" {
            return Err(unknown());
        }
        let find = |list: &'static [(&str, &str)], name: &str| {
            list.iter().find(|(known, _)| *known == name).map(|(_, theirs)| *theirs)
        };
        let (name, theirs) = match base.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) {
            Some((layer, name)) if layer.parse::<u32>().is_ok() => {
                let theirs = find(self.architecture.layer, name).ok_or_else(unknown)?;
                (name, format!("model.layers.{layer}.{theirs}.{ending}"))
            }
            _ => (base, format!("{}.{ending}", find(&WHOLE, base).ok_or_else(unknown)?)),
        };
        let neighbours = match name {
            "attn_q" if self.architecture.neighbours => self.heads,
            "attn_k" if self.architecture.neighbours => self.kv_heads,
            _ => 0,
        };
        let TensorInfo { shape, dtype, range, .. } = tensor;
        let place = |name: String, shape: &[usize], range| Place {
            name,
            shape: shape.to_vec(),
            dtype: *dtype,
            range,
            neighbours,
        };
        if !theirs.contains("{e}") {
            return Ok(vec![place(theirs, shape, range.clone())]);
        }
        let Some((&experts, rest)) = shape.split_first().filter(|(experts, _)| **experts == self.experts) else {
            let why = format!("has the sizes {shape:?}, and the metadata says that there are {} experts", self.experts);
            return Err(Error::model(format!("{file}, tensor {}", tensor.name), why));
        };
        let bytes = range.len() / experts;
        let each = (0..experts).map(|e| {
            let start = range.start + e * bytes;
            place(theirs.replace("{e}", &e.to_string()), rest, start..start + bytes)
        });
        Ok(each.collect())
    }
}
