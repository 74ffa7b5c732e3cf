//! What the product says about a loaded model.

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

/// Parameters of one part of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Parameters that must be in memory.
    pub total: u64,
    /// Parameters that one token touches.
    pub active: u64,
}

/// Where a model's parameters are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// The token embeddings, counted whole as active, as the Mixtral paper's 12.9 B does (one row is
    /// read a token). Tied embeddings are counted in `lm_head`.
    pub embeddings: Part,
    /// Attention of all layers.
    pub attention: Part,
    /// Routers of all layers.
    pub routers: Part,
    /// Experts of all layers.
    pub experts: Part,
    /// Norms.
    pub norms: Part,
    /// The output projection.
    pub lm_head: Part,
}

impl Cost {
    /// The parts with their names, in the order of the computation.
    pub fn parts(&self) -> [(&'static str, &Part); 6] {
        [
            ("embeddings", &self.embeddings),
            ("attention", &self.attention),
            ("routers", &self.routers),
            ("experts", &self.experts),
            ("norms", &self.norms),
            ("lm_head", &self.lm_head),
        ]
    }

    /// Parameters that must be in memory.
    pub fn parameters(&self) -> u64 {
        self.parts().iter().map(|(_, part)| part.total).sum()
    }

    /// Parameters that one token touches.
    pub fn active_parameters(&self) -> u64 {
        self.parts().iter().map(|(_, part)| part.active).sum()
    }

    /// Floating-point operations for one token: a multiply and an add for each active weight of a
    /// matrix (the embedding is a look-up; attention over the cache is not counted).
    pub fn flops_per_token(&self) -> u64 {
        2 * (self.active_parameters() - self.embeddings.active)
    }
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
    /// Width of the stored weights: "f32", "f16" or "bf16".
    pub dtype: String,
    /// Bytes of the weights as stored.
    pub weight_bytes: u64,
    /// The engine in use.
    pub backend: Backend,
    /// Why it is not the one that was asked for, in one sentence.
    pub note: Option<String>,
}
