//! A model's weights on the GPU, shared by every plan that runs them.

use super::device::Gpu;
use super::pack::{self, padded};
use crate::engine::gate_vectors::arriving;
use crate::engine::rope::RopeTables;
use crate::error::Result;
use crate::kernels::choose::GateVectors;
use crate::model::tensors::arrive;
use crate::model::{LayerWeights, Tensor, Weights};
use crate::shape::{Architecture, Dtype, LayerShape, Matrix};
use wgpu::Buffer;

/// Matrices in panels, and how wide their numbers are.
pub type Matrices = (Dtype, Buffer);

/// All weights.
pub struct GpuWeights {
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
    /// What the gate has besides, in the order of [`gate_vectors`].
    pub vectors: Buffer,
    /// `w1` and `w3` of each expert, in the order of [`pack::alternate`].
    pub up: Matrices,
    /// `w2` of each expert.
    pub down: Matrices,
}

impl GpuWeights {
    /// Packs and uploads a model's weights to `gpu` while its files are downloaded. It waits for one matrix after the
    /// other, in the order in which most files store them.
    pub async fn arriving(gpu: &Gpu, a: &Architecture, weights: &Weights<'_>) -> Result<Self> {
        let head = match &weights.lm_head {
            Some(lm_head) => Some(stack(gpu, "output weights", vec![lm_head]).await?),
            None => None,
        };
        let embed = stack(gpu, "embeddings", vec![&weights.embed]).await?;
        let mut tables = RopeTables::new(a.context);
        let mut layers: Vec<_> = weights.layers.iter().map(|_| None).collect();
        for n in weights.order() {
            let keep = |table: Vec<[f32; 2]>| gpu.filled("angles", bytemuck::cast_slice(&table));
            let angles = tables.of(&a.layers[n].attention, keep)?;
            layers[n] = Some(LayerBuffers::arriving(gpu, &a.layers[n], angles, &weights.layers[n]).await?);
        }
        let layers = layers.into_iter().flatten().collect();
        let head = head.unwrap_or_else(|| embed.clone());
        Ok(Self { embed, layers, norm: vector(gpu, &weights.norm).await?, head })
    }
}

impl LayerBuffers {
    async fn arriving(gpu: &Gpu, shape: &LayerShape, angles: Buffer, weights: &LayerWeights<'_>) -> Result<Self> {
        let LayerShape { attention, moe } = shape;
        let LayerWeights { attention_norm, qkv: [q, k, v], output, moe_norm, ffn } = weights;
        let ups: Vec<_> = ffn.experts.iter().map(|e| vec![&e.w1, &e.w3]).collect();
        let downs: Vec<_> = ffn.experts.iter().map(|e| vec![&e.w2]).collect();
        let turned = |dtype, matrices: &[Matrix<'_>]| pack::pairs(dtype, matrices, attention.head_dim);
        let routers = ffn.routers();
        Ok(Self {
            up: sequence(gpu, "expert weights", &ups, pack::alternate).await?,
            down: sequence(gpu, "expert weights", &downs, pack::stack).await?,
            router: if routers.is_empty() { None } else { Some(stack(gpu, "router weights", routers).await?) },
            vectors: {
                let numbers = gate_vectors(moe.experts, &arriving(ffn).await?);
                gpu.filled("vectors of the gate", bytemuck::cast_slice(&numbers))?
            },
            attention_norm: vector(gpu, attention_norm).await?,
            moe_norm: vector(gpu, moe_norm).await?,
            qkv: sequence(gpu, "attention weights", &[vec![q, k, v]], turned).await?,
            output: stack(gpu, "attention weights", vec![output]).await?,
            angles,
        })
    }
}

/// The vectors of a gate as `shaders/shared/choose.wgsl` reads them, `[3 E]`: what is added to the experts' scores, and
/// to their router logits, and what their weights are multiplied by.
pub fn gate_vectors(experts: usize, vectors: &GateVectors) -> Vec<f32> {
    let GateVectors { bias, router_bias, scale } = vectors;
    let mut numbers = Vec::new();
    for (vector, otherwise) in [(bias, 0.0), (router_bias, 0.0), (scale, 1.0)] {
        numbers.extend_from_slice(vector);
        numbers.resize(numbers.len() + experts - vector.len(), otherwise);
    }
    numbers
}

/// Uploads groups of tensors, all groups of the same shape, one after the other: each group is packed with `pack`
/// when it has arrived.
async fn sequence(
    gpu: &Gpu,
    label: &str,
    groups: &[Vec<&Tensor<'_>>],
    pack: impl Fn(Dtype, &[Matrix<'_>]) -> Vec<u8>,
) -> Result<Matrices> {
    let dtype = pack::common_dtype(&groups.concat());
    let mut buffer = None;
    for (n, group) in groups.iter().enumerate() {
        let bytes = pack(dtype, &arrive(group).await?);
        let buffer = match &buffer {
            Some(buffer) => buffer,
            None => buffer.insert(gpu.zeros(label, bytes.len() * groups.len())?),
        };
        gpu.queue.write_buffer(buffer, (n * bytes.len()) as u64, &bytes);
    }
    Ok((dtype, buffer.expect("at least one group")))
}

/// Tensors of the same width as one matrix.
async fn stack(gpu: &Gpu, label: &str, tensors: Vec<&Tensor<'_>>) -> Result<Matrices> {
    sequence(gpu, label, &[tensors], pack::stack).await
}

async fn vector(gpu: &Gpu, tensor: &Tensor<'_>) -> Result<Buffer> {
    let mut values = tensor.arrive().await?.values();
    values.resize(padded(values.len()), 0.0);
    gpu.filled("norms and biases", bytemuck::cast_slice(&values))
}
