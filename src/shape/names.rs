//! What the weights of a layer are for, the same for every family.

/// A matrix of a layer's mixer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatrixName {
    /// Queries, keys and values from the residual stream, stacked.
    Qkv,
    /// The narrow row of queries from the residual stream.
    QueryDown,
    /// Queries, from the narrow row or from the residual stream.
    Query,
    /// The narrow row of keys and values from the residual stream.
    KeyDown,
    /// What is common to the keys of all heads, from the residual stream.
    KeyShared,
    /// Keys and values of all heads from the narrow row, head by head.
    KeyValue,
    /// Gate, gate and input of a convolution, from the residual stream, stacked.
    Convolution,
    /// Back to the residual stream.
    Output,
}

/// A vector of a layer's mixer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VectorName {
    /// Scale of the queries' norm.
    QueryNorm,
    /// Scale of the keys' norm.
    KeyNorm,
    /// Scale of the norm of the narrow row of queries.
    QueryDownNorm,
    /// Scale of the norm of the narrow row of keys and values.
    KeyDownNorm,
    /// Each head's score of no position.
    Sinks,
    /// Weights of a convolution, `[D, positions]`.
    Kernel,
    /// Bias of a convolution, `[D]`.
    KernelBias,
}
