//! Views of a checkpoint's tensors by what they do, the same for every family.

use super::files::Content;
use super::tensors::Dtype;
use crate::error::{Error, Result};
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

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
    pub bytes: Stretch<'a>,
}

/// Bytes of a file.
#[derive(Clone)]
pub enum Stretch<'a> {
    /// In memory.
    Here(&'a [u8]),
    /// A range of a file's content.
    Of(&'a dyn Content, Range<usize>),
}

impl<'a> Stretch<'a> {
    /// The bytes: copied into memory where they were not there.
    pub fn read(&self) -> Cow<'a, [u8]> {
        match self {
            Self::Here(bytes) => Cow::Borrowed(bytes),
            Self::Of(content, range) => content.read(range.clone()),
        }
    }

    /// How many there are.
    pub fn size(&self) -> usize {
        match self {
            Self::Here(bytes) => bytes.len(),
            Self::Of(_, range) => range.len(),
        }
    }
}

impl fmt::Debug for Stretch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.size())
    }
}

impl Matrix<'_> {
    /// The numbers as f32, row by row.
    pub fn values(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.rows * self.cols];
        self.dtype.widen(&self.bytes.read(), &mut values);
        values
    }

    /// Gives `take` the numbers of each row as f32, `[cols]`, in order.
    pub fn each_row(&self, mut take: impl FnMut(&[f32])) {
        let mut numbers = vec![0.0; self.cols];
        for row in self.bytes.read().chunks_exact(self.cols * self.dtype.size()) {
            self.dtype.widen(row, &mut numbers);
            take(&numbers);
        }
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
        self.all().try_for_each(|matrix| match matrix.dtype.first_not_finite(&matrix.bytes.read()) {
            None => Ok(()),
            Some(at) => Err(Error::model(
                format!("model.safetensors, tensor {}", matrix.name),
                format!("number {at} is not finite (NaN or infinite); the file is damaged or its training diverged"),
            )),
        })
    }

    /// Bytes of all of them, as they are stored.
    pub fn bytes(&self) -> usize {
        self.all().map(|matrix| matrix.bytes.size()).sum()
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
