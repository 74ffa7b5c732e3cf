//! Names of a layer's weights by their purpose, the same for every family.

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
    /// The part of the keys that all heads share, from the residual stream.
    KeyShared,
    /// For each head: queries to the narrow row of keys, `[rank, own]`.
    KeyUp,
    /// For each head: values from the narrow row, `[value_dim, rank]`.
    ValueUp,
    /// Gate, gate and input of a convolution, from the residual stream, stacked.
    Convolution,
    /// The gates of attention's output, from the residual stream.
    OutputGate,
    /// Gate, inputs and step sizes of a state-space mixer, from the residual stream, stacked.
    StateSpace,
    /// The output projection to the residual stream.
    Output,
}

impl MatrixName {
    /// Whether each head has a matrix of its own.
    pub fn is_by_head(self) -> bool {
        matches!(self, Self::KeyUp | Self::ValueUp)
    }
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
    /// The attention sinks: each head's logit that belongs to no position.
    Sinks,
    /// Weights of a convolution, `[D, positions]`.
    Kernel,
    /// Bias of a convolution, `[D]`.
    KernelBias,
    /// Scale of the norm of the mixer's output.
    MixerPostNorm,
    /// Scale of the norm of the experts' output.
    ExpertsPostNorm,
    /// What is added to a state-space mixer's step sizes, one number per head.
    StepBias,
    /// The logarithms of a state-space mixer's decays, one per head.
    Decay,
    /// The factors of the inputs that a state-space mixer adds to its outputs, one per head.
    Skip,
    /// Scale of the norm of a state-space mixer's gated output.
    GatedNorm,
}
