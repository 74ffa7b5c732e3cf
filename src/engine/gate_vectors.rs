//! The vectors of a gate besides its router's matrix, for both engines.

use crate::error::Result;
use crate::kernels::choose::GateVectors;
use crate::model::{FfnWeights, Tensor};

/// The vectors of a layer's gate, once they have arrived.
pub(super) async fn arriving(ffn: &FfnWeights<'_>) -> Result<GateVectors> {
    Ok(GateVectors {
        bias: values(ffn.bias.as_ref()).await?,
        router_bias: values(ffn.router_bias.as_ref()).await?,
        scale: values(ffn.expert_scale.as_ref()).await?,
    })
}

/// The numbers of a vector; empty where there is no vector.
pub(super) async fn values(vector: Option<&Tensor<'_>>) -> Result<Vec<f32>> {
    match vector {
        Some(vector) => Ok(vector.arrive().await?.values()),
        None => Ok(Vec::new()),
    }
}
