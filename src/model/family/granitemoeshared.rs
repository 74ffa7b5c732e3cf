//! Granite MoE with a shared expert of its own width: `GraniteMoeSharedForCausalLM` of Hugging Face transformers.

use super::backbone::{self, Names, PROJECTIONS, sizes};
use super::granitemoe;
use crate::error::Result;
use crate::model::keys::Keys;
use crate::model::tensors::Tensors;
use crate::model::weights::{ExpertWeights, Weights};
use crate::shape::{Architecture, MoeShape, SharedShape};
use serde_json::Value;

/// The architecture of a config.
pub fn architecture(config: &Value) -> Result<Architecture> {
    let keys = Keys::of(config)?;
    let width = keys.size("shared_intermediate_size", 0..=*sizes::INNER.end())?.unwrap_or(1024);
    let shared = SharedShape { intermediate: width, gated: false, count: 1 };
    let moe = MoeShape { shared_ffn: (width > 0).then_some(shared), ..granitemoe::moe(&keys)? };
    granitemoe::described(&keys, moe, &[&granitemoe::KNOWN[..], &["shared_intermediate_size"]].concat())
}

/// Views of all tensors, with their shapes checked.
pub fn weights<'a>(tensors: &'a Tensors, a: &Architecture) -> Result<Weights<'a>> {
    backbone::weights(tensors, a, &Names::PLAIN, |at, moe| {
        let mut ffn = granitemoe::ffn(tensors, at, moe, a.hidden)?;
        if let Some(SharedShape { intermediate, .. }) = moe.shared_ffn {
            ffn.shared = Some(shared(tensors, &format!("{at}.shared_mlp"), intermediate, a.hidden)?);
        }
        Ok(ffn)
    })
}

/// The shared expert `at`: as published, or in three matrices.
pub fn shared<'a>(tensors: &'a Tensors, at: &str, inner: usize, hidden: usize) -> Result<ExpertWeights<'a>> {
    if tensors.has(&format!("{at}.gate_proj.weight")) {
        return backbone::expert(tensors, at, PROJECTIONS, inner, hidden);
    }
    let up = format!("{at}.input_linear.weight");
    let gate_and_up = |rows| tensors.rows(&up, [2 * inner, hidden], rows);
    Ok(ExpertWeights {
        w1: gate_and_up(0..inner)?,
        w2: tensors.matrix(&format!("{at}.output_linear.weight"), hidden, inner)?,
        w3: gate_and_up(inner..2 * inner)?,
        bias: None,
    })
}
