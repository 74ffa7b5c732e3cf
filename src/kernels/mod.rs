//! The CPU twin of every WGSL kernel: `shaders/NAME.wgsl` and `kernels/NAME.rs` do the same work, with
//! the same words and their arguments in the same order. A twin is the readable reference and the
//! CPU engine's fast kernel at once.
//!
//! Words: `T` tokens of this step, `D` width of the residual stream, `E` experts, `G` groups of them,
//! `k` experts that a token's router picks, `choices` those and the shared ones, `F` width inside an expert, `V`
//! vocabulary. An *assignment* `t * choices + choice` is one (token, expert) pair.

pub mod attention;
pub mod blocks;
pub mod choose;
pub mod combine;
pub mod dispatch;
pub mod embed;
pub mod expert_ffn;
pub mod gate;
pub mod int8;
pub mod linear;
pub mod lm_head;
pub mod madd;
pub mod pairs;
pub mod panels;
pub mod qkv;
pub mod random;
pub mod rms_norm;
pub mod sample;
pub mod settle;
pub mod softmax;
pub mod stored;

/// Every kernel by name; each has a shader, a twin and a parity case.
pub const NAMES: [&str; 12] = [
    "attention",
    "combine",
    "dispatch",
    "embed",
    "expert_ffn",
    "gate",
    "linear",
    "lm_head",
    "qkv",
    "rms_norm",
    "sample",
    "settle",
];
