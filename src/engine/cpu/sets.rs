//! Tries every set of experts for one token in one layer, and computes the loss of the next token after each. The text
//! before the token, and the token up to the layer's attention, run once; the rest of the token runs for each set.

use super::CpuEngine;
use crate::engine::logits::Logits;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// The most sets that are tried.
const MOST_SETS: usize = 200;

/// A set of experts, and the loss of the next token with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TriedSet {
    /// The experts, by number.
    pub experts: Vec<u32>,
    /// The loss of the next token, in bits.
    pub bits: f64,
}

/// All sets for one token in one layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TriedSets {
    /// The layer's number.
    pub layer: usize,
    /// The token's position.
    pub position: usize,
    /// The experts that the router chose, by number.
    pub router: Vec<u32>,
    /// All sets with the same number of experts.
    pub sets: Vec<TriedSet>,
}

impl TriedSets {
    /// The loss in bits with this set, given in any order; `None` for a set of another size.
    pub fn bits_of(&self, experts: &[u32]) -> Option<f64> {
        let mut experts = experts.to_vec();
        experts.sort_unstable();
        self.sets.iter().find(|set| set.experts == experts).map(|set| set.bits)
    }

    /// The set with the lowest loss.
    pub fn best(&self) -> &TriedSet {
        self.sets.iter().min_by(|a, b| a.bits.total_cmp(&b.bits)).expect("there is a set")
    }

    /// The mean loss over all sets in bits, which is that of a random choice.
    pub fn mean(&self) -> f64 {
        self.sets.iter().map(|set| set.bits).sum::<f64>() / self.sets.len() as f64
    }
}

impl CpuEngine {
    /// Tries every set in layer `n` for the token `id`, which follows the tokens in the cache; `next` is the token
    /// after it. The settings must be the model's own. The cache does not change.
    ///
    /// # Errors
    /// `Input`: the layer has no experts, or too many sets.
    pub fn try_sets(&mut self, n: usize, id: u32, next: u32) -> Result<TriedSets> {
        let Some(own) = self.settings.get(n).and_then(|settings| settings.first()).cloned() else {
            return Err(Error::Input(format!("layer {n} has no experts to choose from")));
        };
        let sets = sets_of(own.experts as u32, own.top_k).ok_or_else(|| {
            Error::Input(format!(
                "a layer with {} experts, {} per token, has more than {MOST_SETS} sets to try; take a smaller model",
                own.experts, own.top_k
            ))
        })?;
        let (ids, width) = ([id], self.architecture.hidden);
        self.go_back();
        let states: Vec<_> = self.memory.iter().map(|memory| memory.state.clone()).collect();
        let scale = self.architecture.embedding_scale;
        crate::kernels::embed::embed(&ids, &self.weights.embed, scale, &mut self.activations.x[..width]);
        self.norm(0, 1);
        for layer in 0..n {
            self.attend(layer, 1);
            self.mix(layer, &ids);
        }
        self.attend(n, 1);
        let attended = self.activations.x[..width].to_vec();
        self.mix(n, &ids);
        let mut router = self.activations.selected[..own.top_k].to_vec();
        router.sort_unstable();
        let mut tried = Vec::with_capacity(sets.len());
        for experts in sets {
            self.activations.x[..width].copy_from_slice(&attended);
            self.settings[n][0].forced.clone_from(&experts);
            self.mix(n, &ids);
            for (layer, state) in states.iter().enumerate().skip(n + 1) {
                self.memory[layer].state.clone_from(state);
                self.attend(layer, 1);
                self.mix(layer, &ids);
            }
            let mut logits = vec![0.0; self.architecture.vocabulary];
            self.logits(1, 0, &mut logits);
            let bits = Logits::new(&logits).nats(next) / std::f64::consts::LN_2;
            tried.push(TriedSet { experts, bits });
        }
        self.settings[n][0] = own;
        self.memory.iter_mut().zip(states).for_each(|(memory, state)| memory.state = state);
        Ok(TriedSets { layer: n, position: self.len, router, sets: tried })
    }
}

/// All sets of `size` out of `experts` experts, in order; `None` where there are too many.
fn sets_of(experts: u32, size: usize) -> Option<Vec<Vec<u32>>> {
    let mut sets = vec![Vec::new()];
    for _ in 0..size {
        let longer = |set: &Vec<u32>| {
            let from = set.last().map_or(0, |last| last + 1);
            (from..experts).map(|expert| [set.as_slice(), &[expert]].concat()).collect::<Vec<_>>()
        };
        sets = sets.iter().flat_map(longer).collect();
        if sets.len() > MOST_SETS {
            return None;
        }
    }
    Some(sets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::LogitsOf;
    use crate::model::{Model, files};
    use crate::shape::own_settings;
    use std::path::Path;

    #[test]
    fn sets_are_all_there_are() {
        assert_eq!(sets_of(4, 2).unwrap(), [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]);
        assert_eq!(sets_of(8, 2).unwrap().len(), 28);
        assert_eq!(sets_of(3, 1).unwrap(), [[0], [1], [2]]);
        assert_eq!(sets_of(64, 4), None);
    }

    /// Each set costs what a whole run with the experts forced costs, bit for bit or nearly so.
    #[test]
    fn each_set_costs_what_a_whole_run_says() {
        // The layers of the second model keep states, which the tries must leave as they were.
        ["basic", "granitehybrid"].into_iter().for_each(each_set_costs_the_same);
    }

    fn each_set_costs_the_same(fixture: &str) {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/fixtures").join(fixture);
        let model = Model::new(&files::read_dir(&directory).unwrap()).unwrap();
        let (ids, next, last) = ([3, 1, 4, 1, 5], 9, 4);
        let mut engine = CpuEngine::new(&model).unwrap();
        engine.step(&ids[..last], LogitsOf::None);
        let tried = engine.try_sets(0, ids[last], next).unwrap();
        assert_eq!((tried.position, engine.len()), (last, last));
        let own = tried.bits_of(&tried.router).unwrap();
        let bits = |settings| {
            let mut whole = CpuEngine::new(&model).unwrap().fork(settings);
            let logits = whole.step(&ids, LogitsOf::Last).logits;
            Logits::new(&logits).nats(next) / std::f64::consts::LN_2
        };
        assert!((bits(own_settings(&model.architecture)) - own).abs() < 1e-5);
        for set in &tried.sets {
            let mut settings = own_settings(&model.architecture);
            let mut forced = settings[0][0].clone();
            (forced.first, forced.forced) = (last, set.experts.clone());
            settings[0].push(forced);
            assert!((bits(settings) - set.bits).abs() < 1e-5, "{:?}", set.experts);
        }
        assert!(tried.best().bits <= own && tried.mean() >= tried.best().bits);
        // Afterwards the engine goes on as if nothing had been tried.
        let after = engine.step(&ids[last..], LogitsOf::Last).logits;
        assert!((Logits::new(&after).nats(next) / std::f64::consts::LN_2 - own).abs() < 1e-5);
    }
}
