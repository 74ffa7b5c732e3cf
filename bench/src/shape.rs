//! The models of the race: Mixtral's architecture with seeded random weights, in two sizes.

/// A Mixtral shape.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// The model's name, which is its directory too.
    pub name: &'static str,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Transformer blocks.
    pub layers: usize,
    /// Attention heads, each with its own keys and values.
    pub heads: usize,
    /// The intermediate size of an expert.
    pub ff: usize,
    /// Experts of a layer.
    pub experts: usize,
    /// Experts that a token uses.
    pub top_k: usize,
    /// Number of token ids.
    pub vocabulary: usize,
    /// The most tokens of a text.
    pub context: usize,
}

/// The size of the models that ship: 3.9 M parameters.
pub const S: Shape = Shape {
    name: "S",
    hidden: 128,
    layers: 4,
    heads: 4,
    ff: 256,
    experts: 8,
    top_k: 2,
    vocabulary: 2048,
    context: 1024,
};

/// The model that ships.
pub const MAIN: Shape = Shape { name: "main", context: 512, ..S };

/// A model too large for the caches, so that decoding is limited by memory bandwidth: 117 M parameters.
pub const M: Shape = Shape {
    name: "M",
    hidden: 512,
    layers: 8,
    heads: 8,
    ff: 1024,
    experts: 8,
    top_k: 2,
    vocabulary: 8192,
    context: 1024,
};

/// Two layers of M.
pub const FEW: Shape = Shape { name: "8-experts", layers: 2, ..M };

/// The same with 64 experts; the work for a token is the same.
pub const MANY: Shape = Shape { name: "64-experts", experts: 64, ..FEW };

/// Epsilon of every RMS norm.
pub const EPSILON: f32 = 1e-5;
/// Base of the rotary embedding.
pub const ROPE_THETA: f32 = 10_000.0;

impl Shape {
    /// Width of a head.
    pub fn head_dim(&self) -> usize {
        self.hidden / self.heads
    }

    /// Numbers that decoding one token reads: all but the other rows of the embedding and the experts not selected.
    pub fn active_parameters(&self) -> usize {
        self.hidden + self.layers * self.active_parameters_of_a_layer() + self.hidden + self.vocabulary * self.hidden
    }

    /// Multiply-adds for each token of a prompt of `tokens`: the products with weights, the two of attention, and a
    /// share of the logits after the last token.
    pub fn prefill_multiply_adds(&self, tokens: usize) -> usize {
        // A token attends to half the text on average.
        let attention = 2 * self.hidden * tokens / 2;
        self.layers * (self.active_parameters_of_a_layer() + attention) + self.vocabulary * self.hidden / tokens
    }

    fn active_parameters_of_a_layer(&self) -> usize {
        let attention = 4 * self.hidden * self.hidden;
        let experts = self.experts * self.hidden + self.top_k * 3 * self.hidden * self.ff;
        attention + experts + 2 * self.hidden
    }
}
