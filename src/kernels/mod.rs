//! The CPU twin of every WGSL kernel: `shaders/NAME.wgsl` and `kernels/NAME.rs` do the same work, with
//! the same names and their arguments in the same order. A twin is both the readable reference and the
//! fast kernel of the CPU engine.
//!
//! Words: `T` tokens of this step, `D` width of the residual stream, `E` experts, `G` groups of them,
//! `k` experts that a token's router picks, `choices` those and the shared ones, `F` width inside an expert, `V`
//! vocabulary. An *assignment* `t * choices + choice` is one (token, expert) pair.

pub mod angles;
pub mod attention;
pub mod blocks;
pub mod choose;
pub mod combine;
pub mod convolve;
pub mod convolve_silu;
pub mod copy_heads;
pub mod dispatch;
pub mod embed;
pub mod expert_ffn;
pub mod gate;
pub mod gate_rows;
pub mod head_linear;
pub mod int8;
pub mod layer_norm;
pub mod linear;
pub mod lm_head;
pub mod madd;
pub mod norm_rows;
pub mod pairs;
pub mod panels;
pub mod post_norm;
pub mod qkv;
pub mod random;
pub mod rms_norm;
pub mod sample;
pub mod scan;
pub mod settle;
pub mod shared_gate;
pub mod softmax;
pub mod stored;

/// The names of all kernels; each has a shader, a twin and a parity case.
pub const NAMES: [&str; 22] = [
    "attention",
    "combine",
    "convolve",
    "convolve_silu",
    "copy_heads",
    "dispatch",
    "embed",
    "expert_ffn",
    "gate",
    "gate_rows",
    "head_linear",
    "layer_norm",
    "linear",
    "lm_head",
    "norm_rows",
    "post_norm",
    "qkv",
    "rms_norm",
    "sample",
    "scan",
    "settle",
    "shared_gate",
];
