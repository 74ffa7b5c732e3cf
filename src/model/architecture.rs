//! What a model computes, told without any family's name.

use super::info::{Cost, Part};
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

/// Routed SwiGLU experts: `y = sum_i weight_i * w2_i(silu(w1_i x) * w3_i x)`.
#[derive(Clone, Debug, PartialEq)]
pub struct MoeShape {
    /// Experts, `E`.
    pub experts: usize,
    /// Experts that a token uses, `k`.
    pub top_k: usize,
    /// Width inside an expert, `F`.
    pub intermediate: usize,
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
            let MoeShape { experts, top_k, intermediate } = layer.moe;
            if top_k == 0 || top_k > experts {
                return wrong(format!(
                    "num_experts_per_tok is {top_k}; it must be between 1 and num_local_experts ({experts})"
                ));
            }
            if intermediate == 0 {
                return wrong("intermediate_size must be at least 1".into());
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
            add(&mut cost.routers, d * layer.moe.experts as u64, d * layer.moe.experts as u64);
            add(&mut cost.experts, expert * layer.moe.experts as u64, expert * layer.moe.top_k as u64);
            add(&mut cost.norms, 2 * d, 2 * d);
        }
        cost
    }
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
        let moe = MoeShape { experts: 8, top_k: 2, intermediate: 14336 };
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
