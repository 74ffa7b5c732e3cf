//! The weights of the models, one matrix at a time. They are the same for every file format and in any order.

use crate::shape::Shape;
use anyhow::{Context, Result};
use half::f16;
use safetensors::{Dtype, SafeTensors};
use std::path::Path;

/// A tensor of a model.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// Its name in a Hugging Face checkpoint.
    pub name: String,
    /// Rows and columns; one size for a vector.
    pub shape: Vec<usize>,
}

/// All tensors of a model, in the order in which they are written.
pub fn tensors(shape: &Shape) -> Vec<Tensor> {
    let (d, ff) = (shape.hidden, shape.ff);
    let mut all = Vec::new();
    let mut add = |name: String, shape: &[usize]| all.push(Tensor { name, shape: shape.to_vec() });
    add("model.embed_tokens.weight".into(), &[shape.vocabulary, d]);
    for n in 0..shape.layers {
        let layer = |name: &str| format!("model.layers.{n}.{name}.weight");
        add(layer("input_layernorm"), &[d]);
        for name in ["q_proj", "k_proj", "v_proj", "o_proj"] {
            add(layer(&format!("self_attn.{name}")), &[d, d]);
        }
        add(layer("post_attention_layernorm"), &[d]);
        add(layer("block_sparse_moe.gate"), &[shape.experts, d]);
        for e in 0..shape.experts {
            for (name, size) in [("w1", [ff, d]), ("w2", [d, ff]), ("w3", [ff, d])] {
                add(layer(&format!("block_sparse_moe.experts.{e}.{name}")), &size);
            }
        }
    }
    add("model.norm.weight".into(), &[d]);
    add("lm_head.weight".into(), &[shape.vocabulary, d]);
    all
}

/// Where the weights come from.
#[derive(Debug)]
pub enum Numbers {
    /// Random, seeded by the tensor's name.
    Seeded,
    /// The bytes of an f16 checkpoint whose output matrix is its embedding.
    Stored(Vec<u8>),
}

impl Numbers {
    /// The weights of a trained model.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn stored(path: &Path) -> Result<Self> {
        Ok(Self::Stored(std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?))
    }

    /// The weights of a tensor.
    ///
    /// # Errors
    /// The checkpoint does not hold it.
    pub fn of(&self, tensor: &Tensor) -> Result<Vec<f32>> {
        let Self::Stored(bytes) = self else { return Ok(seeded(tensor)) };
        let name = if tensor.name == "lm_head.weight" { "model.embed_tokens.weight" } else { &tensor.name };
        let file = SafeTensors::deserialize(bytes)?;
        let view = file.tensor(name)?;
        anyhow::ensure!(
            view.shape() == tensor.shape && view.dtype() == Dtype::F16,
            "{name} is {:?} {:?}, but the race expects F16 {:?}",
            view.dtype(),
            view.shape(),
            tensor.shape
        );
        Ok(view.data().as_chunks().0.iter().map(|&bytes| f16::from_le_bytes(bytes).to_f32()).collect())
    }
}

/// Random weights of a tensor, rounded to f16 so that every number format holds the same model.
/// Norms are one. Matrices are uniform in `+- sqrt(3 / columns)`, so that a product keeps the variance of its input.
/// The embedding has variance one.
fn seeded(tensor: &Tensor) -> Vec<f32> {
    let count = tensor.shape.iter().product();
    let [_, columns] = tensor.shape[..] else { return vec![1.0; count] };
    let spread = if tensor.name.contains("embed") { 3f32.sqrt() } else { (3.0 / columns as f32).sqrt() };
    let mut state = tensor
        .name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let mut next = || {
        // xorshift64* (Vigna 2016).
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    };
    (0..count).map(|_| f16::from_f32(next() * spread).to_f32()).collect()
}

/// Encodes weights as f16, bf16, Q8_0 (for I8), or else f32; little-endian.
pub fn encoded(numbers: &[f32], dtype: Dtype) -> Vec<u8> {
    match dtype {
        Dtype::F16 => numbers.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect(),
        Dtype::BF16 => numbers.iter().flat_map(|&x| half::bf16::from_f32(x).to_le_bytes()).collect(),
        Dtype::I8 => numbers.chunks(BLOCK).flat_map(q8_0).collect(),
        _ => bytemuck::cast_slice(numbers).to_vec(),
    }
}

/// Weights that share a scale in llama.cpp's Q8_0.
pub const BLOCK: usize = 32;

/// A block of llama.cpp's Q8_0: the scale as f16, then one byte for each weight.
fn q8_0(numbers: &[f32]) -> Vec<u8> {
    let scale = numbers.iter().fold(0.0f32, |most, x| most.max(x.abs())) / 127.0;
    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    let bytes = numbers.iter().map(|x| (x * inverse).round() as i8 as u8);
    f16::from_f32(scale).to_le_bytes().into_iter().chain(bytes).collect()
}
