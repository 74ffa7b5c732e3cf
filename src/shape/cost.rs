//! Where the parameters of a model are, and how many of them one token uses.

use serde::{Deserialize, Serialize};

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
