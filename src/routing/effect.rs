//! The effect of a policy: two traces of one text compared, and the results of sweeps over policies.

use super::balance::{Balance, balance};
use super::trace::Trace;
pub use crate::engine::cpu::ablation::Ablated;
use serde::{Deserialize, Serialize};

/// Mean surprise over the tokens of a text, without the first token, for which there is no prediction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bits {
    /// Bits per token.
    pub per_token: f64,
    /// Bits per byte of the text.
    pub per_byte: f64,
}

/// Mean surprise of the tokens of `trace` without the first; 0 where there are no others.
pub fn mean_bits(trace: &Trace) -> Bits {
    bits_over(trace, trace.len())
}

/// As [`mean_bits`], over the first `count` tokens.
fn bits_over(trace: &Trace, count: usize) -> Bits {
    let tokens = trace.tokens.iter().zip(&trace.surprise).take(count).skip(1);
    let (mut bits, mut number, mut bytes) = (0.0, 0usize, 0usize);
    for (token, &surprise) in tokens {
        bits += f64::from(surprise);
        number += 1;
        bytes += token.text_bytes();
    }
    Bits { per_token: bits / number.max(1) as f64, per_byte: bits / bytes.max(1) as f64 }
}

/// The effect on one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerEffect {
    /// The layer's number.
    pub layer: usize,
    /// Tokens whose set of experts changed.
    pub rerouted: usize,
    /// Assignments that are dropped after the change.
    pub dropped: usize,
    /// Balance before.
    pub before: Balance,
    /// Balance after.
    pub after: Balance,
}

/// The comparison of two traces of one text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effect {
    /// Tokens compared: those that both traces have.
    pub tokens: usize,
    /// Tokens whose set of experts changed in some layer.
    pub rerouted: usize,
    /// Loss before.
    pub before: Bits,
    /// Loss after.
    pub after: Bits,
    /// Each token's surprise after minus before, in bits.
    pub change: Vec<f32>,
    /// The effect on each layer.
    pub layers: Vec<LayerEffect>,
}

/// Compares the trace under a policy (`after`) with that of the model's own routing (`before`), over the first tokens
/// that both have.
pub fn effect(before: &Trace, after: &Trace) -> Effect {
    let same = before.tokens.iter().zip(&after.tokens).take_while(|(a, b)| a.id == b.id).count();
    let tokens = same.min(before.surprise.len()).min(after.surprise.len());
    let mut moved = vec![false; tokens];
    let layers = before.layers.iter().zip(&after.layers).map(|(a, b)| {
        let other = |&t: &usize| sorted(a.selected_of(t)) != sorted(b.selected_of(t));
        let rerouted: Vec<usize> = (0..tokens).filter(other).collect();
        rerouted.iter().for_each(|&t| moved[t] = true);
        let dropped = (0..tokens).flat_map(|t| b.dropped_of(t)).filter(|flag| **flag).count();
        LayerEffect { layer: a.layer, rerouted: rerouted.len(), dropped, before: balance(a), after: balance(b) }
    });
    let layers = layers.collect();
    let change = before.surprise.iter().zip(&after.surprise).take(tokens).map(|(a, b)| b - a).collect();
    Effect {
        tokens,
        rerouted: moved.iter().filter(|moved| **moved).count(),
        before: bits_over(before, tokens),
        after: bits_over(after, tokens),
        change,
        layers,
    }
}

fn sorted(experts: &[u32]) -> Vec<u32> {
    let mut experts = experts.to_vec();
    experts.sort_unstable();
    experts
}

/// One point of a sweep over k: a text with k experts per token.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct KPoint {
    /// Experts per token, in every layer.
    pub k: usize,
    /// Mean surprise in bits per token.
    pub bits_per_token: f64,
    /// Mean surprise in bits per byte of the text.
    pub bits_per_byte: f64,
    /// Parameters that a token uses; a token takes twice as many floating-point operations.
    pub active_parameters: u64,
    /// Speed over the whole text, measured.
    pub tokens_per_second: f64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::LayerTrace;
    use crate::shape::NONE;
    use crate::tokenizer::Token;

    fn trace(selected: &[u32], surprise: &[f32]) -> Trace {
        let mut layer = LayerTrace::new(2, 4, 2);
        layer.selected = selected.to_vec();
        layer.weights = vec![0.5; selected.len()];
        layer.router_logits = vec![0.0; 4 * surprise.len()];
        let token = |n: usize| Token { id: n as u32, text: "ab".into(), ..Token::default() };
        Trace {
            tokens: (0..surprise.len()).map(token).collect(),
            layers: vec![layer],
            guesses: Vec::new(),
            surprise: surprise.to_vec(),
        }
    }

    #[test]
    fn the_effect_counts_other_experts_and_bits() {
        let before = trace(&[0, 1, 2, 3, 1, 0], &[0.0, 2.0, 4.0]);
        let after = trace(&[1, 0, 2, NONE, 1, 0], &[0.0, 3.0, 5.0]);
        let effect = effect(&before, &after);
        assert_eq!((effect.tokens, effect.rerouted, effect.layers[0].rerouted), (3, 1, 1));
        assert_eq!((effect.before.per_token, effect.after.per_token), (3.0, 4.0));
        assert_eq!((effect.before.per_byte, effect.after.per_byte), (1.5, 2.0));
        assert_eq!(effect.change, [0.0, 1.0, 1.0]);
        assert_eq!(effect.layers[0].layer, 2);
    }

    #[test]
    fn texts_that_part_are_compared_up_to_there() {
        let before = trace(&[0, 1, 2, 3], &[0.0, 2.0]);
        let mut after = before.clone();
        after.tokens[1].id = 9;
        assert_eq!(effect(&before, &after).tokens, 1);
    }
}
