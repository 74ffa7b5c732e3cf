//! Views of a checkpoint's tensors by what they do, the same for every family.

use super::tensors::Dtype;
use crate::error::{Error, Result};

/// A row-major matrix `[rows, cols]` as it lies in the file. `y = W x` maps `cols` to `rows`.
#[derive(Clone, Debug)]
pub struct Matrix<'a> {
    /// The tensor's name in the file.
    pub name: String,
    /// Outputs.
    pub rows: usize,
    /// Inputs.
    pub cols: usize,
    /// Width of a number.
    pub dtype: Dtype,
    /// Little-endian numbers, `rows * cols` of them.
    pub bytes: &'a [u8],
}

impl Matrix<'_> {
    /// The numbers as f32, row by row.
    pub fn values(&self) -> impl Iterator<Item = f32> + '_ {
        self.dtype.values(self.bytes)
    }

    /// Writes the numbers of a row as f32 to `to`, `[cols]`.
    pub fn read_row(&self, row: usize, to: &mut [f32]) {
        let size = self.cols * self.dtype.size();
        self.dtype.widen(&self.bytes[row * size..][..size], to);
    }
}

/// Weights of one expert; see [`super::MoeShape`].
#[derive(Clone, Debug)]
pub struct ExpertWeights<'a> {
    /// Gate projection, `[F, D]`.
    pub w1: Matrix<'a>,
    /// Down projection, `[D, F]`.
    pub w2: Matrix<'a>,
    /// Up projection, `[F, D]`.
    pub w3: Matrix<'a>,
}

/// Weights of one layer.
#[derive(Clone, Debug)]
pub struct LayerWeights<'a> {
    /// Scale of the norm before attention, `[D]`.
    pub attention_norm: Matrix<'a>,
    /// Query, key and value projections, each `[heads * head_dim, D]`.
    pub qkv: [Matrix<'a>; 3],
    /// Output projection, `[D, heads * head_dim]`.
    pub output: Matrix<'a>,
    /// Scale of the norm before the experts, `[D]`.
    pub moe_norm: Matrix<'a>,
    /// What follows attention.
    pub ffn: FfnWeights<'a>,
}

/// Weights of a layer's FFN: router and experts, or a dense FFN as the only expert.
#[derive(Clone, Debug)]
pub struct FfnWeights<'a> {
    /// Router, `[E, D]`; none for a dense FFN.
    pub router: Option<Matrix<'a>>,
    /// Router over the groups, `[G, D]`, of a hierarchical gate.
    pub group_router: Option<Matrix<'a>>,
    /// Learned noise of the experts, `[E, D]`.
    pub noise_router: Option<Matrix<'a>>,
    /// What the gate adds to each expert's score, `[E]`.
    pub bias: Option<Matrix<'a>>,
    /// The routed experts, then the shared ones.
    pub experts: Vec<ExpertWeights<'a>>,
}

impl<'a> FfnWeights<'a> {
    /// What the router multiplies, one above the other: rows of the experts, of the groups, of the noise.
    pub fn routers(&self) -> Vec<&Matrix<'a>> {
        self.router.iter().chain(&self.group_router).chain(&self.noise_router).collect()
    }
}

/// Weights of a whole model.
#[derive(Clone, Debug)]
pub struct Weights<'a> {
    /// Token embeddings, `[V, D]`.
    pub embed: Matrix<'a>,
    /// The layers.
    pub layers: Vec<LayerWeights<'a>>,
    /// Scale of the last norm, `[D]`.
    pub norm: Matrix<'a>,
    /// Output projection, `[V, D]`; none where it is tied to `embed`.
    pub lm_head: Option<Matrix<'a>>,
}

impl<'a> Weights<'a> {
    /// The output projection, tied or not.
    pub fn output(&self) -> &Matrix<'a> {
        self.lm_head.as_ref().unwrap_or(&self.embed)
    }

    /// Refuses a checkpoint with a NaN or an infinite number, and names the tensor.
    pub fn check_finite(&self) -> Result<()> {
        self.all().try_for_each(|matrix| match matrix.dtype.first_not_finite(matrix.bytes) {
            None => Ok(()),
            Some(at) => Err(Error::model(
                format!("model.safetensors, tensor {}", matrix.name),
                format!("number {at} is not finite (NaN or infinite); the file is damaged or its training diverged"),
            )),
        })
    }

    /// Bytes of all of them, as they are stored.
    pub fn bytes(&self) -> usize {
        self.all().map(|matrix| matrix.bytes.len()).sum()
    }

    fn all(&self) -> impl Iterator<Item = &Matrix<'a>> {
        let layers = self.layers.iter().flat_map(|layer| {
            let experts = layer.ffn.experts.iter().flat_map(|e| [&e.w1, &e.w2, &e.w3]);
            let routers = layer.ffn.routers().into_iter().chain(&layer.ffn.bias);
            [&layer.attention_norm, &layer.output, &layer.moe_norm]
                .into_iter()
                .chain(routers)
                .chain(&layer.qkv)
                .chain(experts)
        });
        [&self.embed, &self.norm].into_iter().chain(&self.lm_head).chain(layers)
    }
}
