//! A model in training on one thread: parameters, order of the text, optimiser. It takes the steps that the trainer
//! takes with one replica.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::data::{Data, Stream};
use super::gate::{self, GateKind, GateLosses};
use super::model::{Layout, ModelShape, Trained};
use super::optimizer::{Optimizer, Rates};
use super::replica::Replica;
use crate::error::{Error, Result};
use crate::random::hash;

/// A model in training.
pub struct Trainee {
    shape: ModelShape,
    layout: Layout,
    /// The parameters.
    pub values: Vec<f32>,
    optimizer: Optimizer,
    replica: Replica,
    data: Data,
    seed: u64,
    /// Steps done.
    pub step: usize,
    /// Tokens seen.
    pub tokens: usize,
}

/// How a trainee takes its steps.
pub struct Plan<'a> {
    /// Sequences of each text in a step.
    pub sequences: usize,
    /// Seed of the order of the text and of what gates draw.
    pub seed: u64,
    /// What is trained.
    pub trained: Trained,
    /// Dropout in the experts.
    pub dropout: f32,
    /// The optimiser's rates.
    pub rates: &'a Rates,
    /// Whether hidden matrices have Muon, or AdamW as the rest.
    pub muon: bool,
}

/// What a step reports.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// Nats a token.
    pub loss: f64,
    /// Balancing loss without its factor, a mean over the layers.
    pub balance: f64,
    /// The gradient's norm before clipping.
    pub gradient_norm: f32,
}

/// What the gates of a model did with a text.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Routed {
    /// What each token but the last costs the model to predict the next, in nats.
    pub losses: Vec<f32>,
    /// Experts that a token goes to.
    pub top_k: usize,
    /// By layer: each token's experts by falling weight, tokens x top_k.
    pub experts: Vec<Vec<u16>>,
    /// By layer: their weights.
    pub weights: Vec<Vec<f32>>,
}

impl Trainee {
    /// A model with these parameters; `shape.context` is the length of the training sequences.
    ///
    /// # Errors
    /// Sizes that are impossible, parameters of another number, texts that are too short or hold ids that the model
    /// does not have.
    pub fn new(shape: ModelShape, values: Vec<f32>, texts: Arc<Vec<Stream>>, plan: &Plan) -> Result<Self> {
        shape.check().map_err(Error::Input)?;
        for text in texts.iter() {
            check_ids(&text.name, &text.ids, &shape)?;
        }
        let layout = Layout::new(&shape);
        if values.len() != layout.total {
            let (has, needs) = (values.len(), layout.total);
            return Err(Error::Input(format!("the model has {has} parameters, but its sizes ask for {needs}")));
        }
        let repeat: BTreeMap<String, usize> = texts.iter().map(|t| (t.name.clone(), plan.sequences)).collect();
        let data = Data::new(texts, shape.context, 0.0, plan.seed, &repeat)?;
        let mut replica = Replica::new(&shape, data.sequences(), shape.context);
        (replica.trained, replica.dropout) = (plan.trained, plan.dropout);
        let optimizer = Optimizer::new(layout.clone(), plan.rates.clone()).only(|p| plan.trained.covers(p));
        let optimizer = if plan.muon { optimizer } else { optimizer.without_muon() };
        Ok(Self { shape, layout, values, optimizer, replica, data, seed: plan.seed, step: 0, tokens: 0 })
    }

    /// The sizes.
    pub fn shape(&self) -> &ModelShape {
        &self.shape
    }

    /// Sequences of a step, the texts' one after the other.
    pub fn sequences(&self) -> usize {
        self.replica.sequences()
    }

    /// What each layer's gate decided in the last step.
    pub fn routing(&self) -> impl Iterator<Item = &gate::Routing> {
        self.replica.routing()
    }

    /// Takes other rates.
    pub fn set_rates(&mut self, rates: Rates) {
        self.optimizer.set_rates(rates);
    }

    /// Takes another dropout.
    pub fn set_dropout(&mut self, dropout: f32) {
        self.replica.dropout = dropout;
    }

    /// Takes other numbers of the gate; its kind stays.
    pub fn set_router(&mut self, router: GateKind) {
        if router != self.shape.router {
            self.shape.router = router;
            let (trained, dropout) = (self.replica.trained, self.replica.dropout);
            self.replica = Replica::new(&self.shape, self.replica.sequences(), self.shape.context);
            (self.replica.trained, self.replica.dropout) = (trained, dropout);
        }
    }

    /// One step of the optimiser; `factor` is the schedule's.
    ///
    /// # Errors
    /// [`Error::Diverged`] where the loss or the gradient is not finite; nothing has changed then.
    pub fn train(&mut self, factors: GateLosses, factor: f32) -> Result<Report> {
        let (inputs, targets) = self.data.part(self.step);
        let noise = hash(self.seed ^ 0x901e, self.step as u64);
        let losses = self.replica.train(&self.values, &inputs, &targets, factors, 1.0, noise);
        let size = self.replica.gradient.iter().fold(0.0f32, |sum, g| sum + g.abs());
        if !(losses.cross_entropy.is_finite() && losses.gates.is_finite() && size.is_finite()) {
            return Err(Error::Diverged { step: self.step + 1 });
        }
        let gradient_norm = self.optimizer.step(self.step, factor, &mut self.values, &mut self.replica.gradient);
        if let GateKind::SigmoidBias { bias_rate } = self.shape.router {
            for (routing, layer) in self.replica.routing().zip(&self.layout.layers) {
                gate::move_bias(&mut self.values[layer.bias.clone()], &routing.counts, bias_rate);
            }
        }
        self.step += 1;
        self.tokens += inputs.len();
        Ok(Report {
            loss: losses.cross_entropy / inputs.len() as f64,
            balance: losses.balance / self.shape.layers as f64,
            gradient_norm,
        })
    }

    /// Runs a text, without noise and dropout.
    ///
    /// # Errors
    /// Less than two tokens, more than fit, ids that the model does not have.
    pub fn route(&self, ids: &[u16]) -> Result<Routed> {
        check_ids("text", ids, &self.shape)?;
        if !(2..=MOST_TOKENS).contains(&ids.len()) {
            let n = ids.len();
            return Err(Error::Input(format!("the text has {n} tokens; it must have 2 to {MOST_TOKENS}")));
        }
        let mut replica = Replica::without_gradient(&self.shape, 1, ids.len());
        let mut targets = ids[1..].to_vec();
        targets.push(0);
        let mut losses = vec![0.0; ids.len()];
        replica.evaluate(&self.values, ids, &targets, &mut losses);
        losses.pop();
        let (top_k, choices) = (self.shape.top_k, self.shape.gate().choices());
        let selected = |r: &gate::Routing| r.selected.chunks_exact(choices).flat_map(|s| s[..top_k].to_vec()).collect();
        let weights = |r: &gate::Routing| r.weights.chunks_exact(choices).flat_map(|s| s[..top_k].to_vec()).collect();
        Ok(Routed {
            losses,
            top_k,
            experts: replica.routing().map(selected).collect(),
            weights: replica.routing().map(weights).collect(),
        })
    }

    /// The logits of the token after this text.
    ///
    /// # Errors
    /// No token, more than fit, ids that the model does not have.
    pub fn next_logits(&self, ids: &[u16]) -> Result<Vec<f32>> {
        check_ids("text", ids, &self.shape)?;
        if !(1..=MOST_TOKENS).contains(&ids.len()) {
            let n = ids.len();
            return Err(Error::Input(format!("the text has {n} tokens; it must have 1 to {MOST_TOKENS}")));
        }
        Ok(Replica::without_gradient(&self.shape, 1, ids.len()).next_logits(&self.values, ids))
    }

    /// The text goes on with so many tokens, each the one that the model thinks most likely.
    ///
    /// # Errors
    /// As [`Trainee::next_logits`].
    pub fn continued(&self, ids: &[u16], tokens: usize) -> Result<Vec<u16>> {
        let mut all = ids.to_vec();
        for _ in 0..tokens {
            let logits = self.next_logits(&all)?;
            let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
            all.push(best.map_or(0, |(id, _)| id as u16));
        }
        Ok(all.split_off(ids.len()))
    }

    /// The mean loss on a text in nats a token, in windows of the training length side by side; none of less than two
    /// tokens.
    ///
    /// # Errors
    /// Ids that the model does not have.
    pub fn measure(&self, ids: &[u16]) -> Result<Option<f64>> {
        check_ids("text", ids, &self.shape)?;
        let (mut total, mut count) = (0.0, 0);
        for start in (0..ids.len().saturating_sub(1)).step_by(self.shape.context) {
            let window = &ids[start..ids.len().min(start + self.shape.context + 1)];
            let losses = self.route(window)?.losses;
            total += losses.iter().map(|&l| f64::from(l)).sum::<f64>();
            count += losses.len();
        }
        Ok((count > 0).then(|| total / count as f64))
    }
}

/// The most tokens of a text that is routed at once.
pub const MOST_TOKENS: usize = 4096;

fn check_ids(name: &str, ids: &[u16], shape: &ModelShape) -> Result<()> {
    match ids.iter().find(|&&id| usize::from(id) >= shape.vocabulary) {
        None => Ok(()),
        Some(id) => {
            let vocabulary = shape.vocabulary;
            Err(Error::Input(format!("{name} holds the token {id}, but the model has {vocabulary} tokens")))
        }
    }
}
