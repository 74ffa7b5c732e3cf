//! Writes a model as a GGUF file, llama.cpp's format (version 3):
//! <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

use crate::shape::{EPSILON, ROPE_THETA, Shape};
use crate::weights::{BLOCK, Numbers, Tensor, encoded, tensors};
use anyhow::{Context, Result};
use safetensors::Dtype;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// Tensors start at multiples of 32 bytes.
const ALIGNMENT: usize = 32;

/// Writes a model of `shape` to `path`, its matrices as f16, f32 or (for I8) llama.cpp's Q8_0.
/// Norms and routers are always f32, as llama.cpp's own converter writes them.
///
/// # Errors
/// The file cannot be written.
pub fn write(shape: &Shape, numbers: &Numbers, dtype: Dtype, path: &Path) -> Result<()> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    let mut head = Vec::new();
    let parts = parts(shape);
    let keys = metadata(shape);
    head.extend(b"GGUF");
    head.extend(3u32.to_le_bytes());
    head.extend((parts.len() as u64).to_le_bytes());
    head.extend(keys.count.to_le_bytes());
    head.extend(keys.bytes);
    let mut offset = 0;
    for part in &parts {
        string(&mut head, &part.name);
        head.extend((part.dimensions.len() as u32).to_le_bytes());
        part.dimensions.iter().for_each(|&n| head.extend((n as u64).to_le_bytes()));
        let numbers = part.dimensions.iter().product::<usize>();
        let (kind, bytes) = match part.dtype(dtype) {
            Dtype::F16 => (1u32, 2 * numbers),
            Dtype::I8 => (8, numbers / BLOCK * (BLOCK + 2)),
            _ => (0, 4 * numbers),
        };
        head.extend(kind.to_le_bytes());
        head.extend((offset as u64).to_le_bytes());
        offset += bytes.next_multiple_of(ALIGNMENT);
    }
    head.resize(head.len().next_multiple_of(ALIGNMENT), 0);
    out.write_all(&head)?;
    for part in &parts {
        let mut written = 0;
        for tensor in &part.from {
            let rows = numbers.of(tensor)?;
            let rows = if part.rotary { interleaved(rows, shape) } else { rows };
            let bytes = encoded(&rows, part.dtype(dtype));
            out.write_all(&bytes)?;
            written += bytes.len();
        }
        out.write_all(&vec![0; written.next_multiple_of(ALIGNMENT) - written])?;
    }
    out.flush().with_context(|| format!("cannot write {}", path.display()))
}

/// A tensor of the file: one of the checkpoint, or those of all experts one after the other.
struct Part {
    name: String,
    /// Its sizes, columns first.
    dimensions: Vec<usize>,
    from: Vec<Tensor>,
    /// Whether the rotary embedding rotates its rows, which llama.cpp stores in another order.
    rotary: bool,
}

impl Part {
    fn dtype(&self, wanted: Dtype) -> Dtype {
        let is_matrix = self.dimensions.len() > 1 && !self.name.contains("gate_inp");
        if is_matrix { wanted } else { Dtype::F32 }
    }
}

fn parts(shape: &Shape) -> Vec<Part> {
    let all = tensors(shape);
    let find = |name: &str| {
        let tensor = all.iter().find(|tensor| tensor.name == format!("{name}.weight"));
        tensor.expect("the shape has this tensor").clone()
    };
    let one = |name: &str, of: &str| {
        let tensor = find(of);
        let dimensions = tensor.shape.iter().rev().copied().collect();
        Part { name: format!("{name}.weight"), dimensions, from: vec![tensor], rotary: false }
    };
    let mut parts = vec![one("token_embd", "model.embed_tokens")];
    for n in 0..shape.layers {
        let layer = |name: &str, of: &str| one(&format!("blk.{n}.{name}"), &format!("model.layers.{n}.{of}"));
        let experts = |name: &str, of: &str| {
            let from: Vec<Tensor> = (0..shape.experts)
                .map(|e| find(&format!("model.layers.{n}.block_sparse_moe.experts.{e}.{of}")))
                .collect();
            let dimensions = from[0].shape.iter().rev().copied().chain([shape.experts]).collect();
            Part { name: format!("blk.{n}.{name}.weight"), dimensions, from, rotary: false }
        };
        parts.push(layer("attn_norm", "input_layernorm"));
        parts.push(Part { rotary: true, ..layer("attn_q", "self_attn.q_proj") });
        parts.push(Part { rotary: true, ..layer("attn_k", "self_attn.k_proj") });
        parts.push(layer("attn_v", "self_attn.v_proj"));
        parts.push(layer("attn_output", "self_attn.o_proj"));
        parts.push(layer("ffn_norm", "post_attention_layernorm"));
        parts.push(layer("ffn_gate_inp", "block_sparse_moe.gate"));
        parts.push(experts("ffn_gate_exps", "w1"));
        parts.push(experts("ffn_down_exps", "w2"));
        parts.push(experts("ffn_up_exps", "w3"));
    }
    parts.push(one("output_norm", "model.norm"));
    parts.push(one("output", "lm_head"));
    parts
}

/// Reorders the rows of each head for llama.cpp, which rotates neighbouring rows as a pair. Hugging Face pairs a row
/// with the one half a head further.
fn interleaved(rows: Vec<f32>, shape: &Shape) -> Vec<f32> {
    let (dim, half) = (shape.head_dim(), shape.head_dim() / 2);
    let row = |head: usize, i: usize| &rows[(head * dim + i) * shape.hidden..][..shape.hidden];
    (0..shape.heads)
        .flat_map(|head| (0..half).flat_map(move |i| [(head, i), (head, i + half)]))
        .flat_map(|(head, i)| row(head, i).iter().copied())
        .collect()
}

#[derive(Default)]
struct Metadata {
    count: u64,
    bytes: Vec<u8>,
}

impl Metadata {
    fn key(&mut self, name: &str, kind: u32) -> &mut Vec<u8> {
        self.count += 1;
        string(&mut self.bytes, name);
        self.bytes.extend(kind.to_le_bytes());
        &mut self.bytes
    }

    fn number(&mut self, name: &str, value: usize) {
        self.key(name, 4).extend((value as u32).to_le_bytes());
    }

    fn float(&mut self, name: &str, value: f32) {
        self.key(name, 6).extend(value.to_le_bytes());
    }

    fn text(&mut self, name: &str, value: &str) {
        string(self.key(name, 8), value);
    }

    fn list(&mut self, name: &str, kind: u32, len: usize) -> &mut Vec<u8> {
        let bytes = self.key(name, 9);
        bytes.extend(kind.to_le_bytes());
        bytes.extend((len as u64).to_le_bytes());
        bytes
    }
}

fn metadata(shape: &Shape) -> Metadata {
    let mut keys = Metadata::default();
    keys.text("general.architecture", "llama");
    keys.text("general.name", shape.name);
    keys.number("llama.context_length", shape.context);
    keys.number("llama.embedding_length", shape.hidden);
    keys.number("llama.block_count", shape.layers);
    keys.number("llama.feed_forward_length", shape.ff);
    keys.number("llama.attention.head_count", shape.heads);
    keys.number("llama.attention.head_count_kv", shape.heads);
    keys.number("llama.rope.dimension_count", shape.head_dim());
    keys.number("llama.vocab_size", shape.vocabulary);
    keys.number("llama.expert_count", shape.experts);
    keys.number("llama.expert_used_count", shape.top_k);
    keys.float("llama.attention.layer_norm_rms_epsilon", EPSILON);
    keys.float("llama.rope.freq_base", ROPE_THETA);
    keys.text("tokenizer.ggml.model", "llama");
    let words = keys.list("tokenizer.ggml.tokens", 8, shape.vocabulary);
    (0..shape.vocabulary).for_each(|id| string(words, &word(id)));
    let scores = keys.list("tokenizer.ggml.scores", 6, shape.vocabulary);
    (0..shape.vocabulary).for_each(|id| scores.extend((-(id as f32)).to_le_bytes()));
    let kinds = keys.list("tokenizer.ggml.token_type", 5, shape.vocabulary);
    (0..shape.vocabulary).for_each(|id| kinds.extend(kind(id).to_le_bytes()));
    keys.number("tokenizer.ggml.bos_token_id", 1);
    keys.number("tokenizer.ggml.eos_token_id", 2);
    keys.number("tokenizer.ggml.unknown_token_id", 0);
    keys.key("tokenizer.ggml.add_bos_token", 7).push(0);
    keys.key("tokenizer.ggml.add_space_prefix", 7).push(0);
    keys
}

/// Token `id`, from 3 on, is the character `FIRST_SIGN + id`, so that a text of such characters is a list of ids.
const FIRST_SIGN: u32 = 0x4e00;

/// The text of a token, in SentencePiece's order: three special tokens, then words. There are no byte tokens, so that
/// every generated token is text.
fn word(id: usize) -> String {
    match id {
        0 => "<unk>".into(),
        1 => "<s>".into(),
        2 => "</s>".into(),
        _ => char::from_u32(FIRST_SIGN + id as u32)
            .expect("the vocabulary fits the block of Chinese characters")
            .to_string(),
    }
}

fn kind(id: usize) -> i32 {
    match id {
        0 => 2,
        1 | 2 => 3,
        _ => 1,
    }
}

fn string(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}
