//! The names of tensors in a GGUF file, and in Hugging Face's files.

use super::architectures::{
    Architecture, BARE, ERNIE_BIAS, KERNEL, SHARED_GATE, SSM_KERNEL, VECTORS, WITHOUT_ENDING, architecture,
};
use super::header::{Header, TensorInfo};
use crate::error::{Error, Result};
use crate::shape::Dtype;
use std::ops::Range;

/// Tensors with factors of rotary positions, which are read into the config: of any text, and of short ones.
const FACTORS: [&str; 2] = ["rope_freqs.weight", "rope_factors_short.weight"];

/// Factors of longer texts than a model opens with here.
const LONG_FACTORS: &str = "rope_factors_long.weight";

/// The tensor of a file with factors of its rotary positions.
pub fn factors_of(header: &Header) -> Option<&'static str> {
    FACTORS.into_iter().find(|name| header.tensors.iter().any(|tensor| tensor.name == *name))
}

/// The most experts of a layer.
const MOST_EXPERTS: usize = 4096;

/// How the tensors of a file are called in a Hugging Face directory.
pub struct Names {
    architecture: &'static Architecture,
    heads: usize,
    kv_heads: usize,
    experts: usize,
    /// Layers; tensors of further ones are not read.
    layers: usize,
    /// Which of [`FACTORS`] the first file has.
    factors: Option<&'static str>,
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
    pub range: Range<u64>,
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
        // Where each layer has its own number, those with attention have the same.
        let by_layer = header.metadata.numbers(&format!("{}.attention.head_count_kv", architecture.name));
        let by_layer = by_layer.into_iter().flatten().find(|heads| *heads > 0.0).map(|heads| heads as usize);
        let kv_heads = size("attention.head_count_kv").or(by_layer).unwrap_or(heads);
        let further = size("nextn_predict_layers").unwrap_or(0);
        let layers = size("block_count").map_or(usize::MAX, |layers| layers.saturating_sub(further));
        Ok(Self { architecture, heads, kv_heads, experts, layers, factors: factors_of(header) })
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
        if self.factors.is_some_and(|factors| tensor.name == factors || tensor.name == LONG_FACTORS) {
            return Ok(Vec::new());
        }
        let bare = WITHOUT_ENDING.iter().any(|name| tensor.name.rsplit('.').next() == Some(*name));
        let named = if bare { Some((&*tensor.name, "weight")) } else { tensor.name.rsplit_once('.') };
        let (base, ending) = named.ok_or_else(unknown)?;
        if ending != "weight" && ending != "bias" {
            return Err(unknown());
        }
        let find = |lists: &[&'static [(&str, &str)]], name: &str| {
            lists.iter().copied().flatten().find(|(known, _)| *known == name).map(|(_, theirs)| *theirs)
        };
        let layer = base.strip_prefix("blk.").and_then(|rest| rest.split_once('.'));
        let biases = self.architecture.biases;
        if ending == "bias" && !layer.map_or(biases.contains(&base), |(_, name)| biases.contains(&name)) {
            return Err(unknown());
        }
        if layer.is_some_and(|(n, _)| n.parse::<usize>().is_ok_and(|n| n >= self.layers)) {
            return Ok(Vec::new());
        }
        let (name, theirs) = match layer {
            Some((layer, name)) if layer.parse::<u32>().is_ok() => {
                let theirs = find(self.architecture.layer, name).ok_or_else(unknown)?;
                let ending = if BARE.contains(&theirs) { String::new() } else { format!(".{ending}") };
                (name, format!("model.layers.{layer}.{theirs}{ending}"))
            }
            _ => (base, format!("{}.{ending}", find(&[self.architecture.whole], base).ok_or_else(unknown)?)),
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
            let shape = match shape.as_slice() {
                [columns] if name == SHARED_GATE => vec![1, *columns],
                [rows, positions] if [KERNEL, SSM_KERNEL].contains(&name) && ending == "weight" => {
                    vec![*rows, 1, *positions]
                }
                [experts] if theirs.ends_with(ERNIE_BIAS) => vec![1, *experts],
                [one, other] if VECTORS.contains(&name) && (*one == 1 || *other == 1) => vec![one * other],
                _ => shape.clone(),
            };
            return Ok(vec![place(theirs, &shape, range.clone())]);
        }
        let Some((&experts, rest)) = shape.split_first().filter(|(experts, _)| **experts == self.experts) else {
            let why = format!("has the sizes {shape:?}, and the metadata says that there are {} experts", self.experts);
            return Err(Error::model(format!("{file}, tensor {}", tensor.name), why));
        };
        let bytes = (range.end - range.start) / experts as u64;
        let each = (0..experts).map(|e| {
            let start = range.start + e as u64 * bytes;
            place(theirs.replace("{e}", &e.to_string()), rest, start..start + bytes)
        });
        Ok(each.collect())
    }
}
