//! A model's weights on the GPU, shared by every plan that runs them.

use super::device::Gpu;
use super::pack;
use super::plan::padded;
use crate::error::Result;
use crate::kernels::qkv::angles;
use crate::model::{Architecture, Dtype, LayerShape, LayerWeights, Matrix, Weights};
use bytemuck::pod_collect_to_vec;
use wgpu::Buffer;

/// Matrices in panels, and how wide their numbers are.
pub type Matrices = (Dtype, Buffer);

/// All weights.
pub struct Uploaded {
    /// Token embeddings.
    pub embed: Matrices,
    /// The layers.
    pub layers: Vec<LayerBuffers>,
    /// The last norm.
    pub norm: Buffer,
    /// The output projection; the embeddings where they are tied.
    pub head: Matrices,
}

/// Weights of one layer, named as in [`LayerWeights`].
pub struct LayerBuffers {
    /// `[D]`
    pub attention_norm: Buffer,
    /// Queries, keys and values, in the order of [`pack::pairs`].
    pub qkv: Matrices,
    /// Attention's output.
    pub output: Matrices,
    /// Rotary angles of every position.
    pub angles: Buffer,
    /// `[D]`
    pub moe_norm: Buffer,
    /// Rows of the experts, the groups and the noise; none for a dense FFN.
    pub router: Option<Matrices>,
    /// `[E]`, zeros where the model has none.
    pub bias: Buffer,
    /// `w1` and `w3` of each expert, in the order of [`pack::alternate`].
    pub up: Matrices,
    /// `w2` of each expert.
    pub down: Matrices,
}

impl Uploaded {
    /// Uploads `weights`.
    pub fn new(gpu: &Gpu, a: &Architecture, weights: &Weights<'_>) -> Result<Self> {
        let embed = upload(gpu, "embeddings", pack::stack(&[&weights.embed]))?;
        let head = match &weights.lm_head {
            None => embed.clone(),
            Some(matrix) => upload(gpu, "output weights", pack::stack(&[matrix]))?,
        };
        let layers = a.layers.iter().zip(&weights.layers);
        Ok(Self {
            embed,
            layers: layers.map(|(shape, weights)| LayerBuffers::new(gpu, a, shape, weights)).collect::<Result<_>>()?,
            norm: upload_vector(gpu, &weights.norm)?,
            head,
        })
    }
}

impl LayerBuffers {
    fn new(gpu: &Gpu, a: &Architecture, shape: &LayerShape, weights: &LayerWeights<'_>) -> Result<Self> {
        let (s, ffn) = (&shape.attention, &weights.ffn);
        let [q, k, v] = &weights.qkv;
        let ups: Vec<[&Matrix<'_>; 2]> = ffn.experts.iter().map(|e| [&e.w1, &e.w3]).collect();
        let downs: Vec<&Matrix<'_>> = ffn.experts.iter().map(|e| &e.w2).collect();
        let mut bias: Vec<f32> = ffn.bias.iter().flat_map(|bias| bias.values()).collect();
        bias.resize(shape.moe.experts, 0.0);
        let routers = ffn.routers();
        let router = (!routers.is_empty()).then(|| upload(gpu, "router weights", pack::stack(&routers))).transpose()?;
        Ok(Self {
            attention_norm: upload_vector(gpu, &weights.attention_norm)?,
            qkv: upload(gpu, "attention weights", pack::pairs([q, k, v], s.head_dim))?,
            output: upload(gpu, "attention weights", pack::stack(&[&weights.output]))?,
            angles: gpu.filled("angles", &pod_collect_to_vec(&angles(a.context, s.head_dim, s.rope_theta)))?,
            moe_norm: upload_vector(gpu, &weights.moe_norm)?,
            router,
            bias: gpu.filled("router bias", bytemuck::cast_slice(&bias))?,
            up: upload(gpu, "expert weights", pack::alternate(&ups))?,
            down: upload(gpu, "expert weights", pack::sequence(&downs))?,
        })
    }
}

fn upload(gpu: &Gpu, label: &str, (dtype, bytes): (Dtype, Vec<u8>)) -> Result<Matrices> {
    Ok((dtype, gpu.filled(label, &bytes)?))
}

fn upload_vector(gpu: &Gpu, vector: &Matrix<'_>) -> Result<Buffer> {
    let mut values = vector.values();
    values.resize(padded(values.len()), 0.0);
    gpu.filled("norms", bytemuck::cast_slice(&values))
}
