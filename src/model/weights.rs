//! Views of a checkpoint's tensors by what they do, the same for every family.

use super::tensors::Tensor;

/// Weights of one expert; see [`crate::shape::MoeShape`].
#[derive(Clone)]
pub struct ExpertWeights<'a> {
    /// Gate projection, `[F, D]`.
    pub w1: Tensor<'a>,
    /// Down projection, `[D, F]`.
    pub w2: Tensor<'a>,
    /// Up projection, `[F, D]`.
    pub w3: Tensor<'a>,
}

/// Weights of one layer.
#[derive(Clone)]
pub struct LayerWeights<'a> {
    /// Scale of the norm before attention, `[D]`.
    pub attention_norm: Tensor<'a>,
    /// Query, key and value projections, each `[heads * head_dim, D]`.
    pub qkv: [Tensor<'a>; 3],
    /// Output projection, `[D, heads * head_dim]`.
    pub output: Tensor<'a>,
    /// Scale of the norm before the experts, `[D]`.
    pub moe_norm: Tensor<'a>,
    /// What follows attention.
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
    /// What the gate adds to each expert's score, `[E]`.
    pub bias: Option<Tensor<'a>>,
    /// The bias of the router's product, `[E]`.
    pub router_bias: Option<Tensor<'a>>,
    /// What each expert's weight is multiplied by, `[E]`.
    pub expert_scale: Option<Tensor<'a>>,
    /// The routed experts, then the shared ones.
    pub experts: Vec<ExpertWeights<'a>>,
}

impl<'a> FfnWeights<'a> {
    /// A router alone, with its experts.
    pub fn routed(router: Tensor<'a>, experts: Vec<ExpertWeights<'a>>) -> Self {
        Self { router: Some(router), ..Self::dense(experts) }
    }

    /// No router: a dense FFN as the only expert.
    pub fn dense(experts: Vec<ExpertWeights<'a>>) -> Self {
        let (router, group_router, noise_router) = (None, None, None);
        Self { router, group_router, noise_router, bias: None, router_bias: None, expert_scale: None, experts }
    }

    /// What the router multiplies, one above the other: rows of the experts, of the groups, of the noise.
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
    /// Scale of the last norm, `[D]`.
    pub norm: Tensor<'a>,
    /// Output projection, `[V, D]`; none where it is tied to `embed`.
    pub lm_head: Option<Tensor<'a>>,
}

impl<'a> Weights<'a> {
    /// The output projection, tied or not.
    pub fn output(&self) -> &Tensor<'a> {
        self.lm_head.as_ref().unwrap_or(&self.embed)
    }

    /// Bytes of all of them, as they are stored.
    pub fn bytes(&self) -> usize {
        let layers = self.layers.iter().flat_map(LayerWeights::all);
        [&self.embed, &self.norm].into_iter().chain(&self.lm_head).chain(layers).map(Tensor::bytes).sum()
    }

    /// The layers' numbers, in the order in which the layers end in their files.
    pub fn order(&self) -> Vec<usize> {
        let end = |n: usize| self.layers[n].all().map(Tensor::end).max();
        let mut order = Vec::new();
        // The library's sort would be more code than all else here.
        for n in 0..self.layers.len() {
            order.insert(order.partition_point(|&other| end(other) <= end(n)), n);
        }
        order
    }
}

impl<'a> LayerWeights<'a> {
    fn all(&self) -> impl Iterator<Item = &Tensor<'a>> {
        let experts = self.ffn.experts.iter().flat_map(|e| [&e.w1, &e.w2, &e.w3]);
        let FfnWeights { bias, router_bias, expert_scale, .. } = &self.ffn;
        let routers = self.ffn.routers().into_iter().chain(bias).chain(router_bias).chain(expert_scale);
        [&self.attention_norm, &self.output, &self.moe_norm].into_iter().chain(routers).chain(&self.qkv).chain(experts)
    }
}
