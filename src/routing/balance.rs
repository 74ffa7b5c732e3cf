//! The balance: how evenly the assignments of a layer are spread over its experts.

use crate::engine::LayerTrace;
use crate::kernels::softmax::softmax;
use serde::{Deserialize, Serialize};

/// Balance of one layer over the tokens of a trace, with load `f`, importance `P` and `E` experts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Balance {
    /// `f_i`: expert i's share of the assignments. `[E]`, sums to 1 (all 0 where there are no tokens).
    pub load: Vec<f32>,
    /// `P_i`: expert i's mean router probability over the tokens. `[E]`, sums to 1.
    pub importance: Vec<f32>,
    /// Coefficient of variation, `std(f) / mean(f)` with the population std. 0 = even.
    pub cv: f32,
    /// `-sum f ln f / ln E`. 1 = even; with one expert it is 1.
    pub entropy: f32,
    /// `max(f) * E`: the busiest expert's load over the mean load. 1 = even.
    pub max_over_mean: f32,
    /// `E * sum f_i P_i` (Fedus et al. 2021, "Switch Transformers", equation 4, without its coefficient). 1 = even.
    /// Hugging Face counts each of the k choices, so its figure is k times this one.
    pub aux_loss: f32,
}

/// Balance of `layer` over all its tokens. Dropped assignments count for the load, because the router chose them.
pub fn balance(layer: &LayerTrace) -> Balance {
    let experts = layer.experts;
    let mut load = vec![0.0f32; experts];
    for expert in layer.assignments() {
        load[expert as usize] += 1.0;
    }
    let assignments = load.iter().sum::<f32>().max(1.0);
    load.iter_mut().for_each(|f| *f /= assignments);
    summarise(load, importance(layer))
}

/// Mean router probability of each expert, `[E]`.
fn importance(layer: &LayerTrace) -> Vec<f32> {
    let mut mean = vec![0.0f64; layer.experts];
    let mut row = vec![0.0f32; layer.experts];
    for logits in layer.router_logits.chunks_exact(layer.experts) {
        row.copy_from_slice(logits);
        softmax(&mut row);
        for (m, &p) in mean.iter_mut().zip(&row) {
            *m += f64::from(p);
        }
    }
    let tokens = layer.tokens().max(1) as f64;
    mean.iter().map(|m| (m / tokens) as f32).collect()
}

/// The figures of a balance, from each expert's share of the assignments and its mean router probability, `[E]` each.
pub(super) fn summarise(load: Vec<f32>, importance: Vec<f32>) -> Balance {
    let experts = load.len() as f32;
    let mean = load.iter().sum::<f32>() / experts;
    let variance = load.iter().map(|f| (f - mean).powi(2)).sum::<f32>() / experts;
    let entropy: f32 = load.iter().filter(|f| **f > 0.0).map(|f| -f * f.ln()).sum();
    let max = load.iter().copied().fold(0.0, f32::max);
    let dot: f32 = load.iter().zip(&importance).map(|(f, p)| f * p).sum();
    Balance {
        cv: if mean > 0.0 { variance.sqrt() / mean } else { 0.0 },
        entropy: if experts > 1.0 { entropy / experts.ln() } else { 1.0 },
        max_over_mean: max * experts,
        aux_loss: experts * dot,
        load,
        importance,
    }
}
