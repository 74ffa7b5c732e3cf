//! The operations of a layer.

use crate::kernels::copy_heads::Heads;
use crate::shape::{MatrixName, VectorName};

/// Rows of numbers that the tokens of a step have, a row a token. The residual stream is not among them: operations
/// read and change it by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// The normed residual stream.
    Normed,
    /// What a mixer's first product gives: queries, keys and values, or the parts of a convolution.
    Projected,
    /// The narrow row of queries.
    QueryDown,
    /// The narrow row of keys and values.
    KeyDown,
    /// What is common to the keys of all heads.
    KeyShared,
    /// Keys and values of all heads.
    KeyValue,
    /// What a mixer gives, before its last product.
    Mixed,
}

impl Rows {
    /// How many kinds of rows there are.
    pub const COUNT: usize = 7;
}

/// One operation.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// Norms the residual stream.
    Norm(NormOf),
    /// Multiplies rows by a matrix.
    Product(Product),
    /// Norms parts of rows in place.
    NormRows(NormRows),
    /// Turns parts of rows by their positions and puts them where attention reads them.
    Copy(Copy),
    /// Queries, keys and values of the normed residual stream, turned, and put where attention reads them: a product
    /// and three copies in one.
    Qkv,
    /// Causal attention.
    Attend,
    /// A gated convolution over a few positions.
    Convolve,
    /// Router logits, and the experts chosen by them.
    Route,
    /// How much the shared expert counts for each token.
    WeighShared,
    /// Groups tokens by expert; one token needs none.
    Group(Ffn),
    /// The experts' products up to their inner width.
    Up(Ffn),
    /// And down again.
    Down(Ffn),
    /// Adds what the experts give to the residual stream.
    Combine(Combine),
}

/// Which norm over the residual stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormOf {
    /// The one before the experts.
    Experts,
    /// The one before the next layer's mixer, or before the output projection.
    Next,
}

/// Which experts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ffn {
    /// Those that the router chooses among, and shared ones of their shape; a dense FFN is one of them.
    Routed,
    /// The shared expert of its own width.
    Shared,
}

/// `to = from W^T + b`, or `x += m * (from W^T + b)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Product {
    /// The matrix; its bias is part of it.
    pub matrix: MatrixName,
    /// What is multiplied.
    pub from: Rows,
    /// Where the product goes.
    pub to: Target,
    /// Numbers of a row of `from`.
    pub inputs: usize,
    /// Numbers of a row of the product.
    pub outputs: usize,
}

/// Where a product goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// Into rows.
    Rows(Rows),
    /// Onto the residual stream, multiplied by this.
    Residual(f32),
}

/// RMSNorm of `count` parts of each row, in place, each of `width` numbers, from number `offset` on.
#[derive(Clone, Debug, PartialEq)]
pub struct NormRows {
    /// The rows.
    pub rows: Rows,
    /// Numbers of a row.
    pub row: usize,
    /// Where the first part begins.
    pub offset: usize,
    /// Parts.
    pub count: usize,
    /// Numbers of a part.
    pub width: usize,
    /// The scale, `[width]`.
    pub scale: VectorName,
    /// Added to the mean square.
    pub eps: f32,
}

/// Copies heads of rows to where attention reads them, and turns some of their numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Copy {
    /// The rows that are read.
    pub from: Rows,
    /// Which numbers of them.
    pub heads: Heads,
    /// Where they go.
    pub to: CacheSide,
    /// Where in a head they go.
    pub at: usize,
    /// Width of a head there.
    pub to_dim: usize,
}

/// What attention reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheSide {
    /// Queries of this step.
    Queries,
    /// Keys of the text.
    Keys,
    /// Values of the text.
    Values,
}

/// `x += m * sum of what a token's experts give, by weight`
#[derive(Clone, Debug, PartialEq)]
pub struct Combine {
    /// Which experts.
    pub of: Ffn,
    /// `m`
    pub scale: f32,
    /// Whether it also norms the residual stream for what comes next: [`NormOf::Next`], an RMSNorm.
    pub norm: bool,
}
