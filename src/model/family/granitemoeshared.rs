//! Granite MoE with a shared expert of its own width: `GraniteMoeSharedForCausalLM` of Hugging Face transformers.

use super::backbone::{self, Names, sizes};
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
        if let Some(SharedShape { intermediate: inner, .. }) = moe.shared_ffn {
            let (up, down) =
                (format!("{at}.shared_mlp.input_linear.weight"), format!("{at}.shared_mlp.output_linear.weight"));
            let gate_and_up = |rows| tensors.rows(&up, [2 * inner, a.hidden], rows);
            ffn.shared = Some(ExpertWeights {
                w1: gate_and_up(0..inner)?,
                w2: tensors.matrix(&down, a.hidden, inner)?,
                w3: gate_and_up(inner..2 * inner)?,
                bias: None,
            });
        }
        Ok(ffn)
    })
}
