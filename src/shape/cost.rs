//! The number of parameters in each part of a model, and of those that one token uses.

use serde::{Deserialize, Serialize};

/// Number of parameters in one part of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// All parameters, which must be in memory.
    pub total: u64,
    /// Parameters that one token uses.
    pub active: u64,
}

/// Number of parameters in each part of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// The token embeddings. All of them count as active, as in the Mixtral paper's 12.9 B, although a token reads one
    /// row. Tied embeddings count in `lm_head`.
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

    /// All parameters, which must be in memory.
    pub fn parameters(&self) -> u64 {
        self.parts().iter().map(|(_, part)| part.total).sum()
    }

    /// Parameters that one token uses.
    pub fn active_parameters(&self) -> u64 {
        self.parts().iter().map(|(_, part)| part.active).sum()
    }

    /// Floating-point operations per token: a multiply and an add for each active weight of a matrix. The embedding is
    /// a look-up, and attention over the cache is not counted.
    pub fn flops_per_token(&self) -> u64 {
        2 * (self.active_parameters() - self.embeddings.active)
    }
}
