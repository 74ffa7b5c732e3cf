//! Describes a policy in words, with a phrase for each change.

use crate::i18n::messages::t;
use crate::routing::policy::{Overflow, Policy, Rule};

/// The changes of a policy, in words.
pub fn in_words(policy: &Policy) -> Vec<String> {
    policy.0.iter().map(rule).filter(|words| !words.is_empty()).collect()
}

fn rule(rule: &Rule) -> String {
    let mut words = Vec::new();
    if let Some(gate) = rule.gate {
        words.push(t!("policy.words.gate", gate = gate.name()));
    }
    if !rule.off.is_empty() {
        words.push(t!(rule.off.len(); "policy.words.off", experts = list(&rule.off)));
    }
    if !rule.force.is_empty() {
        words.push(t!(rule.force.len(); "policy.words.force", experts = list(&rule.force)));
    }
    for [a, b] in &rule.swap {
        words.push(t!("policy.words.swap", a = a, b = b));
    }
    if let Some(k) = rule.top_k {
        words.push(t!(k; "policy.words.k"));
    }
    if let Some(temperature) = rule.temperature {
        words.push(t!("policy.words.temperature", value = temperature));
    }
    if !rule.bias.is_empty() {
        words.push(t!("policy.words.bias"));
    }
    if let Some(noise) = rule.noise {
        words.push(t!("policy.words.noise", value = noise));
    }
    if let Some(factor) = rule.capacity_factor {
        words.push(t!("policy.words.capacity", value = factor));
    }
    match rule.overflow {
        Some(Overflow::NextBest) => words.push(t!("policy.words.next-best")),
        Some(Overflow::Keep) => words.push(t!("policy.words.keep")),
        Some(Overflow::Drop) | None => {}
    }
    match rule.renormalise {
        Some(true) => words.push(t!("policy.words.renormalised")),
        Some(false) => words.push(t!("policy.words.not-renormalised")),
        None => {}
    }
    if words.is_empty() {
        return String::new();
    }
    let place = match (&rule.layers, rule.tokens) {
        (None, None) => t!("policy.words.everywhere"),
        (None, Some([from, to])) => t!("policy.words.tokens", from = from, last = to - 1),
        (Some(layers), None) => t!(layers.len(); "policy.words.layers", layers = list(layers)),
        (Some(layers), Some([from, to])) => {
            t!(layers.len(); "policy.words.both", layers = list(layers), from = from, last = to - 1)
        }
    };
    t!("policy.words.rule", place = place, what = words.join(", "))
}

fn list<T: ToString>(numbers: &[T]) -> String {
    numbers.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}
