//! The operations of a layer.

use crate::kernels::copy_heads::Heads;
use crate::shape::{MatrixName, VectorName};

/// The buffers of a step with one row per token. The residual stream is not among them: operations read and change it
/// directly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// The normed residual stream.
    Normed,
    /// The output of a mixer's first product: queries, keys and values, or the parts of a convolution.
    Projected,
    /// The narrow row of queries.
    QueryDown,
    /// The narrow row of keys and values.
    KeyDown,
    /// The part of the keys that all heads share.
    KeyShared,
    /// What heads make of their queries for the narrow row of keys, or of the narrow row for their values.
    ByHead,
    /// The gates of the mixer's output.
    Gates,
    /// The residual stream, while what is to be added to it is computed in its place.
    Held,
    /// Inputs of a state-space mixer after their convolution.
    Convolved,
    /// The mixer's output before its last product.
    Mixed,
}

impl Rows {
    /// The number of kinds of rows.
    pub const COUNT: usize = 10;
}

/// One operation.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// Norms the residual stream.
    Norm(NormOf),
    /// Multiplies rows by a matrix.
    Product(Product),
    /// Multiplies each head's part of rows by a matrix of its own.
    HeadProduct(HeadProduct),
    /// Norms parts of rows in place.
    NormRows(NormRows),
    /// Rotates parts of rows by their positions and copies them to where attention reads them.
    Copy(Copy),
    /// Computes queries, keys and values of the normed residual stream, rotates them and writes them where attention
    /// reads them: a product and three copies in one kernel.
    Qkv,
    /// Causal attention.
    Attend,
    /// Multiplies the mixer's output by an activation of its gates.
    GateRows(GateRows),
    /// A gated convolution over a few positions.
    Convolve,
    /// A state-space mixer's convolution over a few positions, and SiLU.
    ConvolveSilu,
    /// A state-space mixer's states.
    Scan,
    /// Keeps the residual stream and sets it to zero, so that what is added next can be normed by itself.
    Hold,
    /// Norms what was added since [`Operation::Hold`] with this scale, and adds it to what was kept.
    Release(VectorName),
    /// Computes router logits and chooses experts by them.
    Route,
    /// Computes the weight of the shared expert for each token.
    WeighShared,
    /// Groups tokens by expert; one token needs none.
    Group(Ffn),
    /// The experts' first products, `[T, D]` to the inner width.
    Up(Ffn),
    /// The experts' last product, back to `D`.
    Down(Ffn),
    /// Adds the experts' weighted outputs to the residual stream.
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
    /// The routed experts, and shared ones of their shape; a dense FFN is one such expert.
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

/// For each head `h`: `to[h] = W_h from[h]`.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadProduct {
    /// The matrices.
    pub matrix: MatrixName,
    /// What is multiplied.
    pub from: Rows,
    /// Numbers of a row of `from`.
    pub row: usize,
    /// Numbers of `from` from one head's part to the next.
    pub stride: usize,
    /// Where the products go, one head's after the other.
    pub to: Rows,
    /// Heads.
    pub heads: usize,
    /// Numbers of a head's part that are multiplied, its first ones.
    pub inputs: usize,
    /// Numbers of a head's product.
    pub outputs: usize,
}

/// Where a product goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// Into rows.
    Rows(Rows),
    /// Added to the residual stream, multiplied by this.
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

/// Copies heads of rows to where attention reads them, and rotates some of their numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Copy {
    /// The rows that are read.
    pub from: Rows,
    /// The numbers that are copied.
    pub heads: Heads,
    /// The destination.
    pub to: CacheSide,
    /// The first number within a head of the destination.
    pub at: usize,
    /// Width of a head of the destination.
    pub to_dim: usize,
}

/// Which gates multiply the mixer's output.
#[derive(Clone, Debug, PartialEq)]
pub struct GateRows {
    /// The rows with the gates.
    pub from: Rows,
    /// Numbers of a row.
    pub row: usize,
    /// The number of gates, the first ones of a row.
    pub width: usize,
    /// Whether a gate's factor is its SiLU; it is its sigmoid otherwise.
    pub silu: bool,
}

/// Where heads are copied: an input of attention, or rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheSide {
    /// Queries of this step.
    Queries,
    /// Keys of the text.
    Keys,
    /// Values of the text.
    Values,
    /// Rows that are normed before attention reads them.
    Rows(Rows),
}

/// `x += m * (weighted sum of the outputs of a token's experts)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Combine {
    /// Which experts.
    pub of: Ffn,
    /// `m`
    pub scale: f32,
    /// Whether it also computes the next norm of the residual stream, [`NormOf::Next`], an RMSNorm.
    pub norm: bool,
}
