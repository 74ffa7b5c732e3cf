//! Fine-tuning a model on one text: all parameters, all but the experts, the routers alone, or with dropout in the
//! experts (Fedus et al. 2021; Zoph et al. 2022). The loss on held-out text of the same kind, and on text of all kinds,
//! shows when it begins to learn the text by heart.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Limit, Result, check_limits, first_changed, limit};
use crate::transformer::data::Stream;
use crate::transformer::gate::GateLosses;
use crate::transformer::model::{ModelShape, Trained};
use crate::transformer::optimizer::Rates;
use crate::transformer::schedule::Schedule;
use crate::transformer::stored::{self, Stored};
use crate::transformer::trainee::{Plan, Routed, Trainee};

/// Everything that decides a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// Seed of the order of the text, and of what dropout drops.
    pub seed: u64,
    /// What is trained.
    pub trained: Trained,
    /// The part of the numbers in an expert that dropout sets to 0.
    pub expert_dropout: f32,
    /// AdamW's learning rate.
    pub learning_rate: f32,
    /// Decay of the weights.
    pub weight_decay: f32,
    /// Factor of the load-balancing loss.
    pub balance_loss: f32,
    /// Tokens of a sequence; fewer where the text is short.
    pub context: usize,
    /// Sequences of a step.
    pub sequences: usize,
    /// Steps between two measurements on held-out text.
    pub measure_every: usize,
    /// Tokens of each held-out text that are measured.
    pub measured: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            seed: 1,
            trained: Trained::default(),
            expert_dropout: 0.0,
            learning_rate: 1e-3,
            weight_decay: 0.1,
            balance_loss: 0.01,
            context: 64,
            sequences: 2,
            measure_every: 5,
            measured: 128,
        }
    }
}

/// The limits of the numbers.
pub const LIMITS: [Limit; 9] = [
    limit("seed", 0.0, u64::MAX as f64),
    limit("expert-dropout", 0.0, 0.9),
    limit("learning-rate", 0.0, 0.1),
    limit("weight-decay", 0.0, 1.0),
    limit("balance-loss", 0.0, 10.0),
    limit("context", 8.0, 512.0),
    limit("sequences", 1.0, 64.0),
    limit("measure-every", 1.0, 1000.0),
    limit("measured", 2.0, 65_536.0),
];

/// The fewest tokens of a text to train on.
pub const FEWEST_TOKENS: usize = 3 * 8 + 1;
/// The most tokens of a text to train on.
pub const MOST_TOKENS: usize = 1_000_000;

/// The settings that a running lab cannot change.
const FIXED: [&str; 5] = ["seed", "trained", "context", "sequences", "measured"];

impl Settings {
    fn check(&self) -> Result<()> {
        check_limits(&LIMITS, self)
    }

    /// The first setting that a running lab cannot change to that of `other`.
    pub fn needs_restart(&self, other: &Self) -> Option<&'static str> {
        first_changed(&FIXED, self, other)
    }

    fn rates(&self) -> Rates {
        let adam = self.learning_rate;
        Rates { muon: adam, momentum: 0.95, adam, betas: [0.9, 0.95], decay: self.weight_decay, clip: 1.0 }
    }
}

/// The texts of a lab, as token ids.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Texts {
    /// What it learns from.
    pub train: Vec<u16>,
    /// Held-out text of the same kind; may be empty.
    pub same_kind: Vec<u16>,
    /// Held-out texts of all kinds; may be empty.
    pub all_kinds: Vec<Stream>,
}

impl Texts {
    /// Splits one text: the last fifth is held out.
    pub fn split(ids: &[u16], all_kinds: Vec<Stream>) -> Self {
        let (train, same_kind) = ids.split_at(ids.len() - ids.len() / 5);
        Self { train: train.to_vec(), same_kind: same_kind.to_vec(), all_kinds }
    }
}

/// The losses at a moment, in nats a token.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Moment {
    /// Steps done.
    pub step: usize,
    /// On the text that it learns from, without dropout.
    pub train: f32,
    /// On held-out text of the same kind.
    pub same_kind: Option<f32>,
    /// On texts of all kinds, a mean over the texts.
    pub all_kinds: Option<f32>,
}

/// What a lab shows of itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct State {
    /// Steps done.
    pub step: usize,
    /// Tokens seen.
    pub tokens: usize,
    /// Nats a token in the last step, with dropout; before the first that of the first measurement.
    pub loss: f32,
    /// Each expert's share of the last step's assignments, a mean over the layers; together 1.
    pub shares: Vec<f32>,
    /// Every measurement so far, the one before the first step too.
    pub curve: Vec<Moment>,
    /// The step of the measurement with the least loss on held-out text of the same kind.
    pub best_step: Option<usize>,
    /// Parameters that are trained.
    pub trained: usize,
    /// Parameters of the model.
    pub parameters: usize,
}

/// A running experiment.
pub struct Lab {
    settings: Settings,
    trainee: Trainee,
    texts: Texts,
    curve: Vec<Moment>,
    loss: f32,
    /// The model's own context, for the result.
    context: usize,
}

impl Lab {
    /// A lab on a model as a file holds it.
    ///
    /// # Errors
    /// Settings that are impossible, a text of less than 25 tokens or more than a million, ids that the model does not
    /// have, and routers alone of a dense model.
    pub fn new(settings: Settings, model: Stored, texts: Texts) -> Result<Self> {
        settings.check()?;
        let length = texts.train.len();
        if !(FEWEST_TOKENS..=MOST_TOKENS).contains(&length) {
            let why = format!("the text has {length} tokens; fine-tuning needs {FEWEST_TOKENS} to {MOST_TOKENS}");
            return Err(Error::Input(why));
        }
        if model.shape.experts == 1 && settings.trained == Trained::Routers {
            return Err(Error::Setting("a dense model has no routers; train all of it or without the experts".into()));
        }
        let context = model.shape.context;
        let shape = ModelShape { context: settings.context.min((length - 1) / 3).min(context), ..model.shape };
        let plan = Plan {
            sequences: settings.sequences,
            seed: settings.seed,
            trained: settings.trained,
            dropout: settings.expert_dropout,
            rates: &settings.rates(),
            muon: false,
        };
        let train = Stream { name: "text".into(), ids: texts.train.clone(), bytes: 0 };
        let trainee = Trainee::new(shape, model.values, Arc::new(vec![train]), &plan)?;
        let mut lab = Self { settings, trainee, texts, curve: Vec::new(), loss: 0.0, context };
        lab.measure()?;
        lab.loss = lab.curve[0].train;
        Ok(lab)
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
        self.trainee.set_dropout(settings.expert_dropout);
        self.settings = settings;
        Ok(())
    }

    /// The settings now.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Trains for `n` steps, with a measurement where one is due.
    ///
    /// # Errors
    /// [`Error::Diverged`]; the lab then holds the step before.
    pub fn step(&mut self, n: usize) -> Result<()> {
        for _ in 0..n {
            let size = self.trainee.sequences() * self.trainee.shape().context;
            // Ten steps of warm-up: the moments of a new optimiser know nothing of the gradient's size.
            let schedule = Schedule { warmup_tokens: 10 * size, decay: 0.0 };
            let factor = schedule.factor(self.trainee.tokens + size, size, 1 << 30);
            let factors = GateLosses { balance: self.settings.balance_loss, z: 0.0 };
            self.loss = self.trainee.train(factors, factor)?.loss as f32;
            if self.trainee.step.is_multiple_of(self.settings.measure_every) {
                self.measure()?;
            }
        }
        Ok(())
    }

    fn measure(&mut self) -> Result<()> {
        let first = |ids: &[u16]| self.trainee.measure(&ids[..ids.len().min(self.settings.measured)]);
        let all: Vec<f64> =
            self.texts.all_kinds.iter().filter_map(|text| first(&text.ids).transpose()).collect::<Result<_>>()?;
        let moment = Moment {
            step: self.trainee.step,
            train: first(&self.texts.train)?.map_or(0.0, |loss| loss as f32),
            same_kind: first(&self.texts.same_kind)?.map(|loss| loss as f32),
            all_kinds: (!all.is_empty()).then(|| (all.iter().sum::<f64>() / all.len() as f64) as f32),
        };
        self.curve.push(moment);
        Ok(())
    }

    /// What the lab shows now.
    pub fn state(&self) -> State {
        let experts = self.trainee.shape().experts;
        let mut shares = vec![0.0; experts];
        for routing in self.trainee.routing() {
            shares.iter_mut().zip(&routing.counts).for_each(|(sum, &count)| *sum += count as f32);
        }
        let total: f32 = shares.iter().sum();
        let known = self.curve.iter().filter_map(|m| Some((m.step, m.same_kind?)));
        let layout = crate::transformer::model::Layout::new(self.trainee.shape());
        let covered = layout.parameters.iter().filter(|p| self.settings.trained.covers(p));
        State {
            step: self.trainee.step,
            tokens: self.trainee.tokens,
            loss: self.loss,
            shares: shares.iter().map(|s| s / total.max(1.0)).collect(),
            curve: self.curve.clone(),
            best_step: known.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(step, _)| step),
            trained: covered.map(|p| p.range.len()).sum(),
            parameters: layout.total,
        }
    }

    /// What the gates do with a text now.
    ///
    /// # Errors
    /// Less than two tokens, too many, ids that the model does not have.
    pub fn route(&self, ids: &[u16]) -> Result<Routed> {
        self.trainee.route(ids)
    }

    /// Lets the model write on from a text: so many tokens, each the most likely one.
    ///
    /// # Errors
    /// No token, too many, ids that the model does not have.
    pub fn continued(&self, ids: &[u16], tokens: usize) -> Result<Vec<u16>> {
        self.trainee.continued(ids, tokens)
    }

    /// The logits of the token after a text.
    ///
    /// # Errors
    /// As [`Lab::continued`].
    pub fn next_logits(&self, ids: &[u16]) -> Result<Vec<f32>> {
        self.trainee.next_logits(ids)
    }

    /// Steps done.
    pub fn steps(&self) -> usize {
        self.trainee.step
    }

    /// The model as it is now, with the context that it came with.
    pub fn model(&self) -> Stored {
        let shape = ModelShape { context: self.context, ..self.trainee.shape().clone() };
        Stored { shape, values: self.trainee.values.clone() }
    }

    /// The model as it is now as the bytes of a `model.safetensors` with numbers of 16 bits (F16): `config.json` stays
    /// as it was.
    ///
    /// # Errors
    /// A number is too large for 16 bits.
    pub fn export(&self) -> Result<Vec<u8>> {
        let shape = ModelShape { context: self.context, ..self.trainee.shape().clone() };
        stored::file(&shape, &self.trainee.values)
    }
}

#[cfg(test)]
mod tests;
