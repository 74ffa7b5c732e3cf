//! A router in training: on a model whose other parameters stay as they are, or in a small transformer from scratch.
//! Balancing losses, a bias that follows the load, noise, capacity and learning rate are changed while it trains, so
//! that a router can collapse and be brought back.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Limit, Result, check_limits, first_changed, limit};
use crate::transformer::data::Stream;
use crate::transformer::gate::{GateKind, GateLosses, max_over_mean};
use crate::transformer::model::{Layout, ModelShape, Trained};
use crate::transformer::optimizer::Rates;
use crate::transformer::schedule::Schedule;
use crate::transformer::stored::Stored;
use crate::transformer::trainee::{Plan, Report, Routed, Trainee};

/// The kind of gate, and with it what balances the load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gate {
    /// Softmax over the largest scores (Mixtral), balanced by a loss.
    #[default]
    SoftmaxTopK,
    /// The largest shares of the softmax over all, with a capacity (Switch Transformers), balanced by a loss.
    TopKOfSoftmax,
    /// Noise of a learned size while training, balanced by importance and load losses (Shazeer et al. 2017).
    NoisyTopK,
    /// Sigmoid scores with a bias that follows the load (DeepSeek-V3).
    SigmoidBias,
}

/// Everything that decides a run. Sizes count only for a model from scratch; a given model has its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// Seed of the weights, of the order of the text and of the noise.
    pub seed: u64,
    /// What is trained; a given model is trained in its routers alone if this says so.
    pub trained: Trained,
    /// The kind of gate.
    pub gate: Gate,
    /// Transformer blocks.
    pub layers: usize,
    /// Width of the residual stream.
    pub width: usize,
    /// Heads.
    pub heads: usize,
    /// Experts of a layer.
    pub experts: usize,
    /// Experts a token uses.
    pub top_k: usize,
    /// Hidden units of an expert.
    pub units: usize,
    /// Token ids; 0 as many as the texts need.
    pub vocabulary: usize,
    /// Tokens of a sequence.
    pub context: usize,
    /// Sequences of each text in a step.
    pub sequences: usize,
    /// Factor of the load-balancing loss.
    pub balance_loss: f32,
    /// Factor of the router z-loss.
    pub z_loss: f32,
    /// How far each bias moves after a step.
    pub bias_rate: f32,
    /// Factor of the importance loss.
    pub importance_loss: f32,
    /// Factor of the load loss.
    pub load_loss: f32,
    /// Capacity of an expert over its even share; 0 is none.
    pub capacity_factor: f32,
    /// AdamW's learning rate. From scratch, hidden matrices have Muon, with a rate 25 / 3 times as high.
    pub learning_rate: f32,
    /// Tokens over which the rate rises.
    pub warmup_tokens: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            seed: 1,
            trained: Trained::default(),
            gate: Gate::default(),
            layers: 2,
            width: 64,
            heads: 2,
            experts: 8,
            top_k: 2,
            units: 48,
            vocabulary: 0,
            context: 64,
            sequences: 1,
            balance_loss: 0.01,
            z_loss: 0.0,
            bias_rate: 0.002,
            importance_loss: 0.02,
            load_loss: 0.02,
            capacity_factor: 0.0,
            learning_rate: 6e-3,
            warmup_tokens: 2000,
        }
    }
}

/// The limits of the numbers.
pub const LIMITS: [Limit; 18] = [
    limit("seed", 0.0, u64::MAX as f64),
    limit("layers", 1.0, 12.0),
    limit("width", 8.0, 512.0),
    limit("heads", 1.0, 16.0),
    limit("experts", 2.0, 64.0),
    limit("top-k", 1.0, 64.0),
    limit("units", 1.0, 1024.0),
    limit("vocabulary", 0.0, 65_535.0),
    limit("context", 8.0, 512.0),
    limit("sequences", 1.0, 64.0),
    limit("balance-loss", 0.0, 10.0),
    limit("z-loss", 0.0, 10.0),
    limit("bias-rate", 0.0, 1.0),
    limit("importance-loss", 0.0, 10.0),
    limit("load-loss", 0.0, 10.0),
    limit("capacity-factor", 0.0, 100.0),
    limit("learning-rate", 0.0, 1.0),
    limit("warmup-tokens", 0.0, 1e9),
];

/// Muon's learning rate over AdamW's, as the shipped models have them.
const MUON: f32 = 25.0 / 3.0;

/// The settings that a running lab cannot change.
const FIXED: [&str; 12] = [
    "seed",
    "trained",
    "gate",
    "layers",
    "width",
    "heads",
    "experts",
    "top-k",
    "units",
    "vocabulary",
    "context",
    "sequences",
];

impl Settings {
    fn check(&self) -> Result<()> {
        check_limits(&LIMITS, self)
    }

    /// The first setting that a running lab cannot change to that of `other`.
    pub fn needs_restart(&self, other: &Self) -> Option<&'static str> {
        first_changed(&FIXED, self, other)
    }

    fn router(&self) -> GateKind {
        let Self { bias_rate, importance_loss, load_loss, capacity_factor, .. } = *self;
        match self.gate {
            Gate::SoftmaxTopK => GateKind::SoftmaxTopK,
            Gate::TopKOfSoftmax => {
                let capacity_factor = (capacity_factor > 0.0).then(|| f64::from(capacity_factor));
                GateKind::TopKOfSoftmax { capacity_factor }
            }
            Gate::NoisyTopK => GateKind::NoisyTopK { importance_loss, load_loss },
            // The model's check wants a bias that moves; 1e-12 does not.
            Gate::SigmoidBias => GateKind::SigmoidBias { bias_rate: bias_rate.max(1e-12) },
        }
    }

    /// The sizes of a model from scratch over so many token ids.
    pub fn shape(&self, vocabulary: usize) -> ModelShape {
        ModelShape {
            vocabulary,
            width: self.width,
            layers: self.layers,
            heads: self.heads,
            kv_heads: self.heads,
            ff: self.units,
            experts: self.experts,
            top_k: self.top_k,
            shared_experts: 0,
            context: self.context,
            rope_theta: 10_000.0,
            norm_eps: 1e-5,
            router: self.router(),
        }
    }

    /// The optimiser's rates.
    pub fn rates(&self) -> Rates {
        let adam = self.learning_rate;
        Rates { muon: MUON * adam, momentum: 0.95, adam, betas: [0.9, 0.95], decay: 0.1, clip: 1.0 }
    }

    /// The factors of the gates' losses; a gate that is balanced otherwise has none.
    pub fn factors(&self) -> GateLosses {
        match self.gate {
            Gate::SoftmaxTopK | Gate::TopKOfSoftmax => GateLosses { balance: self.balance_loss, z: self.z_loss },
            Gate::NoisyTopK | Gate::SigmoidBias => GateLosses { balance: 0.0, z: 0.0 },
        }
    }

    /// The learning rate over the tokens: it rises and stays.
    pub fn schedule(&self) -> Schedule {
        Schedule { warmup_tokens: self.warmup_tokens, decay: 0.0 }
    }
}

/// What a lab shows of itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct State {
    /// Steps done.
    pub step: usize,
    /// Tokens seen.
    pub tokens: usize,
    /// Nats a token in the last step; none before the first.
    pub loss: Option<f32>,
    /// Each expert's share of the assignments, a mean over the layers; together 1.
    pub shares: Vec<f32>,
    /// The same by layer, over the last steps.
    pub loads: Vec<Vec<f32>>,
    /// The busiest expert's load over the mean, by layer: 1 is even, the number of experts is a collapse.
    pub max_over_mean: Vec<f32>,
    /// The share of the assignments that were dropped in the last step, by layer.
    pub dropped: Vec<f32>,
    /// What an expert tells about the text that a token is from, in bits, by layer, over the last steps.
    pub specialisation: Vec<f32>,
    /// The load of each text's tokens, by layer: texts x experts, over the last steps.
    pub loads_by_text: Vec<Vec<f32>>,
    /// The names of the texts.
    pub texts: Vec<String>,
    /// The balancing loss without its factor, a mean over the layers: 1 is even.
    pub balance: Option<f32>,
    /// The gradient's norm in the last step.
    pub gradient_norm: Option<f32>,
}

/// A running experiment.
pub struct Lab {
    settings: Settings,
    trainee: Trainee,
    texts: Vec<String>,
    /// Assignments by layer, texts x experts: each step counts a tenth less than the one after it.
    counts: Vec<Vec<f32>>,
    last: Option<Report>,
}

/// How much of the counts stays after a step.
const MEMORY: f32 = 0.9;

impl Lab {
    /// A small transformer from scratch on these texts.
    ///
    /// # Errors
    /// Settings that are impossible, no texts, and texts that are too short: three times the context.
    pub fn new(settings: Settings, texts: Vec<Stream>) -> Result<Self> {
        settings.check()?;
        let needed = texts.iter().flat_map(|t| &t.ids).max().map_or(1, |&id| usize::from(id) + 1);
        let vocabulary = if settings.vocabulary == 0 { needed } else { settings.vocabulary };
        let shape = settings.shape(vocabulary);
        shape.check().map_err(Error::Setting)?;
        let values = Layout::new(&shape).initial(settings.seed);
        Self::with(settings, shape, values, texts, true)
    }

    /// A model as a file holds it, on these texts. Its sizes are its own; a router of another kind than the settings'
    /// takes over what both have.
    ///
    /// # Errors
    /// As [`Lab::new`], and a model without routers.
    pub fn from_model(settings: Settings, model: Stored, texts: Vec<Stream>) -> Result<Self> {
        settings.check()?;
        if model.shape.experts == 1 {
            return Err(Error::Input("the model is dense: it has no router to train; choose one with experts".into()));
        }
        let shape = ModelShape { context: settings.context, router: settings.router(), ..model.shape.clone() };
        shape.check().map_err(Error::Setting)?;
        let values = carried(&shape, model, settings.seed);
        Self::with(settings, shape, values, texts, false)
    }

    fn with(settings: Settings, shape: ModelShape, values: Vec<f32>, texts: Vec<Stream>, muon: bool) -> Result<Self> {
        let names: Vec<String> = texts.iter().map(|t| t.name.clone()).collect();
        let plan = Plan {
            sequences: settings.sequences,
            seed: settings.seed,
            trained: settings.trained,
            dropout: 0.0,
            rates: &settings.rates(),
            muon,
        };
        let counts = vec![vec![0.0; names.len() * shape.experts]; shape.layers];
        let trainee = Trainee::new(shape, values, Arc::new(texts), &plan)?;
        Ok(Self { settings, trainee, texts: names, counts, last: None })
    }

    /// Takes other settings while it runs.
    ///
    /// # Errors
    /// Impossible settings; [`Error::NeedsRestart`] for a setting that a running lab cannot change. The lab stays as
    /// it was.
    pub fn set(&mut self, settings: Settings) -> Result<()> {
        settings.check()?;
        if let Some(key) = self.settings.needs_restart(&settings) {
            return Err(Error::NeedsRestart(key));
        }
        self.trainee.set_rates(settings.rates());
        self.trainee.set_router(settings.router());
        self.settings = settings;
        Ok(())
    }

    /// The settings now.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The model's sizes.
    pub fn shape(&self) -> &ModelShape {
        self.trainee.shape()
    }

    /// Steps done.
    pub fn steps(&self) -> usize {
        self.trainee.step
    }

    /// Trains for `n` steps.
    ///
    /// # Errors
    /// [`Error::Diverged`]; the lab then holds the step before.
    pub fn step(&mut self, n: usize) -> Result<()> {
        for _ in 0..n {
            let size = self.trainee.sequences() * self.trainee.shape().context;
            let factor = self.settings.schedule().factor(self.trainee.tokens + size, size, FOREVER);
            self.last = Some(self.trainee.train(self.settings.factors(), factor)?);
            self.count();
        }
        Ok(())
    }

    /// Adds the last step's assignments by text.
    fn count(&mut self) {
        let shape = self.trainee.shape();
        let (experts, top_k, choices) = (shape.experts, shape.top_k, shape.gate().choices());
        let per_text = self.settings.sequences * shape.context;
        for (counts, routing) in self.counts.iter_mut().zip(self.trainee.routing()) {
            counts.iter_mut().for_each(|c| *c *= MEMORY);
            for (t, selected) in routing.selected.chunks_exact(choices).enumerate() {
                let text = &mut counts[t / per_text * experts..][..experts];
                selected[..top_k].iter().for_each(|&e| text[usize::from(e)] += 1.0);
            }
        }
    }

    /// What the lab shows now.
    pub fn state(&self) -> State {
        let (shape, texts) = (self.trainee.shape(), self.texts.len());
        let (experts, top_k) = (shape.experts, shape.top_k);
        let load = |counts: &Vec<f32>| -> Vec<f32> {
            let total: f32 = counts.iter().sum();
            let of = |e: usize| counts.iter().skip(e).step_by(experts).sum::<f32>() / total.max(1.0);
            (0..experts).map(of).collect()
        };
        let loads: Vec<Vec<f32>> = self.counts.iter().map(load).collect();
        let by_text = |counts: &Vec<f32>| -> Vec<f32> {
            let rows = counts.chunks_exact(experts);
            let share = |row: &[f32]| -> Vec<f32> {
                let total = row.iter().sum::<f32>().max(1.0);
                row.iter().map(|c| c / total).collect()
            };
            rows.flat_map(share).collect()
        };
        let dropped = |r: &crate::transformer::gate::Routing| {
            let tokens = r.log_sum.len() * top_k;
            r.dropped.iter().filter(|d| **d).count() as f32 / tokens as f32
        };
        State {
            step: self.trainee.step,
            tokens: self.trainee.tokens,
            loss: self.last.map(|r| r.loss as f32),
            shares: (0..experts).map(|e| loads.iter().map(|l| l[e]).sum::<f32>() / loads.len() as f32).collect(),
            max_over_mean: self.trainee.routing().map(|r| max_over_mean(&r.counts)).collect(),
            dropped: self.trainee.routing().map(dropped).collect(),
            specialisation: self.counts.iter().map(|c| information(c, texts, experts)).collect(),
            loads_by_text: self.counts.iter().map(by_text).collect(),
            texts: self.texts.clone(),
            balance: self.last.map(|r| r.balance as f32),
            gradient_norm: self.last.map(|r| r.gradient_norm),
            loads,
        }
    }

    /// What the gates do with a text now.
    ///
    /// # Errors
    /// Less than two tokens, too many, ids that the model does not have.
    pub fn route(&self, ids: &[u16]) -> Result<Routed> {
        self.trainee.route(ids)
    }
}

/// More tokens than any run sees: the schedule never falls.
const FOREVER: usize = 1 << 30;

/// The parameters of a model in a layout with another router: by name, and random small ones where it has none.
fn carried(shape: &ModelShape, model: Stored, seed: u64) -> Vec<f32> {
    let layout = Layout::new(shape);
    // Gates of one kind have the same parameters.
    if std::mem::discriminant(&shape.router) == std::mem::discriminant(&model.shape.router) {
        return model.values;
    }
    let mut values = layout.initial(seed);
    for from in Layout::new(&model.shape).parameters {
        if let Some(to) = layout.parameters.iter().find(|to| to.name == from.name && to.range.len() == from.range.len())
        {
            values[to.range.clone()].copy_from_slice(&model.values[from.range]);
        }
    }
    values
}

/// The mutual information of texts (rows of `counts`) and experts, in bits.
fn information(counts: &[f32], texts: usize, experts: usize) -> f32 {
    let total: f32 = counts.iter().sum();
    let text = |d: usize| counts[d * experts..][..experts].iter().sum::<f32>();
    let expert = |e: usize| counts.iter().skip(e).step_by(experts).sum::<f32>();
    let mut bits = 0.0;
    for d in 0..texts {
        for e in (0..experts).filter(|e| counts[d * experts + e] > 0.0) {
            let both = counts[d * experts + e];
            bits += both / total * (both * total / (text(d) * expert(e))).log2();
        }
    }
    bits.max(0.0)
}

#[cfg(test)]
mod tests;
