//! The shape of an attention layer.

use super::rope::{Rope, Scaling};
use crate::error::{Error, Result};

/// Causal attention with grouped key/value heads.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionShape {
    /// Query heads.
    pub heads: usize,
    /// Key/value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of a head of queries and keys.
    pub head_dim: usize,
    /// Width of a head of values.
    pub value_dim: usize,
    /// Rotary positions; none for attention without positions.
    pub rope: Option<Rope>,
    /// A token attends to itself and at most `window - 1` tokens before it.
    pub window: Option<usize>,
    /// The factor of the scores `q . k`; none for `1 / sqrt(head_dim)`.
    pub scale: Option<f32>,
    /// Whether queries, keys and values have biases.
    pub bias: bool,
    /// Whether the output projection has a bias.
    pub output_bias: bool,
    /// Whether each head has an attention sink: one more logit in the softmax, which belongs to no position.
    pub sinks: bool,
    /// How queries and keys are normed, before their rotation.
    pub norm: Option<HeadNorm>,
    /// Whether that norm comes after the rotation.
    pub norm_last: bool,
    /// Whether the output is multiplied by the sigmoids of a product of the residual stream.
    pub gated: bool,
    /// The narrow rows of latent attention; none where queries, keys and values come from the residual stream.
    pub latent: Option<LatentShape>,
}

/// How queries and keys are normed (RMSNorm with a scale).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadNorm {
    /// Each head by itself.
    Head,
    /// All heads of a token together.
    Row,
}

/// Latent attention (DeepSeek-AI 2024, "DeepSeek-V2", section 2.1): keys and values are products of a narrow row, and
/// all heads share one rotated part of the keys.
///
/// The cache has the narrow row and the rotated part instead of the keys and values of all heads: `q . (K c)` is
/// `(K^T q) . c`, and `sum w (V c)` is `V (sum w c)`. The shape of the attention itself is therefore that of one
/// key/value head whose keys have `rank + shared` numbers and whose values are their first `rank`.
#[derive(Clone, Debug, PartialEq)]
pub struct LatentShape {
    /// Width of the row that queries come from; none where they come from the residual stream.
    pub query_rank: Option<usize>,
    /// Width of the row that keys and values come from.
    pub rank: usize,
    /// The number of a key's last dimensions that all heads share; only these are rotated.
    pub shared: usize,
    /// The number of a key's other dimensions.
    pub own: usize,
    /// Width of a head of values.
    pub value_dim: usize,
    /// Added to the mean square in the norms of the narrow rows.
    pub eps: f32,
}

impl AttentionShape {
    /// Plain attention: rotary positions over whole heads, no window, no biases.
    pub const fn new(heads: usize, kv_heads: usize, head_dim: usize, theta: f32) -> Self {
        Self {
            heads,
            kv_heads,
            head_dim,
            value_dim: head_dim,
            rope: Some(Rope::new(theta, head_dim)),
            window: None,
            scale: None,
            bias: false,
            output_bias: false,
            sinks: false,
            norm: None,
            norm_last: false,
            gated: false,
            latent: None,
        }
    }

    /// Rows of the stacked query, key and value projection.
    pub fn qkv_rows(&self) -> usize {
        (self.heads + self.kv_heads) * self.head_dim + self.kv_heads * self.value_dim
    }

    /// Width of all query heads together.
    pub fn query_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of the output of all heads together.
    pub fn output_width(&self) -> usize {
        self.heads * self.value_dim
    }

    /// Width of what the output projection reads.
    pub fn projected_width(&self) -> usize {
        self.latent.as_ref().map_or(self.output_width(), |latent| self.heads * latent.value_dim)
    }

    /// The factor of the scores `q . k`.
    pub fn scale(&self) -> f32 {
        self.scale.unwrap_or(1.0 / (self.head_dim as f32).sqrt())
    }

    /// The first position that the token at `position` attends to.
    pub fn first_seen(&self, position: usize) -> usize {
        self.window.map_or(0, |window| (position + 1).saturating_sub(window))
    }

    /// Whether whole heads are rotated by halves, as in Llama.
    pub fn turns_whole_heads(&self) -> bool {
        self.rope.as_ref().is_some_and(|rope| rope.dim == self.head_dim && !rope.interleaved)
    }

    /// The number of its parameters, and how many of them are scales of norms.
    pub fn parameters(&self, hidden: usize) -> (u64, u64) {
        let (d, output) = (hidden as u64, self.projected_width() as u64);
        let mut matrices =
            output * d + if self.output_bias { d } else { 0 } + if self.sinks { self.heads as u64 } else { 0 };
        if self.gated {
            matrices += output * d;
        }
        let mut norms = match self.norm {
            None => 0,
            Some(HeadNorm::Head) => 2 * self.head_dim,
            Some(HeadNorm::Row) => (self.heads + self.kv_heads) * self.head_dim,
        } as u64;
        match &self.latent {
            None => matrices += self.qkv_rows() as u64 * (d + u64::from(self.bias)),
            Some(latent) => {
                let (query, rank) = ((self.heads * (latent.own + latent.shared)) as u64, latent.rank as u64);
                let (common, values) = (latent.shared as u64, self.heads * latent.own);
                matrices += match latent.query_rank {
                    Some(query_rank) => query_rank as u64 * (d + query),
                    None => query * d,
                };
                matrices += (rank + common) * d + rank * (values as u64 + output);
                norms += rank + latent.query_rank.unwrap_or(0) as u64;
            }
        }
        (matrices, norms)
    }

    /// Returns an error for shapes that cannot be computed.
    pub(super) fn check(&self) -> Result<()> {
        let wrong = |why: String| Err(Error::model("config.json", why));
        let Self { heads, kv_heads, head_dim, .. } = *self;
        if kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
            return wrong(format!("num_key_value_heads ({kv_heads}) must divide num_attention_heads ({heads})"));
        }
        if head_dim == 0 || (!head_dim.is_multiple_of(2) && self.latent.is_none()) {
            return wrong(format!("head_dim is {head_dim}; rotary positions need an even number above 0"));
        }
        if self.value_dim == 0 {
            return wrong("v_head_dim must be at least 1".into());
        }
        if let Some(rope) = self.rope.as_ref().filter(|r| !r.dim.is_multiple_of(2) || r.first + r.dim > head_dim) {
            let dim = rope.dim;
            return wrong(format!("{dim} dimensions of a head turn; that must be an even number up to {head_dim}"));
        }
        if let Some(Rope { dim, scaling: Scaling::Factors { factors, .. }, .. }) = &self.rope
            && factors.len() != dim / 2
        {
            let (pairs, count) = (dim / 2, factors.len());
            return wrong(format!("{pairs} pairs of dimensions turn, and there are {count} factors for them"));
        }
        if self.window == Some(0) {
            return wrong("sliding_window is 0; a token must at least see itself (null means no window)".into());
        }
        Ok(())
    }
}
