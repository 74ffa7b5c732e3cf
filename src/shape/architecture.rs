//! The architecture of a model, independent of its family.

use super::attention::AttentionShape;
use super::cost::{Cost, Part};
use super::gate::{Gate, GateKind, GroupLimit, GroupScore};
use crate::error::{Error, Result};

/// A decoder-only transformer: embeddings, layers, a last norm, the output projection.
#[derive(Clone, Debug, PartialEq)]
pub struct Architecture {
    /// Size of the vocabulary, `V`.
    pub vocabulary: usize,
    /// Width of the residual stream, `D`.
    pub hidden: usize,
    /// Longest text in tokens.
    pub context: usize,
    /// Added to the mean square in every norm.
    pub norm_eps: f32,
    /// Whether norms over the residual stream are LayerNorms with a bias; they are RMSNorms otherwise.
    pub layer_norm: bool,
    /// The factor of the embeddings.
    pub embedding_scale: f32,
    /// The factor of the logits.
    pub logit_scale: f32,
    /// Whether the output projection has a bias.
    pub head_bias: bool,
    /// The output projection is the embedding table.
    pub tied: bool,
    /// The layers, in order.
    pub layers: Vec<LayerShape>,
}

/// One layer: `x += m * mixer(norm(x)); x += m * moe(norm(x))`.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerShape {
    /// The part of a layer that mixes information between tokens.
    pub mixer: Mixer,
    /// Its experts.
    pub moe: MoeShape,
    /// `m`, the factor of what is added to the residual stream.
    pub residual: f32,
    /// Whether the outputs of mixer and experts are normed (RMSNorm) before they are added to the residual stream.
    pub post_norms: bool,
}

/// The part of a layer that mixes information between tokens.
#[derive(Clone, Debug, PartialEq)]
pub enum Mixer {
    /// Attention.
    Attention(AttentionShape),
    /// A gated convolution over the last few positions.
    Convolution(ConvolutionShape),
    /// A state-space mixer.
    StateSpace(StateSpaceShape),
}

/// A state-space mixer (Dao, Gu 2024, "Mamba-2"): a product of the residual stream gives a gate, inputs and a step
/// size per head; a causal convolution over the inputs gives `x`, `b` and `c`; each head keeps a state
/// `h = exp(-step * decay) * h + step * x b^T` and gives `h c + skip * x`, which the gate multiplies before a norm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateSpaceShape {
    /// Heads.
    pub heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Numbers that a head keeps for each number of its width.
    pub state: usize,
    /// The number of positions that the convolution reads, including the token's own.
    pub positions: usize,
    /// Whether the convolution has a bias.
    pub kernel_bias: bool,
    /// Whether both products have biases.
    pub bias: bool,
}

impl StateSpaceShape {
    /// Width of all heads together.
    pub fn inner(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Channels of the convolution: `x`, `b` and `c`.
    pub fn channels(&self) -> usize {
        self.inner() + 2 * self.state
    }

    /// Rows of the first product: gate, channels, step sizes.
    pub fn rows(&self) -> usize {
        self.inner() + self.channels() + self.heads
    }

    /// Numbers that it keeps between two steps: those of the heads, and those of the convolution.
    pub fn kept(&self) -> (usize, usize) {
        (self.inner().saturating_mul(self.state), (self.positions - 1).saturating_mul(self.channels()))
    }
}

/// A gated causal convolution, each dimension by itself: of the three parts `b`, `c`, `x` of a product of the
/// residual stream it gives `c * sum_j kernel_j * (b * x at the position j before)` (Liquid AI's LFM2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvolutionShape {
    /// The number of positions that it reads, including the token's own.
    pub positions: usize,
    /// Whether the convolution and both products have biases.
    pub bias: bool,
}

impl LayerShape {
    /// A layer with `m = 1`.
    pub fn new(attention: AttentionShape, moe: MoeShape) -> Self {
        Self { mixer: Mixer::Attention(attention), moe, residual: 1.0, post_norms: false }
    }

    /// Its attention; none where it has another mixer.
    pub fn attention(&self) -> Option<&AttentionShape> {
        match &self.mixer {
            Mixer::Attention(attention) => Some(attention),
            Mixer::Convolution(_) | Mixer::StateSpace(_) => None,
        }
    }

    /// The mutable form of [`Self::attention`].
    pub fn attention_mut(&mut self) -> Option<&mut AttentionShape> {
        match &mut self.mixer {
            Mixer::Attention(attention) => Some(attention),
            Mixer::Convolution(_) | Mixer::StateSpace(_) => None,
        }
    }
}

/// The activation: how an expert's two first products, gate and up, are combined into one row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// `silu(gate) * up` (Shazeer 2020).
    SwiGlu,
    /// `(up + 1) * gate * sigmoid(alpha * gate)`, with gate at most `limit` and up between `-limit` and `limit`
    /// (OpenAI's gpt-oss).
    Clamped {
        /// Gain of the sigmoid.
        alpha: f32,
        /// The bound at which gate and up are clamped.
        limit: f32,
    },
}

/// An expert of its own width that every token uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedShape {
    /// Its inner width.
    pub intermediate: usize,
    /// Whether its output is multiplied by a sigmoid of a product of the token's row; by 1 otherwise.
    pub gated: bool,
    /// The number of experts that the config counts it as.
    pub count: usize,
}

/// SwiGLU experts: `y = sum_i weight_i * w2_i(silu(w1_i x) * w3_i x)`. A dense FFN is one expert that every
/// token uses with weight 1 and no router.
#[derive(Clone, Debug, PartialEq)]
pub struct MoeShape {
    /// Experts, `E`.
    pub experts: usize,
    /// Experts that a token uses, `k`.
    pub top_k: usize,
    /// Width inside an expert, `F`.
    pub intermediate: usize,
    /// The gate, which chooses experts by the router's logits; none for a dense FFN.
    pub gate: Option<Gate>,
    /// Whether the gate adds a bias to an expert's score.
    pub bias: bool,
    /// Whether the router's product has a bias, so that it is a part of the logits.
    pub router_bias: bool,
    /// Whether each expert's weight is multiplied by a learned factor.
    pub expert_scale: bool,
    /// Whether the router has learned noise for each expert, which only a policy switches on.
    pub noise: bool,
    /// Experts besides, of the same shape, that every token uses with weight 1. They are numbered from E on.
    pub shared: usize,
    /// An expert's capacity over that of an even load; none for no limit.
    pub capacity_factor: Option<f32>,
    /// The activation between an expert's products.
    pub activation: Activation,
    /// Whether an expert's products have biases.
    pub expert_bias: bool,
    /// An expert of another width that every token uses besides.
    pub shared_ffn: Option<SharedShape>,
}

impl MoeShape {
    /// Experts with Mixtral's gate.
    pub fn mixtral(experts: usize, top_k: usize, intermediate: usize) -> Self {
        Self {
            experts,
            top_k,
            intermediate,
            gate: Some(Gate::new(GateKind::SoftmaxTopK)),
            bias: false,
            router_bias: false,
            expert_scale: false,
            noise: false,
            shared: 0,
            capacity_factor: None,
            activation: Activation::SwiGlu,
            expert_bias: false,
            shared_ffn: None,
        }
    }

    /// A dense FFN.
    pub fn dense(intermediate: usize) -> Self {
        Self { gate: None, ..Self::mixtral(1, 1, intermediate) }
    }

    /// Routed and shared experts.
    pub fn all_experts(&self) -> usize {
        self.experts + self.shared
    }

    /// Experts that a token uses, routed and shared.
    pub fn choices(&self) -> usize {
        self.top_k + self.shared
    }

    /// Router logits of a token: one an expert, then one a group, then one an expert where there is learned noise.
    pub fn router_rows(&self) -> usize {
        let noise = if self.noise { self.experts } else { 0 };
        self.gate.map_or(0, |gate| self.experts + gate.groups + noise)
    }

    /// The gate's parameters per expert, not counting the router's rows.
    pub fn gate_vectors(&self) -> usize {
        [self.bias, self.router_bias, self.expert_scale].into_iter().filter(|has| *has).count()
    }

    /// The most tokens of a text of `context` tokens that an expert takes.
    pub fn capacity(&self, context: usize) -> Option<usize> {
        let even = (context * self.top_k) as f32 / self.experts as f32;
        // More than all assignments is no limit; a huge factor must not exceed what a GPU counts to.
        self.capacity_factor.map(|factor| ((factor * even).ceil() as usize).min(context * self.top_k))
    }
}

impl Architecture {
    /// Returns an error for shapes that cannot be computed.
    pub fn checked(self) -> Result<Self> {
        let wrong = |why: String| Err(Error::model("config.json", why));
        if self.vocabulary == 0 || self.hidden == 0 || self.context == 0 || self.layers.is_empty() {
            return wrong(
                "vocab_size, hidden_size, max_position_embeddings and num_hidden_layers must be at least 1".into(),
            );
        }
        for layer in &self.layers {
            match &layer.mixer {
                Mixer::Attention(attention) => attention.check()?,
                Mixer::Convolution(ConvolutionShape { positions, .. }) if *positions == 0 => {
                    return wrong("conv_L_cache must be at least 1".into());
                }
                Mixer::StateSpace(s) if [s.heads, s.head_dim, s.state, s.positions].contains(&0) => {
                    return wrong(
                        "mamba_n_heads, mamba_d_head, mamba_d_state and mamba_d_conv must be at least 1".into(),
                    );
                }
                Mixer::Convolution(_) | Mixer::StateSpace(_) => {}
            }
            let MoeShape { experts, top_k, intermediate, gate, capacity_factor, .. } = layer.moe;
            if top_k == 0 || top_k > experts {
                return wrong(format!(
                    "num_experts_per_tok is {top_k}; it must be between 1 and num_local_experts ({experts})"
                ));
            }
            if intermediate == 0 || layer.moe.shared_ffn.is_some_and(|shared| shared.intermediate == 0) {
                return wrong("intermediate_size must be at least 1".into());
            }
            if capacity_factor.is_some_and(|factor| !(factor > 0.0 && factor.is_finite())) {
                return wrong("router.capacity_factor must be a number above 0 (leave it out for no limit)".into());
            }
            if let Some(gate) = gate.filter(|gate| gate.kind == GateKind::Hierarchical) {
                check_groups(gate.groups, gate.groups_per_token, experts, top_k)?;
            }
            if let Some(limit) = gate.and_then(|gate| gate.group_limit) {
                check_group_limit(limit, experts, top_k)?;
            }
        }
        Ok(self)
    }

    /// The same with a context of at most 4,096 tokens where what its layers keep of a longer text would take more than
    /// 512 MiB.
    pub fn within_memory(self) -> Self {
        const ALWAYS: usize = 4096;
        const MOST: u64 = 512 << 20;
        let of_position = |layer: &LayerShape| match &layer.mixer {
            Mixer::Attention(s) => s.kv_heads * (s.head_dim + s.value_dim),
            Mixer::Convolution(_) => self.hidden,
            Mixer::StateSpace(_) => 0,
        };
        let numbers: u64 = self.layers.iter().map(|layer| of_position(layer) as u64).sum();
        let fit = MOST / (size_of::<f32>() as u64 * numbers).max(1);
        let context = self.context.min(ALWAYS.max(usize::try_from(fit).unwrap_or(usize::MAX)));
        Self { context, ..self }
    }

    /// Whether some layer keeps a state that cannot be cut to a shorter text.
    pub fn is_recurrent(&self) -> bool {
        self.layers.iter().any(|layer| matches!(layer.mixer, Mixer::StateSpace(_)))
    }

    /// Counts the parameters by part.
    pub fn cost(&self) -> Cost {
        let (v, d) = (self.vocabulary as u64, self.hidden as u64);
        let same = |n: u64| Part { total: n, active: n };
        let norm = if self.layer_norm { 2 * d } else { d };
        let head = v * (d + u64::from(self.head_bias));
        let mut cost = Cost { lm_head: same(head), norms: same(norm), ..Cost::default() };
        if !self.tied {
            cost.embeddings = same(v * d);
        }
        for layer in &self.layers {
            let (mixer, norms) = match &layer.mixer {
                Mixer::Attention(attention) => attention.parameters(self.hidden),
                Mixer::Convolution(conv) => {
                    (d * (4 * d + conv.positions as u64) + if conv.bias { 5 * d } else { 0 }, 0)
                }
                Mixer::StateSpace(s) => state_space_parameters(s, d),
            };
            add(&mut cost.attention, mixer, mixer);
            let moe = &layer.moe;
            let biases = if moe.expert_bias { 2 * moe.intermediate as u64 + d } else { 0 };
            let expert = 3 * d * moe.intermediate as u64 + biases;
            let router = d * moe.router_rows() as u64 + (moe.gate_vectors() * moe.experts) as u64;
            add(&mut cost.routers, router, router);
            let shared = moe.shared_ffn.map_or(0, |s| d * (3 * s.intermediate as u64 + u64::from(s.gated)));
            let (all, used) = (expert * moe.all_experts() as u64, expert * moe.choices() as u64);
            add(&mut cost.experts, all + shared, used + shared);
            let norms = norms + if layer.post_norms { 4 * norm } else { 2 * norm };
            add(&mut cost.norms, norms, norms);
        }
        cost
    }
}

impl Default for Architecture {
    /// No layers, and all factors 1.
    fn default() -> Self {
        Self {
            vocabulary: 0,
            hidden: 0,
            context: 0,
            norm_eps: 1e-5,
            layer_norm: false,
            embedding_scale: 1.0,
            logit_scale: 1.0,
            head_bias: false,
            tied: false,
            layers: Vec::new(),
        }
    }
}

fn check_groups(groups: usize, per_token: usize, experts: usize, top_k: usize) -> Result<()> {
    let why = if groups == 0 || !experts.is_multiple_of(groups) {
        format!("router.groups is {groups}; it must divide num_local_experts ({experts})")
    } else if per_token == 0 || per_token > groups || !top_k.is_multiple_of(per_token) {
        format!(
            "router.groups_per_token is {per_token}; it must divide num_experts_per_tok ({top_k}) and be at most \
             router.groups ({groups})"
        )
    } else if top_k / per_token > experts / groups {
        format!("a token would use {} experts of a group, and a group has {}", top_k / per_token, experts / groups)
    } else {
        return Ok(());
    };
    Err(Error::model("config.json", why))
}

fn check_group_limit(limit: GroupLimit, experts: usize, top_k: usize) -> Result<()> {
    let GroupLimit { groups, per_token, score } = limit;
    let why = if groups == 0 || !experts.is_multiple_of(groups) {
        format!("the gate has {groups} groups; they must divide the {experts} experts")
    } else if per_token == 0 || per_token > groups {
        format!("a token uses {per_token} of the gate's {groups} groups; it must be 1 to {groups}")
    } else if score == GroupScore::TwoBest && experts / groups < 2 {
        format!("a group has {} experts; its score is the sum of two", experts / groups)
    } else if top_k > per_token * (experts / groups) {
        let room = per_token * (experts / groups);
        format!("num_experts_per_tok is {top_k}, and the groups that a token uses have {room} experts")
    } else {
        return Ok(());
    };
    Err(Error::model("config.json", why))
}

/// Parameters of a state-space mixer, and scales of its norm.
fn state_space_parameters(s: &StateSpaceShape, d: u64) -> (u64, u64) {
    let (inner, channels) = (s.inner() as u64, s.channels() as u64);
    let products = d * (s.rows() as u64 + inner) + if s.bias { s.rows() as u64 + d } else { 0 };
    let kernel = channels * (s.positions as u64 + u64::from(s.kernel_bias));
    (products + kernel + 3 * s.heads as u64, inner)
}

fn add(part: &mut Part, total: u64, active: u64) {
    part.total += total;
    part.active += active;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mixtral 8x7B has 46.7 B parameters (not 8 x 7 = 56 B) and uses 12.9 B a token (not 14 B).
    #[test]
    fn mixtral_8x7b_arithmetic() {
        let attention = AttentionShape::new(32, 8, 128, 1e6);
        let moe = MoeShape::mixtral(8, 2, 14336);
        let mixtral = Architecture {
            vocabulary: 32000,
            hidden: 4096,
            context: 32768,
            layers: vec![LayerShape::new(attention, moe); 32],
            ..Architecture::default()
        };
        assert_eq!(mixtral.cost().parameters(), 46_702_792_704);
        assert_eq!(mixtral.cost().active_parameters(), 12_879_925_248);
    }
}
