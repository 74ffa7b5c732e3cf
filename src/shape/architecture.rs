//! What a model computes, without the name of any family.

use super::cost::{Cost, Part};
use super::gate::{Gate, GateKind, GroupLimit, GroupScore};
use crate::error::{Error, Result};

/// A decoder-only transformer: embeddings, layers, a last RMSNorm, the output projection.
#[derive(Clone, Debug, PartialEq)]
pub struct Architecture {
    /// Size of the vocabulary, `V`.
    pub vocabulary: usize,
    /// Width of the residual stream, `D`.
    pub hidden: usize,
    /// Longest text in tokens.
    pub context: usize,
    /// Added to the mean square in every RMSNorm.
    pub norm_eps: f32,
    /// The output projection is the embedding table.
    pub tied: bool,
    /// The layers, in order.
    pub layers: Vec<LayerShape>,
}

/// One layer: `x += attention(norm(x)); x += moe(norm(x))`.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerShape {
    /// Its attention.
    pub attention: AttentionShape,
    /// Its experts.
    pub moe: MoeShape,
}

/// Causal attention with rotary positions and grouped key/value heads.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionShape {
    /// Query heads.
    pub heads: usize,
    /// Key/value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of a head; even.
    pub head_dim: usize,
    /// Base of the rotary frequencies.
    pub rope_theta: f32,
    /// A token sees itself and at most `window - 1` tokens before it.
    pub window: Option<usize>,
}

impl AttentionShape {
    /// Rows of the stacked query, key and value projection.
    pub fn qkv_rows(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }

    /// Width of all query heads together.
    pub fn query_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// The first position that the token at `position` sees.
    pub fn first_seen(&self, position: usize) -> usize {
        self.window.map_or(0, |window| (position + 1).saturating_sub(window))
    }
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
    /// How the router's logits become a choice; none for a dense FFN.
    pub gate: Option<Gate>,
    /// Whether the gate adds a bias to an expert's score.
    pub bias: bool,
    /// Whether the router's product has a bias, so that it is a part of the logits.
    pub router_bias: bool,
    /// Whether each expert's weight is multiplied by a number of its own.
    pub expert_scale: bool,
    /// Whether the router has learned noise for each expert, which only a policy switches on.
    pub noise: bool,
    /// Experts besides, of the same shape, that every token uses with weight 1. They are numbered from E on.
    pub shared: usize,
    /// An expert's capacity over that of an even load; none for no limit.
    pub capacity_factor: Option<f32>,
}

impl MoeShape {
    /// Experts that are chosen among as Mixtral does.
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

    /// Numbers of an expert in the gate, besides the router's rows.
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
    /// Refuses shapes that cannot be computed.
    pub fn checked(self) -> Result<Self> {
        let wrong = |why: String| Err(Error::model("config.json", why));
        if self.vocabulary == 0 || self.hidden == 0 || self.context == 0 || self.layers.is_empty() {
            return wrong(
                "vocab_size, hidden_size, max_position_embeddings and num_hidden_layers must be at least 1".into(),
            );
        }
        for layer in &self.layers {
            let AttentionShape { heads, kv_heads, head_dim, .. } = layer.attention;
            if kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
                return wrong(format!("num_key_value_heads ({kv_heads}) must divide num_attention_heads ({heads})"));
            }
            if head_dim == 0 || !head_dim.is_multiple_of(2) {
                return wrong(format!("head_dim is {head_dim}; rotary positions need an even number above 0"));
            }
            if layer.attention.window == Some(0) {
                return wrong("sliding_window is 0; a token must at least see itself (null means no window)".into());
            }
            let MoeShape { experts, top_k, intermediate, gate, capacity_factor, .. } = layer.moe;
            if top_k == 0 || top_k > experts {
                return wrong(format!(
                    "num_experts_per_tok is {top_k}; it must be between 1 and num_local_experts ({experts})"
                ));
            }
            if intermediate == 0 {
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

    /// Where the parameters are.
    pub fn cost(&self) -> Cost {
        let (v, d) = (self.vocabulary as u64, self.hidden as u64);
        let same = |n: u64| Part { total: n, active: n };
        let mut cost = Cost { lm_head: same(v * d), norms: same(d), ..Cost::default() };
        if !self.tied {
            cost.embeddings = same(v * d);
        }
        for layer in &self.layers {
            let a = &layer.attention;
            let attention = d * (a.qkv_rows() + a.query_width()) as u64;
            let expert = 3 * d * layer.moe.intermediate as u64;
            add(&mut cost.attention, attention, attention);
            let router = d * layer.moe.router_rows() as u64 + (layer.moe.gate_vectors() * layer.moe.experts) as u64;
            add(&mut cost.routers, router, router);
            add(&mut cost.experts, expert * layer.moe.all_experts() as u64, expert * layer.moe.choices() as u64);
            add(&mut cost.norms, 2 * d, 2 * d);
        }
        cost
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
        let attention = AttentionShape { heads: 32, kv_heads: 8, head_dim: 128, rope_theta: 1e6, window: None };
        let moe = MoeShape::mixtral(8, 2, 14336);
        let mixtral = Architecture {
            vocabulary: 32000,
            hidden: 4096,
            context: 32768,
            norm_eps: 1e-5,
            tied: false,
            layers: vec![LayerShape { attention, moe }; 32],
        };
        assert_eq!(mixtral.cost().parameters(), 46_702_792_704);
        assert_eq!(mixtral.cost().active_parameters(), 12_879_925_248);
    }
}
