//! Packs a model's tensors for the CPU engine once they have arrived.

use crate::engine::gate_vectors::values;
use crate::error::Result;
use crate::kernels::expert_ffn::Expert;
use crate::kernels::stored::Stored;
use crate::model::tensors::arrive;
use crate::model::{ExpertWeights, Tensor};
use crate::shape::Matrix;

/// A function that stacks and packs matrices of the same width.
pub type Pack = fn(&[Matrix<'_>]) -> Stored;

/// Packs an expert once its tensors have arrived.
pub async fn expert_arriving(weights: &ExpertWeights<'_>, pack: Pack) -> Result<Expert> {
    let ExpertWeights { w1, w2, w3, bias } = weights;
    let up = packed(pack, &[w1, w3]).await?;
    let down = packed(pack, &[w2]).await?;
    let (mut up_bias, mut down_bias) = (Vec::new(), Vec::new());
    if let Some([gate, up, down]) = bias {
        up_bias = values(Some(gate)).await?;
        up_bias.extend(values(Some(up)).await?);
        down_bias = values(Some(down)).await?;
    }
    Ok(Expert { up, down, up_bias, down_bias })
}

/// Packs tensors of the same width, stacked, once they have arrived.
pub async fn packed(pack: Pack, tensors: &[&Tensor<'_>]) -> Result<Stored> {
    Ok(pack(&arrive(tensors).await?))
}

/// Returns the numbers of several vectors, concatenated, once they have arrived.
pub async fn all_values(vectors: &[Tensor<'_>]) -> Result<Vec<f32>> {
    let mut all = Vec::new();
    for vector in vectors {
        all.extend(values(Some(vector)).await?);
    }
    Ok(all)
}
