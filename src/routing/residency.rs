//! What a trace says about a memory that holds a part of the experts: how often an expert that a router chose would
//! have been there, and how many would have had to be read. Each layer has its own slots, and the expert that was used
//! longest ago makes room. Tokens come one by one, as in generation.

use super::trace::Trace;
use crate::engine::LayerTrace;
use crate::engine::slots::{Slots, slots_for};
use serde::Serialize;

/// The shares that are worth showing.
pub const SHARES: [f64; 5] = [0.125, 0.25, 0.5, 0.75, 1.0];

/// What one layer would have done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LayerResidency {
    /// The layer's number.
    pub layer: usize,
    /// Slots.
    pub slots: usize,
    /// Experts.
    pub experts: usize,
    /// Experts that were asked for.
    pub requests: u64,
    /// Those that were in memory.
    pub hits: u64,
    /// Those that were not, because nobody had asked for them before.
    pub first: u64,
}

/// What all layers would have done with a share of the experts in memory.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Residency {
    /// The share of the experts, 0 to 1.
    pub share: f64,
    /// The layers that have experts.
    pub layers: Vec<LayerResidency>,
}

impl Residency {
    fn sum(&self, of: impl Fn(&LayerResidency) -> u64) -> u64 {
        self.layers.iter().map(of).sum()
    }

    /// Experts that were asked for, over all layers.
    pub fn requests(&self) -> u64 {
        self.sum(|layer| layer.requests)
    }

    /// Those that were in memory.
    pub fn hits(&self) -> u64 {
        self.sum(|layer| layer.hits)
    }

    /// Those that nobody had asked for before, so that they had to be read once with any memory.
    pub fn first(&self) -> u64 {
        self.sum(|layer| layer.first)
    }

    /// Slots, over all layers.
    pub fn slots(&self) -> usize {
        self.layers.iter().map(|layer| layer.slots).sum()
    }

    /// The share of the experts that the slots have room for, 0 to 1: a layer has as many as a token uses at least.
    pub fn resident(&self) -> f64 {
        let experts: usize = self.layers.iter().map(|layer| layer.experts).sum();
        self.slots() as f64 / experts.max(1) as f64
    }

    /// The share of the experts that were asked for that were in memory, 0 to 1; 0 without a request.
    pub fn hit_rate(&self) -> f64 {
        self.hits() as f64 / self.requests().max(1) as f64
    }

    /// Experts that have to be read for a token, on average.
    pub fn misses_per_token(&self, tokens: usize) -> f64 {
        (self.requests() - self.hits()) as f64 / tokens.max(1) as f64
    }
}

/// What the layers of `trace` would have done with the share `resident` of their experts in memory, 0 to 1; memory is
/// empty before the first token.
pub fn residency(trace: &Trace, resident: f64) -> Residency {
    Residency { share: resident, layers: trace.layers.iter().map(|layer| of_layer(layer, resident)).collect() }
}

/// [`residency`] for several shares, by rising share; shares that come to the same slots are left out.
pub fn for_shares(trace: &Trace, shares: &[f64]) -> Vec<Residency> {
    let mut found: Vec<Residency> = shares.iter().map(|share| residency(trace, *share)).collect();
    found.dedup_by_key(|found| found.slots());
    found
}

fn of_layer(layer: &LayerTrace, resident: f64) -> LayerResidency {
    let count = slots_for(layer.experts, layer.top_k, resident);
    let mut slots = Slots::new(count);
    let mut seen = vec![false; layer.experts];
    let mut found =
        LayerResidency { layer: layer.layer, slots: count, experts: layer.experts, requests: 0, hits: 0, first: 0 };
    for token in 0..layer.tokens() {
        let dropped = layer.dropped_of(token);
        let selected = layer.selected_of(token).iter().enumerate();
        let computed = selected.filter(|(choice, _)| dropped.get(*choice) != Some(&true)).map(|(_, expert)| *expert);
        let request = slots.request(&computed.collect::<Vec<_>>());
        found.hits += request.hits.len() as u64;
        found.requests += (request.hits.len() + request.misses.len()) as u64;
        for expert in request.misses {
            slots.take_in(expert);
            if let Some(seen) = seen.get_mut(expert as usize) {
                found.first += u64::from(!std::mem::replace(seen, true));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::NONE;

    fn trace(experts: usize, top_k: usize, selected: &[u32]) -> Trace {
        let layer = LayerTrace { selected: selected.to_vec(), ..LayerTrace::new(3, experts, top_k) };
        Trace { layers: vec![layer], ..Trace::default() }
    }

    #[test]
    fn an_expert_used_longest_ago_is_read_again() {
        // Two slots of four: 0, 1 are read; 0 is there; 2 takes the place of 1; 1 has to be read again.
        let found = residency(&trace(4, 1, &[0, 1, 0, 2, 1]), 0.5);
        let layer = LayerResidency { layer: 3, slots: 2, experts: 4, requests: 5, hits: 1, first: 3 };
        assert_eq!(found.layers, [layer]);
        assert_eq!(found.hit_rate(), 0.2);
        assert_eq!(found.misses_per_token(5), 0.8);
        assert_eq!((found.slots(), found.resident()), (2, 0.5));
        // A token uses one of four experts, so an eighth and a quarter are the same.
        let shares = for_shares(&trace(4, 1, &[0, 1]), &SHARES);
        assert_eq!(shares.iter().map(Residency::slots).collect::<Vec<_>>(), [1, 2, 3, 4]);
    }

    #[test]
    fn with_all_experts_in_memory_each_is_read_once() {
        let found = residency(&trace(4, 2, &[0, 1, 1, 2, 3, 0, 0, 1]), 1.0);
        assert_eq!((found.requests(), found.requests() - found.hits(), found.first()), (8, 4, 4));
    }

    #[test]
    fn more_memory_never_has_fewer_hits() {
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 28
        };
        let selected: Vec<u32> = (0..300)
            .flat_map(|_| {
                let a = next();
                [a, (a + 1 + next() % 15) % 16]
            })
            .collect();
        let rates = SHARES.map(|share| residency(&trace(16, 2, &selected), share).hit_rate());
        assert!(rates.windows(2).all(|two| two[0] <= two[1]), "{rates:?}");
    }

    #[test]
    fn empty_and_dropped_choices_ask_for_nothing() {
        let mut one = trace(4, 2, &[0, NONE, 1, 2]);
        assert_eq!(residency(&one, 1.0).requests(), 3);
        one.layers[0].dropped = vec![false, false, true, false];
        assert_eq!(residency(&one, 1.0).requests(), 2);
        assert_eq!(residency(&Trace::default(), 0.5).hit_rate(), 0.0);
    }
}
