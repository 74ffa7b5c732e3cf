//! Views of a checkpoint's tensors by their purpose, the same for every family.

use super::tensors::Tensor;
use crate::shape::{MatrixName, VectorName};

/// Weights of one expert; see [`crate::shape::MoeShape`].
#[derive(Clone)]
pub struct ExpertWeights<'a> {
    /// Gate projection, `[F, D]`.
    pub w1: Tensor<'a>,
    /// Down projection, `[D, F]`.
    pub w2: Tensor<'a>,
    /// Up projection, `[F, D]`.
    pub w3: Tensor<'a>,
    /// Biases of `w1`, `w3` and `w2`, one number per output.
    pub bias: Option<[Tensor<'a>; 3]>,
}

/// Weights of a norm over the residual stream.
#[derive(Clone)]
pub struct NormWeights<'a> {
    /// `[D]`
    pub scale: Tensor<'a>,
    /// `[D]`, of a LayerNorm.
    pub bias: Option<Tensor<'a>>,
}

/// A matrix, stacked of one or several tensors of the same width.
#[derive(Clone)]
pub struct MatrixWeights<'a> {
    /// Its purpose.
    pub name: MatrixName,
    /// The tensors, from the first row to the last.
    pub tensors: Vec<Tensor<'a>>,
    /// A vector for each of the tensors; none where it has no bias.
    pub bias: Vec<Tensor<'a>>,
}

/// Weights of one layer.
#[derive(Clone)]
pub struct LayerWeights<'a> {
    /// The norm before the mixer.
    pub mixer_norm: NormWeights<'a>,
    /// The mixer's matrices.
    pub matrices: Vec<MatrixWeights<'a>>,
    /// The mixer's vectors.
    pub vectors: Vec<(VectorName, Tensor<'a>)>,
    /// The norm before the experts.
    pub moe_norm: NormWeights<'a>,
    /// The FFN after the mixer.
    pub ffn: FfnWeights<'a>,
}

/// Weights of a layer's FFN: router and experts, or a dense FFN as the only expert.
#[derive(Clone)]
pub struct FfnWeights<'a> {
    /// Router, `[E, D]`; none for a dense FFN.
    pub router: Option<Tensor<'a>>,
    /// Router over the groups, `[G, D]`, of a hierarchical gate.
    pub group_router: Option<Tensor<'a>>,
    /// Learned noise of the experts, `[E, D]`.
    pub noise_router: Option<Tensor<'a>>,
    /// The bias that the gate adds to each expert's score, `[E]`.
    pub bias: Option<Tensor<'a>>,
    /// The bias of the router's product, `[E]`.
    pub router_bias: Option<Tensor<'a>>,
    /// The factor of each expert's weight, `[E]`.
    pub expert_scale: Option<Tensor<'a>>,
    /// The routed experts, then the shared ones.
    pub experts: Vec<ExpertWeights<'a>>,
    /// The shared expert of its own width.
    pub shared: Option<ExpertWeights<'a>>,
    /// The vector whose product with a token's row gives its weight, `[D]` or `[1, D]`.
    pub shared_gate: Option<Tensor<'a>>,
}

impl<'a> FfnWeights<'a> {
    /// A dense FFN.
    pub fn dense(ffn: ExpertWeights<'a>) -> Self {
        Self { experts: vec![ffn], ..Self::routed(None) }
    }

    /// No experts yet.
    pub fn routed(router: Option<Tensor<'a>>) -> Self {
        Self {
            router,
            group_router: None,
            noise_router: None,
            bias: None,
            router_bias: None,
            expert_scale: None,
            experts: Vec::new(),
            shared: None,
            shared_gate: None,
        }
    }

    /// The router's stacked matrices: rows of the experts, of the groups, of the noise.
    pub fn routers(&self) -> Vec<&Tensor<'a>> {
        self.router.iter().chain(&self.group_router).chain(&self.noise_router).collect()
    }
}

/// Weights of a whole model.
#[derive(Clone)]
pub struct Weights<'a> {
    /// Token embeddings, `[V, D]`.
    pub embed: Tensor<'a>,
    /// The layers.
    pub layers: Vec<LayerWeights<'a>>,
    /// The last norm.
    pub norm: NormWeights<'a>,
    /// Output projection, `[V, D]`; none where it is tied to `embed`.
    pub lm_head: Option<Tensor<'a>>,
    /// Its bias, `[V]`.
    pub head_bias: Option<Tensor<'a>>,
}

impl<'a> Weights<'a> {
    /// The output projection, tied or not.
    pub fn output(&self) -> &Tensor<'a> {
        self.lm_head.as_ref().unwrap_or(&self.embed)
    }

    /// The layers' numbers, in the order in which the layers end in their files.
    pub fn order(&self) -> Vec<usize> {
        let end = |n: usize| self.layers[n].all().map(Tensor::end).max();
        let mut order = Vec::new();
        // An insertion sort: the library's sort would add more code than the rest of this file.
        for n in 0..self.layers.len() {
            order.insert(order.partition_point(|&other| end(other) <= end(n)), n);
        }
        order
    }
}

impl<'a> NormWeights<'a> {
    /// All of its tensors.
    pub fn all(&self) -> impl Iterator<Item = &Tensor<'a>> {
        [&self.scale].into_iter().chain(&self.bias)
    }
}

impl<'a> ExpertWeights<'a> {
    fn all(&self) -> impl Iterator<Item = &Tensor<'a>> {
        [&self.w1, &self.w2, &self.w3].into_iter().chain(self.bias.iter().flatten())
    }
}

impl<'a> LayerWeights<'a> {
    /// All of its tensors.
    pub fn all(&self) -> impl Iterator<Item = &Tensor<'a>> {
        let norms = self.mixer_norm.all().chain(self.moe_norm.all());
        let matrices = self.matrices.iter().flat_map(|matrix| matrix.tensors.iter().chain(&matrix.bias));
        let vectors = self.vectors.iter().map(|(_, vector)| vector);
        let ffn = &self.ffn;
        let experts = ffn.experts.iter().chain(&ffn.shared).flat_map(ExpertWeights::all);
        let routers = ffn.routers().into_iter().chain(&ffn.bias).chain(&ffn.router_bias).chain(&ffn.expert_scale);
        let routers = routers.chain(&ffn.shared_gate);
        norms.chain(matrices).chain(vectors).chain(routers).chain(experts)
    }
}
