//! The logit lens for single tokens. It runs on a CPU engine of its own, so the engine of the text keeps its state.

use super::shown::guesses;
use crate::engine::cpu::CpuEngine;
use crate::engine::cpu::look::LayerView;
use crate::engine::cpu::sets::TriedSets;
use crate::engine::{Engine, Logits, LogitsOf, not_finite};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::routing::lens::LayerLens;
use crate::shape::Settings;
use crate::tokenizer::Tokenizer;

/// A CPU engine that inspects tokens. Inspecting the tokens of a text in order runs each token only once.
pub struct Lens {
    engine: CpuEngine,
    ids: Vec<u32>,
}

impl Lens {
    /// A lens for `model`, which runs on `engine`. It shares the weights of `engine` where that is a CPU engine.
    pub fn new(model: &Model, engine: &Engine) -> Result<Self> {
        let engine = match engine {
            Engine::Cpu(engine) if engine.pool().is_some() => {
                return Err(Error::Input(
                    "this needs all experts in memory, and a part of them is read on demand; open the model whole, or \
                     its first layers"
                        .into(),
                ));
            }
            Engine::Cpu(engine) => engine.fork(engine.settings().clone()),
            Engine::Gpu(_) => CpuEngine::new(model)?,
        };
        Ok(Self { engine, ids: Vec::new() })
    }

    /// Uses gates with these `settings`, which must not include expert choice.
    pub fn set_settings(&mut self, settings: &Settings) {
        if self.engine.settings() != settings {
            self.engine = self.engine.fork(settings.clone());
            self.ids.clear();
        }
    }

    /// The lens's engine, for forks.
    pub fn engine(&self) -> &CpuEngine {
        &self.engine
    }

    /// What each layer did to the last of `ids` (at least one, all in the vocabulary and within the context).
    ///
    /// # Errors
    /// A number is not finite.
    pub fn inspect(&mut self, ids: &[u32], tokenizer: Option<&Tokenizer>) -> Result<Vec<LayerLens>> {
        let (last, before) = ids.split_last().expect("at least one token");
        self.run_to(before);
        self.ids = ids.to_vec();
        let lens = |LayerView { layer, attention, heads, experts, residual, logits }| {
            if !residual.is_finite() || logits.iter().any(|logit| !logit.is_finite()) {
                return Err(not_finite(&format!("after layer {layer}")));
            }
            let guesses = guesses(&Logits::new(&logits), tokenizer);
            Ok(LayerLens { layer, attention, heads, experts, residual, guesses })
        };
        self.engine.look(*last).into_iter().map(lens).collect()
    }

    /// Tries every set of experts in `layer` for the last but one of `ids`, and computes the loss of the last one.
    /// `ids` has two tokens at least; the gates must do as the model's own.
    ///
    /// # Errors
    /// See [`CpuEngine::try_sets`].
    pub fn try_sets(&mut self, layer: usize, ids: &[u32]) -> Result<TriedSets> {
        let [before @ .., token, next] = ids else { panic!("a token and the one after it") };
        self.run_to(before);
        self.ids = before.to_vec();
        let tried = self.engine.try_sets(layer, *token, *next)?;
        match tried.sets.iter().find(|set| !set.bits.is_finite()) {
            Some(set) => Err(not_finite(&format!("with the experts {:?} of layer {layer}", set.experts))),
            None => Ok(tried),
        }
    }

    /// Runs what of `ids` has not been run.
    fn run_to(&mut self, ids: &[u32]) {
        let ran = &self.ids[..self.engine.len()];
        self.engine.truncate(ran.iter().zip(ids).take_while(|(a, b)| a == b).count());
        for chunk in ids[self.engine.len()..].chunks(self.engine.chunk()) {
            self.engine.step(chunk, LogitsOf::None);
        }
    }
}
