//! `results.json`: the figures of a finished model, for programs; `card.md` has the same figures as text.

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::corpus::Manifest;
use crate::evaluation::{Evaluation, LayerLoad};
use crate::model::{Layout, ModelShape};

/// Figures of a finished model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// Its sizes.
    pub model: ModelShape,
    /// Parameters in the file.
    pub parameters: usize,
    /// Parameters that a token uses.
    pub active: usize,
    /// Tokens seen in training.
    pub tokens: usize,
    /// The tokens that were seen in shorter sequences at the beginning, and the length of those sequences.
    pub short: Option<(usize, usize)>,
    /// Seconds of training.
    pub seconds: f64,
    /// Held-out text of each domain.
    pub domains: Vec<Domain>,
    /// Bits per byte of the texts of today, by language.
    #[serde(default)]
    pub today: Vec<(String, f64)>,
    /// Each layer's experts on the held-out text; empty for a dense model.
    pub layers: Vec<Layer>,
}

/// Held-out text of one domain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Domain {
    /// Its short name.
    pub name: String,
    /// Bits per byte of the model.
    pub bits_per_byte: f64,
    /// Bits per byte of `xz -9e`.
    pub xz: f64,
}

/// One layer's experts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    /// Busiest expert's load over the mean.
    pub max_over_mean: f32,
    /// Mutual information of expert and domain, bits.
    pub domain_information: f64,
    /// Experts that have over half of their load from two domains.
    pub specialists: usize,
    /// Part of the assignments that were dropped.
    pub dropped: f64,
}

impl Layer {
    fn new(load: &LayerLoad) -> Self {
        Self {
            max_over_mean: load.max_over_mean(),
            domain_information: rounded(load.domain_information()),
            specialists: load.specialists(),
            dropped: rounded(load.dropped_share()),
        }
    }
}

/// Rounds to five decimals, so that all machines write the same file.
pub fn rounded(x: f64) -> f64 {
    (x * 1e5).round() / 1e5
}

impl Results {
    /// The results of a run.
    pub fn new(config: &Config, tokens: usize, seconds: f64, evaluation: &Evaluation, manifest: &Manifest) -> Self {
        let (parameters, active) = parameters(&config.model);
        let domain = |(d, c): (&crate::evaluation::DomainResult, &crate::corpus::DomainRecord)| Domain {
            name: d.name.clone(),
            bits_per_byte: rounded(d.bits_per_byte),
            xz: rounded(c.xz_bits_per_byte),
        };
        let routed = if config.model.experts > 1 { &evaluation.layers[..] } else { &[] };
        Self {
            model: config.model.clone(),
            parameters,
            active,
            tokens,
            short: config.training.short.as_ref().map(|s| (s.tokens, s.context)),
            seconds: seconds.round(),
            domains: evaluation.domains.iter().zip(&manifest.domains).map(domain).collect(),
            today: Vec::new(),
            layers: routed.iter().map(Layer::new).collect(),
        }
    }

    /// Mean of the bits per byte over the domains.
    pub fn mean(&self) -> f64 {
        self.domains.iter().map(|d| d.bits_per_byte).sum::<f64>() / self.domains.len().max(1) as f64
    }
}

/// Number of parameters in the file, and of those that one token uses.
pub fn parameters(m: &ModelShape) -> (usize, usize) {
    let layout = Layout::new(m);
    // A network of one expert has a router in the trainer but not in the file.
    let unwritten = if m.experts == 1 { layout.layers.iter().map(|l| l.router.len()).sum() } else { 0 };
    let total = layout.total - unwritten;
    (total, total - m.idle_parameters())
}

/// Training FLOPs per token in sequences of `context` tokens. The forward pass has a multiply and an add for each
/// weight of a matrix that the token uses (the tied embedding once, as the output head), and for each number that
/// attention reads, which is half a sequence on average. The backward pass takes twice as many.
pub fn flops(m: &ModelShape, context: usize) -> f64 {
    let (_, active) = parameters(m);
    let gains = m.width * (2 * m.layers + 1);
    let attention = m.layers * 2 * m.width * context / 2;
    3.0 * 2.0 * (active - gains + attention) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::tiny;
    use crate::gate::GateKind;

    #[test]
    fn parameters_are_those_of_the_file() {
        let m = tiny().model;
        // Embedding, last norm; a layer's two norms, attention (one head of keys and values of two), router, experts.
        let layer = 2 * 16 + 16 * (16 + 8 + 8 + 16) + 4 * 16 + 4 * 3 * 12 * 16;
        assert_eq!(parameters(&m), (2100 * 16 + 16 + 2 * layer, 2100 * 16 + 16 + 2 * (layer - 2 * 3 * 12 * 16)));
        let dense = ModelShape { experts: 1, top_k: 1, ..m.clone() };
        assert_eq!(parameters(&dense).0, 2100 * 16 + 16 + 2 * (2 * 16 + 16 * 48 + 3 * 12 * 16));
        let noisy = ModelShape { router: GateKind::NoisyTopK { importance_loss: 0.1, load_loss: 0.1 }, ..m.clone() };
        let (total, active) = parameters(&noisy);
        assert_eq!((total - parameters(&m).0, active), (2 * 4 * 16, parameters(&m).1), "noise is for training alone");
    }

    #[test]
    fn flops_follow_what_a_token_uses() {
        let m = tiny().model;
        let twice = ModelShape { experts: 8, ..m.clone() };
        let router = 6.0 * (2 * 4 * 16) as f64;
        assert_eq!(flops(&twice, 24) - flops(&m, 24), router, "more experts cost only their scores");
        assert!(flops(&m, 24) > flops(&m, 12));
    }
}
