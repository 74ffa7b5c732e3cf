//! The sizes of a model, and the place of each parameter in one flat vector.
//!
//! The layout is Hugging Face's Mixtral with tied embeddings. Queries, keys and values are stored one after the other,
//! so that one product computes them together; W1 and W3 of an expert are too. A dense network is the case of one
//! expert.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::attention::AttentionShape;
use super::gate::{GateKind, GateShape};
use super::moe::ExpertShape;
use crate::random::normal;

/// The sizes of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelShape {
    /// The number of token ids.
    pub vocabulary: usize,
    /// Width of the residual stream.
    pub width: usize,
    /// Transformer blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// The intermediate size of an expert.
    pub ff: usize,
    /// Experts of a layer; 1 is a dense network.
    pub experts: usize,
    /// Experts that are selected for a token.
    pub top_k: usize,
    /// Experts that every token uses besides the selected ones; they have the same size.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub shared_experts: usize,
    /// Tokens a text may have.
    pub context: usize,
    /// Base of the rotary angles.
    pub rope_theta: f64,
    /// Added under the root of every norm.
    pub norm_eps: f32,
    /// How experts are chosen; as in Mixtral if it is left out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub router: GateKind,
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

fn is_default(kind: &GateKind) -> bool {
    *kind == GateKind::default()
}

impl ModelShape {
    /// Rejects impossible sizes: an error that names the first key at fault.
    pub fn check(&self) -> Result<(), String> {
        let positive = [
            ("vocabulary", self.vocabulary),
            ("width", self.width),
            ("layers", self.layers),
            ("heads", self.heads),
            ("kv_heads", self.kv_heads),
            ("ff", self.ff),
            ("experts", self.experts),
            ("top_k", self.top_k),
            ("context", self.context),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, n)| *n == 0) {
            return Err(format!("model.{name} is 0; it must be at least 1"));
        }
        let Self { width, heads, kv_heads, experts, top_k, vocabulary, .. } = *self;
        if top_k > experts {
            return Err(format!(
                "model.top_k is {top_k} but there are only {experts} experts; lower top_k or add experts"
            ));
        }
        if !width.is_multiple_of(heads) {
            return Err(format!("model.heads is {heads}, which does not divide model.width {width}"));
        }
        if !(width / heads).is_multiple_of(2) {
            return Err(format!("a head is {} wide, but rotary embedding needs an even width", width / heads));
        }
        if !heads.is_multiple_of(kv_heads) {
            return Err(format!("model.kv_heads is {kv_heads}, which does not divide model.heads {heads}"));
        }
        if vocabulary > usize::from(u16::MAX) || experts > usize::from(u16::MAX) {
            return Err("model.vocabulary and model.experts must be below 65536".into());
        }
        if experts == 1 && (self.router != GateKind::default() || self.shared_experts > 0) {
            return Err("model.experts is 1, a dense network, which has no router and no shared experts".into());
        }
        self.check_router()
    }

    fn check_router(&self) -> Result<(), String> {
        let Self { experts, top_k, .. } = *self;
        match self.router {
            GateKind::SoftmaxTopK => {}
            GateKind::TopKOfSoftmax { capacity_factor } => {
                if let Some(factor) = capacity_factor.filter(|&f| !(f > 0.0 && f.is_finite())) {
                    return Err(format!("model.router.capacity_factor is {factor}; it must be above 0, or left out"));
                }
            }
            GateKind::NoisyTopK { importance_loss, load_loss } => {
                if top_k == experts {
                    return Err(format!(
                        "model.top_k is {top_k}, all experts; noisy-top-k needs at least one that is not selected"
                    ));
                }
                if importance_loss < 0.0 || load_loss < 0.0 {
                    return Err("a loss's factor must not be negative".into());
                }
            }
            GateKind::Hierarchical { groups, groups_per_token } => {
                if groups == 0 || !experts.is_multiple_of(groups) {
                    return Err(format!("model.router.groups is {groups}, which does not divide {experts} experts"));
                }
                if groups_per_token == 0 || groups_per_token > groups {
                    return Err(format!(
                        "model.router.groups_per_token is {groups_per_token}; it must be 1 to the {groups} groups"
                    ));
                }
                if !top_k.is_multiple_of(groups_per_token) || top_k / groups_per_token > experts / groups {
                    return Err(format!(
                        "model.top_k is {top_k}, which {groups_per_token} groups of {} experts cannot share evenly",
                        experts / groups
                    ));
                }
            }
            GateKind::SigmoidBias { bias_rate } => {
                if !(bias_rate > 0.0 && bias_rate.is_finite()) {
                    return Err(format!("model.router.bias_rate is {bias_rate}; it must be above 0"));
                }
            }
        }
        Ok(())
    }

    /// Width of one head.
    pub fn head_dim(&self) -> usize {
        self.width / self.heads
    }

    /// The attention's sizes.
    pub fn attention(&self) -> AttentionShape {
        AttentionShape { heads: self.heads, kv_heads: self.kv_heads, head_dim: self.head_dim() }
    }

    /// The gate's sizes.
    pub fn gate(&self) -> GateShape {
        let capacity = match self.router {
            GateKind::TopKOfSoftmax { capacity_factor } => capacity_factor,
            _ => None,
        };
        let share = (self.top_k * self.context) as f64 / self.experts as f64;
        GateShape {
            kind: self.router,
            experts: self.experts,
            top_k: self.top_k,
            shared: self.shared_experts,
            capacity: capacity.map(|factor| (factor * share).ceil() as usize),
        }
    }

    /// The experts' sizes.
    pub fn expert(&self) -> ExpertShape {
        ExpertShape { width: self.width, ff: self.ff }
    }

    /// Parameters that do not work on a token: those of experts that it does not use, and of the noise, which only
    /// training has.
    pub fn idle_parameters(&self) -> usize {
        let expert = self.expert().w13() + self.expert().w2();
        let noise = if matches!(self.router, GateKind::NoisyTopK { .. }) { self.experts * self.width } else { 0 };
        self.layers * ((self.experts - self.top_k) * expert + noise)
    }
}

/// Which of a model's parameters are trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trained {
    /// All.
    #[default]
    All,
    /// All but the experts.
    WithoutExperts,
    /// The routers alone.
    Routers,
    /// All but the routers, whose gradients are computed and not used.
    WithoutRouters,
}

impl Trained {
    /// Whether this parameter is one of them.
    pub fn covers(self, parameter: &Parameter) -> bool {
        match self {
            Self::All => true,
            Self::WithoutExperts => parameter.part != Part::Expert,
            Self::Routers => parameter.part == Part::Router,
            Self::WithoutRouters => parameter.part != Part::Router,
        }
    }
}

/// Which part of the network a parameter belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A router: its matrices and its bias.
    Router,
    /// An expert, a shared one too.
    Expert,
    /// Anything else: embedding, attention, norms.
    Rest,
}

/// How the optimiser treats a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A hidden matrix: Muon.
    Hidden,
    /// Embedding or router: AdamW.
    Table,
    /// A norm's weight: AdamW without decay.
    Gain,
    /// A gate's bias: it has no gradient and follows the load.
    Bias,
}

/// One named parameter: `rows` x `cols` at `range` of the flat vector, row-major.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Hugging Face's name.
    pub name: String,
    /// Rows; 1 for a vector.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// Its place in the flat vector.
    pub range: Range<usize>,
    /// How the optimiser treats it.
    pub kind: Kind,
    /// Where it belongs.
    pub part: Part,
    /// Standard deviation of the initial values; the weight of a norm starts at 1.
    pub deviation: f64,
}

/// The places of one layer's parameters.
#[derive(Clone, Debug)]
pub struct LayerLayout {
    /// Weight of the norm before attention.
    pub attention_norm: Range<usize>,
    /// Query, key and value projections, one after the other.
    pub qkv: Range<usize>,
    /// Output projection.
    pub output: Range<usize>,
    /// Weight of the norm before the experts.
    pub expert_norm: Range<usize>,
    /// Router: experts x width, then the rows for the groups or for the noise.
    pub router: Range<usize>,
    /// The gate's bias, one for each expert; empty where the kind has none.
    pub bias: Range<usize>,
    /// W1 and W3 of all experts, the shared ones last.
    pub w13: Range<usize>,
    /// W2 of all experts, the shared ones last.
    pub w2: Range<usize>,
}

/// The places of all parameters.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Token embedding and output head, vocabulary x width.
    pub embedding: Range<usize>,
    /// The layers.
    pub layers: Vec<LayerLayout>,
    /// Weight of the last norm.
    pub final_norm: Range<usize>,
    /// Every named parameter, in order; together they cover `0..total`.
    pub parameters: Vec<Parameter>,
    /// Elements of the flat vector.
    pub total: usize,
}

impl Layout {
    /// The layout of a model of this shape.
    pub fn new(shape: &ModelShape) -> Self {
        let mut list = ParameterList::default();
        let d = shape.width;
        let attention = shape.attention();
        // Outputs into the residual stream start smaller, so that its variance does not grow with depth.
        let depth = 1.0 / (2.0 * shape.layers as f64).sqrt();
        let into = 0.5 / (d as f64).sqrt();
        let embedding = list.add("model.embed_tokens.weight".into(), shape.vocabulary, d, Kind::Table, 0.02);
        let mut layers = Vec::new();
        for n in 0..shape.layers {
            let name = |rest: &str| format!("model.layers.{n}.{rest}.weight");
            let attention_norm = list.add(name("input_layernorm"), 1, d, Kind::Gain, 0.0);
            let q = list.add(name("self_attn.q_proj"), attention.q_width(), d, Kind::Hidden, into);
            list.add(name("self_attn.k_proj"), attention.kv_width(), d, Kind::Hidden, into);
            let v = list.add(name("self_attn.v_proj"), attention.kv_width(), d, Kind::Hidden, into);
            let output = list.add(name("self_attn.o_proj"), d, attention.q_width(), Kind::Hidden, into * depth);
            let expert_norm = list.add(name("post_attention_layernorm"), 1, d, Kind::Gain, 0.0);
            let (router, bias) = add_router(&mut list, shape, n);
            let expert = |e: usize, w: &str| match e.checked_sub(shape.experts) {
                None => name(&format!("block_sparse_moe.experts.{e}.{w}")),
                Some(shared) => name(&format!("block_sparse_moe.shared_experts.{shared}.{w}")),
            };
            let all = shape.experts + shape.shared_experts;
            let mut w13 = list.total()..list.total();
            for e in 0..all {
                list.add(expert(e, "w1"), shape.ff, d, Kind::Hidden, into);
                w13.end = list.add(expert(e, "w3"), shape.ff, d, Kind::Hidden, into).end;
            }
            let mut w2 = w13.end..w13.end;
            for e in 0..all {
                let deviation = 0.5 / (shape.ff as f64).sqrt() * depth;
                w2.end = list.add(expert(e, "w2"), d, shape.ff, Kind::Hidden, deviation).end;
            }
            let qkv = q.start..v.end;
            layers.push(LayerLayout { attention_norm, qkv, output, expert_norm, router, bias, w13, w2 });
        }
        let final_norm = list.add("model.norm.weight".into(), 1, d, Kind::Gain, 0.0);
        let total = list.total();
        Self { embedding, layers, final_norm, parameters: list.parameters, total }
    }

    /// The parameters before the first step.
    pub fn initial(&self, seed: u64) -> Vec<f32> {
        let mut values = vec![1.0; self.total];
        for p in self.parameters.iter().filter(|p| p.kind != Kind::Gain) {
            for i in p.range.clone() {
                values[i] = (p.deviation * normal(seed, i as u64)) as f32;
            }
        }
        values
    }
}

/// Adds the router of layer `n`, whose rows are contiguous, and its bias.
fn add_router(list: &mut ParameterList, shape: &ModelShape, n: usize) -> (Range<usize>, Range<usize>) {
    let (d, experts) = (shape.width, shape.experts);
    let name = |rest: &str| format!("model.layers.{n}.block_sparse_moe.{rest}");
    // Shazeer et al. 2017, appendix A: all zeros, so that at first the noise alone chooses, and evenly.
    let deviation = if matches!(shape.router, GateKind::NoisyTopK { .. }) { 0.0 } else { 0.02 };
    let mut router = list.add(name("gate.weight"), experts, d, Kind::Table, deviation);
    match shape.router {
        GateKind::NoisyTopK { .. } => router.end = list.add(name("noise.weight"), experts, d, Kind::Table, 0.0).end,
        GateKind::Hierarchical { groups, .. } => {
            router.end = list.add(name("group_gate.weight"), groups, d, Kind::Table, 0.02).end;
        }
        _ => {}
    }
    let bias = match shape.router {
        GateKind::SigmoidBias { .. } => list.add(name("gate.bias"), 1, experts, Kind::Bias, 0.0),
        _ => router.end..router.end,
    };
    (router, bias)
}

#[derive(Default)]
struct ParameterList {
    parameters: Vec<Parameter>,
}

impl ParameterList {
    fn total(&self) -> usize {
        self.parameters.last().map_or(0, |p| p.range.end)
    }

    fn add(&mut self, name: String, rows: usize, cols: usize, kind: Kind, deviation: f64) -> Range<usize> {
        let range = self.total()..self.total() + rows * cols;
        let part = match name.split_once("block_sparse_moe.") {
            None => Part::Rest,
            Some((_, rest)) if rest.contains("experts.") => Part::Expert,
            Some(_) => Part::Router,
        };
        self.parameters.push(Parameter { name, rows, cols, range: range.clone(), kind, part, deviation });
        range
    }
}
