//! What the product says about a loaded model.

use crate::shape::Cost;
use serde::{Deserialize, Serialize};

/// The engine in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Backend {
    /// The CPU engine.
    Cpu,
    /// The CPU engine with weights rounded to 8 bits.
    CpuInt8,
    /// The GPU engine, on this adapter.
    Gpu {
        /// The adapter's name as the driver gives it.
        adapter: String,
    },
}

/// A loaded model, as the page and the command line present it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// The directory's name, or the file's.
    pub name: String,
    /// `model_type` of its config, "mixtral" for example.
    pub family: String,
    /// Transformer layers.
    pub layers: usize,
    /// Experts of a layer; 0 for a dense model.
    pub experts: usize,
    /// Experts that a token's router picks in a layer.
    pub top_k: usize,
    /// The router's kind as docs/model-format.md names it; "none" for a dense model.
    pub router: String,
    /// Experts of a layer that every token uses besides.
    pub shared_experts: usize,
    /// Most tokens of a text that an expert takes, where there is such a limit.
    pub capacity: Option<usize>,
    /// Size of the vocabulary.
    pub vocabulary: usize,
    /// Longest text in tokens.
    pub context: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Where the parameters are.
    pub cost: Cost,
    /// Width of the stored weights: "f32", "f16", "bf16" or "f8_e4m3".
    pub dtype: String,
    /// Bytes of the weights as stored.
    pub weight_bytes: u64,
    /// The engine in use.
    pub backend: Backend,
    /// Why it is not the one that was asked for, in one sentence.
    pub note: Option<String>,
}
