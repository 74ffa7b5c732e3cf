//! A model's weights on the GPU, shared by every plan that runs them.

use super::device::Gpu;
use super::pack::{self, padded};
use crate::engine::gate_vectors::arriving;
use crate::engine::rope::RopeTables;
use crate::error::Result;
use crate::kernels::choose::GateVectors;
use crate::layer::{Operation, program};
use crate::model::tensors::arrive;
use crate::model::{ExpertWeights, LayerWeights, MatrixWeights, NormWeights, Tensor, Weights};
use crate::shape::{Architecture, Dtype, LayerShape, Matrix, MatrixName, Mixer, VectorName};
use wgpu::Buffer;

/// Matrices in panels, and the format of their numbers.
pub type Matrices = (Dtype, Buffer);

/// All weights.
pub struct GpuWeights {
    /// Token embeddings.
    pub embed: Matrices,
    /// The layers.
    pub layers: Vec<LayerBuffers>,
    /// The last norm.
    pub norm: Norm,
    /// The output projection; the embeddings where they are tied.
    pub head: Matrices,
    /// Its bias.
    pub head_bias: Option<Buffer>,
    /// The buffer that is bound where a model has no such vector.
    pub none: Buffer,
}

/// A norm over the residual stream.
pub struct Norm {
    /// `[D]`
    pub scale: Buffer,
    /// `[D]`, of a LayerNorm.
    pub bias: Option<Buffer>,
}

/// The matrices of several experts of one width.
pub struct ExpertBuffers {
    /// `w1` and `w3` of each expert, in the order of [`pack::alternate`].
    pub up: Matrices,
    /// `w2` of each expert.
    pub down: Matrices,
    /// Biases of `w1`, then of `w3`, of each expert; and those of `w2`.
    pub bias: Option<[Buffer; 2]>,
}

/// Weights of one layer, named as in [`LayerWeights`].
pub struct LayerBuffers {
    /// The norm before the mixer.
    pub mixer_norm: Norm,
    /// The mixer's matrices, each with its bias. Queries, keys and values for the kernel `qkv` are in the order of
    /// [`pack::pairs`].
    pub matrices: Vec<(MatrixName, Matrices, Option<Buffer>)>,
    /// The mixer's vectors.
    pub vectors: Vec<(VectorName, Buffer)>,
    /// Rotary angles of every position.
    pub angles: Buffer,
    /// The norm before the experts.
    pub moe_norm: Norm,
    /// Rows of the experts, the groups and the noise; none for a dense FFN.
    pub router: Option<Matrices>,
    /// The gate's vectors, in the order of [`gate_vectors`].
    pub gate_vectors: Buffer,
    /// The routed experts, and shared ones of their shape.
    pub experts: ExpertBuffers,
    /// The shared expert of its own width.
    pub shared: Option<ExpertBuffers>,
    /// The vector whose product with a token's row gives the shared expert's weight, `[D]`.
    pub shared_gate: Option<Buffer>,
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
            let angles = tables.of(a.layers[n].attention().and_then(|s| s.rope.as_ref()), keep)?;
            layers[n] = Some(LayerBuffers::arriving(gpu, a, n, angles, &weights.layers[n]).await?);
        }
        let layers = layers.into_iter().flatten().collect();
        let head = head.unwrap_or_else(|| embed.clone());
        let norm = Norm::arriving(gpu, &weights.norm).await?;
        let head_bias = optional(gpu, weights.head_bias.as_ref()).await?;
        Ok(Self { embed, layers, norm, head, head_bias, none: gpu.zeros("none", 0)? })
    }
}

impl Norm {
    async fn arriving(gpu: &Gpu, weights: &NormWeights<'_>) -> Result<Self> {
        let NormWeights { scale, bias } = weights;
        Ok(Self { scale: vector(gpu, scale).await?, bias: optional(gpu, bias.as_ref()).await? })
    }
}

impl ExpertBuffers {
    async fn arriving(gpu: &Gpu, experts: &[ExpertWeights<'_>]) -> Result<Self> {
        let ups: Vec<_> = experts.iter().map(|e| vec![&e.w1, &e.w3]).collect();
        let downs: Vec<_> = experts.iter().map(|e| vec![&e.w2]).collect();
        let up = sequence(gpu, "expert weights", &ups, pack::alternate).await?;
        let down = sequence(gpu, "expert weights", &downs, pack::stack).await?;
        let biases: Vec<_> = experts.iter().filter_map(|expert| expert.bias.as_ref()).collect();
        let bias = if biases.is_empty() {
            None
        } else {
            let ups: Vec<_> = biases.iter().flat_map(|[gate, up, _]| [gate, up]).collect();
            let downs: Vec<_> = biases.iter().map(|[_, _, down]| down).collect();
            Some([vectors(gpu, &ups).await?, vectors(gpu, &downs).await?])
        };
        Ok(Self { up, down, bias })
    }
}

impl LayerBuffers {
    async fn arriving(
        gpu: &Gpu,
        a: &Architecture,
        n: usize,
        angles: Buffer,
        weights: &LayerWeights<'_>,
    ) -> Result<Self> {
        let LayerShape { mixer, moe, .. } = &a.layers[n];
        let LayerWeights { mixer_norm, matrices, vectors: named, moe_norm, ffn } = weights;
        let is_turned = program(a, n).mixer.contains(&Operation::Qkv);
        let head_dim = if let Mixer::Attention(shape) = mixer { shape.head_dim } else { 0 };
        let turned = |dtype, matrices: &[Matrix<'_>]| pack::pairs(dtype, matrices, head_dim);
        let routers = ffn.routers();
        let experts = ExpertBuffers::arriving(gpu, &ffn.experts).await?;
        let shared = match &ffn.shared {
            Some(shared) => Some(ExpertBuffers::arriving(gpu, std::slice::from_ref(shared)).await?),
            None => None,
        };
        // In the order of a file's names, so that few tensors wait in memory for others that arrive later.
        let shared_gate = optional(gpu, ffn.shared_gate.as_ref()).await?;
        let router = if routers.is_empty() { None } else { Some(stack(gpu, "router weights", routers).await?) };
        let numbers = gate_vectors(moe.experts, &arriving(ffn).await?);
        let gate_vectors = gpu.filled("vectors of the gate", bytemuck::cast_slice(&numbers))?;
        let mixer_norm = Norm::arriving(gpu, mixer_norm).await?;
        let moe_norm = Norm::arriving(gpu, moe_norm).await?;
        let mut uploaded = Vec::new();
        for MatrixWeights { name, tensors, bias } in matrices {
            let tensors: Vec<_> = tensors.iter().collect();
            let weights = match is_turned && *name == MatrixName::Qkv {
                true => sequence(gpu, "attention weights", &[tensors], turned).await?,
                false => stack(gpu, "attention weights", tensors).await?,
            };
            let bias: Vec<_> = bias.iter().collect();
            let bias = if bias.is_empty() { None } else { Some(vectors(gpu, &bias).await?) };
            uploaded.push((*name, weights, bias));
        }
        let mut named_vectors = Vec::new();
        for (name, tensor) in named {
            named_vectors.push((*name, vectors(gpu, &[tensor]).await?));
        }
        Ok(Self {
            experts,
            shared,
            shared_gate,
            router,
            gate_vectors,
            mixer_norm,
            moe_norm,
            matrices: uploaded,
            vectors: named_vectors,
            angles,
        })
    }

    /// A matrix that an operation of the layer uses, and its bias.
    pub fn matrix(&self, name: MatrixName) -> (&Matrices, Option<&Buffer>) {
        let found = self.matrices.iter().find(|(of, ..)| *of == name);
        found.map(|(_, weights, bias)| (weights, bias.as_ref())).expect("a layer has what its operations ask for")
    }

    /// A vector of the layer, or `None`.
    pub fn vector(&self, name: VectorName) -> Option<&Buffer> {
        self.vectors.iter().find(|(of, _)| *of == name).map(|(_, vector)| vector)
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
    vectors(gpu, &[tensor]).await
}

/// Several vectors, one directly after the other; zeros fill up the last group of four.
async fn vectors(gpu: &Gpu, tensors: &[&Tensor<'_>]) -> Result<Buffer> {
    let mut values = Vec::new();
    for tensor in tensors {
        values.extend(tensor.arrive().await?.values());
    }
    values.resize(padded(values.len()), 0.0);
    gpu.filled("norms and biases", bytemuck::cast_slice(&values))
}

async fn optional(gpu: &Gpu, tensor: Option<&Tensor<'_>>) -> Result<Option<Buffer>> {
    match tensor {
        Some(tensor) => Ok(Some(vector(gpu, tensor).await?)),
        None => Ok(None),
    }
}
