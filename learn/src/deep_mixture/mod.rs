//! Two layers of mixtures, one on the other (Eigen, Ranzato and Sutskever 2013), on handwritten digits at known places:
//! the gate of the first comes to tell where a digit is, that of the second what it is.
//!
//! As in the paper, an expert that has had more than its part of the examples so far takes none of a batch, for the
//! first steps: else the first expert to be good takes all.

mod layer;

use serde::{Deserialize, Serialize};

use self::layer::{LayerState, MixtureLayer};
use crate::adam::Adam;
use crate::affine::{Affine, cross_entropy_rows};
use crate::digits::{CLASSES, Digits, HeldOut, PIXELS, PLACES};
use crate::error::{Error, Limit, Result, check_limits, first_changed, limit};
use crate::random::hash;

/// Everything that decides a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// Seed of the weights and of the order of the examples.
    pub seed: u64,
    /// Experts of the first layer.
    pub first_experts: usize,
    /// Experts of the second layer.
    pub second_experts: usize,
    /// Units of an expert.
    pub units: usize,
    /// Hidden units of a gate.
    pub gate_hidden: usize,
    /// Examples of a step.
    pub batch: usize,
    /// Step size of Adam.
    pub learning_rate: f32,
    /// Steps in which experts are kept to their part; 0 never.
    pub constrained_steps: usize,
    /// How far an expert may be above its part, in batches.
    pub margin: f32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            seed: 1,
            first_experts: 4,
            second_experts: 4,
            units: 20,
            gate_hidden: 20,
            batch: 64,
            learning_rate: 0.003,
            constrained_steps: 1000,
            margin: 0.5,
        }
    }
}

/// The limits of the numbers.
pub const LIMITS: [Limit; 9] = [
    limit("seed", 0.0, u64::MAX as f64),
    limit("first-experts", 1.0, 16.0),
    limit("second-experts", 1.0, 16.0),
    limit("units", 1.0, 128.0),
    limit("gate-hidden", 1.0, 128.0),
    limit("batch", 1.0, 512.0),
    limit("learning-rate", 0.0, 1.0),
    limit("constrained-steps", 0.0, 1e6),
    limit("margin", 0.0, 100.0),
];

/// The settings that a running lab cannot change.
const FIXED: [&str; 5] = ["seed", "first-experts", "second-experts", "units", "gate-hidden"];

impl Settings {
    fn check(&self) -> Result<()> {
        check_limits(&LIMITS, self)
    }

    /// The first setting that a running lab cannot change to that of `other`.
    pub fn needs_restart(&self, other: &Self) -> Option<&'static str> {
        first_changed(&FIXED, self, other)
    }

    fn layers(&self) -> [MixtureLayer; 2] {
        let Self { units, gate_hidden, first_experts, second_experts, .. } = *self;
        let layer = |inputs, experts| MixtureLayer { inputs, outputs: units, experts, gate_hidden };
        [layer(PIXELS, first_experts), layer(units, second_experts)]
    }

    fn head(&self) -> Affine {
        Affine { inputs: self.units, outputs: CLASSES }
    }
}

/// The shares of a gate by what the example is: each row is a mean, and sums to 1.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Confusion {
    /// Experts of the layer.
    pub experts: usize,
    /// Places x experts; the places are 3 columns in 3 rows, from the upper left.
    pub by_place: Vec<f32>,
    /// Classes x experts.
    pub by_class: Vec<f32>,
    /// How many bits the gate's shares tell about the place.
    pub place_bits: f32,
    /// How many bits they tell about the class.
    pub class_bits: f32,
    /// Each expert's share of all examples.
    pub shares: Vec<f32>,
}

/// What a lab shows of itself. The figures are of held-out digits at every place.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct State {
    /// Steps done.
    pub step: usize,
    /// Cross-entropy of the last step's batch in nats; before the first step that of guessing.
    pub loss: f32,
    /// Cross-entropy of held-out digits in nats.
    pub held_out_loss: f32,
    /// The share of held-out digits that are classified correctly.
    pub accuracy: f32,
    /// Each expert's share of the examples: the first layer's, then the second's; each layer's sum to 1.
    pub shares: Vec<f32>,
    /// The gate of the first layer.
    pub first: Confusion,
    /// The gate of the second layer.
    pub second: Confusion,
}

/// One digit through the network.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Example {
    /// The canvas, 12 x 12 from the upper left, 0 to 1.
    pub pixels: Vec<f32>,
    /// What it is.
    pub class: usize,
    /// Where it is.
    pub place: usize,
    /// The probabilities of the classes.
    pub prediction: Vec<f32>,
    /// The shares of the first layer's experts.
    pub first: Vec<f32>,
    /// The shares of the second layer's experts.
    pub second: Vec<f32>,
}

/// A running experiment.
#[derive(Clone)]
pub struct Lab {
    settings: Settings,
    digits: Digits,
    held_out: HeldOut,
    parameters: Vec<f32>,
    adam: Adam,
    /// What each expert of each layer has had so far, in examples.
    taken: [Vec<f32>; 2],
    step: usize,
    loss: f32,
}

/// What a pass keeps.
#[derive(Default)]
struct Pass {
    layers: [LayerState; 2],
    logits: Vec<f32>,
}

/// Held-out digits that are measured, each at every place.
const MEASURED: usize = 150;

impl Lab {
    /// A lab on the digits of `digits.bin`; the same settings give the same run, bit for bit.
    ///
    /// # Errors
    /// Settings that are impossible, and a file that is not one of digits.
    pub fn new(settings: Settings, digits: &[u8]) -> Result<Self> {
        settings.check()?;
        let digits = Digits::read(digits)?;
        let [first, second] = settings.layers();
        let (a, b) = (first.parameters(), first.parameters() + second.parameters());
        let mut parameters = vec![0.0; b + settings.head().parameters()];
        first.initial(hash(settings.seed, 1), &mut parameters[..a]);
        second.initial(hash(settings.seed, 2), &mut parameters[a..b]);
        settings.head().initial(1.0, hash(settings.seed, 3), &mut parameters[b..]);
        Ok(Self {
            held_out: digits.held_out(MEASURED),
            adam: Adam::new(parameters.len()),
            taken: [vec![0.0; first.experts], vec![0.0; second.experts]],
            step: 0,
            loss: (CLASSES as f32).ln(),
            digits,
            parameters,
            settings,
        })
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
        self.settings = settings;
        Ok(())
    }

    /// The settings now.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Steps done.
    pub fn steps(&self) -> usize {
        self.step
    }

    /// Trains for `n` steps.
    ///
    /// # Errors
    /// [`Error::Diverged`]; the lab then holds the step before.
    pub fn step(&mut self, n: usize) -> Result<()> {
        let (mut x, mut classes, mut pass) = (Vec::new(), Vec::new(), Pass::default());
        for _ in 0..n {
            self.digits.batch(hash(self.settings.seed, 4), self.step, self.settings.batch, &mut x, &mut classes);
            let open = self.open();
            self.forward(&x, [&open[0], &open[1]], &mut pass);
            let (loss, gradient) = self.backward(&x, &classes, &mut pass);
            if !self.adam.try_step(self.settings.learning_rate, &mut self.parameters, &gradient, loss) {
                return Err(Error::Diverged { step: self.step + 1 });
            }
            for (taken, layer) in self.taken.iter_mut().zip(&pass.layers) {
                let experts = taken.len();
                layer.shares.iter().enumerate().for_each(|(k, g)| taken[k % experts] += g);
            }
            self.loss = loss;
            self.step += 1;
        }
        Ok(())
    }

    /// Which experts take part in the next step.
    fn open(&self) -> [Vec<bool>; 2] {
        let constrained = self.step < self.settings.constrained_steps;
        let most = self.settings.margin * self.settings.batch as f32;
        self.taken.each_ref().map(|taken| {
            let mean = taken.iter().sum::<f32>() / taken.len() as f32;
            taken.iter().map(|t| !constrained || *t <= mean + most).collect()
        })
    }

    fn parts(&self) -> [usize; 2] {
        let [first, second] = self.settings.layers();
        [first.parameters(), first.parameters() + second.parameters()]
    }

    fn forward(&self, x: &[f32], open: [&[bool]; 2], pass: &mut Pass) {
        let ([first, second], [a, b]) = (self.settings.layers(), self.parts());
        let Pass { layers: [one, two], logits } = pass;
        first.forward(&self.parameters[..a], x, open[0], one);
        second.forward(&self.parameters[a..b], &one.z, open[1], two);
        logits.resize(x.len() / PIXELS * CLASSES, 0.0);
        self.settings.head().forward(&self.parameters[b..], &two.z, logits);
    }

    /// The loss and its gradient; the logits become theirs.
    fn backward(&self, x: &[f32], classes: &[usize], pass: &mut Pass) -> (f32, Vec<f32>) {
        let ([first, second], [a, b]) = (self.settings.layers(), self.parts());
        let mut gradient = vec![0.0; self.parameters.len()];
        let Pass { layers: [one, two], logits } = pass;
        let loss = cross_entropy_rows(logits, CLASSES, classes);
        let mut d_two = vec![0.0; two.z.len()];
        let mut d_one = vec![0.0; one.z.len()];
        self.settings.head().backward(&two.z, logits, &mut gradient[b..]);
        self.settings.head().backward_input(&self.parameters[b..], logits, &mut d_two);
        second.backward(&self.parameters[a..b], &one.z, two, &d_two, Some(&mut d_one), &mut gradient[a..b]);
        first.backward(&self.parameters[..a], x, one, &d_one, None, &mut gradient[..a]);
        (loss, gradient)
    }

    /// A pass over canvases with all experts.
    fn run(&self, canvases: &[f32]) -> Pass {
        let mut pass = Pass::default();
        let open = self.taken.each_ref().map(|taken| vec![true; taken.len()]);
        self.forward(canvases, [&open[0], &open[1]], &mut pass);
        pass
    }

    /// What the lab shows now, measured on held-out digits.
    pub fn state(&self) -> State {
        let HeldOut { canvases, classes, .. } = &self.held_out;
        let mut pass = self.run(canvases);
        let accuracy = self.held_out.accuracy(&pass.logits);
        let held_out_loss = cross_entropy_rows(&mut pass.logits, CLASSES, classes);
        let [first, second] = [0, 1].map(|l| self.confusion(&pass.layers[l].shares, self.taken[l].len()));
        State {
            step: self.step,
            loss: self.loss,
            held_out_loss,
            accuracy,
            shares: first.shares.iter().chain(&second.shares).copied().collect(),
            first,
            second,
        }
    }

    /// A held-out digit, at one of the places, through the network. Numbers that are too large count from 0 again.
    pub fn example(&self, number: usize, place: usize) -> Example {
        let (_, held_out) = self.digits.parts();
        let (digit, place) = (held_out.start + number % held_out.len(), place % PLACES);
        let mut pixels = vec![0.0; PIXELS];
        self.digits.draw(digit, place, &mut pixels);
        let pass = self.run(&pixels);
        let mut prediction = pass.logits;
        crate::affine::softmax_rows(&mut prediction, CLASSES);
        let [first, second] = pass.layers.map(|layer| layer.shares);
        Example { pixels, class: self.digits.class(digit), place, prediction, first, second }
    }

    fn confusion(&self, shares: &[f32], experts: usize) -> Confusion {
        let mean_by = |of: &[usize], count: usize| -> Vec<f32> {
            let mut sums = vec![0.0; count * experts];
            let mut rows = vec![0usize; count];
            for (share, &k) in shares.chunks_exact(experts).zip(of) {
                rows[k] += 1;
                sums[k * experts..][..experts].iter_mut().zip(share).for_each(|(sum, g)| *sum += g);
            }
            sums.iter().enumerate().map(|(i, sum)| sum / rows[i / experts].max(1) as f32).collect()
        };
        let by_place = mean_by(&self.held_out.places, PLACES);
        let by_class = mean_by(&self.held_out.classes, CLASSES);
        let all = mean_by(&vec![0; self.held_out.classes.len()], 1);
        Confusion {
            experts,
            place_bits: information(&by_place, &all, &frequencies(&self.held_out.places, PLACES)),
            class_bits: information(&by_class, &all, &frequencies(&self.held_out.classes, CLASSES)),
            by_place,
            by_class,
            shares: all,
        }
    }
}

fn frequencies(of: &[usize], count: usize) -> Vec<f32> {
    (0..count).map(|k| of.iter().filter(|&&o| o == k).count() as f32 / of.len() as f32).collect()
}

/// The mutual information of rows (each a distribution over the experts) and their kind, in bits.
fn information(rows: &[f32], all: &[f32], frequency: &[f32]) -> f32 {
    let mut bits = 0.0;
    for (row, f) in rows.chunks_exact(all.len()).zip(frequency) {
        for (p, q) in row.iter().zip(all).filter(|(p, _)| **p > 0.0) {
            bits += f * p * (p / q.max(f32::MIN_POSITIVE)).log2();
        }
    }
    bits.max(0.0)
}

#[cfg(test)]
mod tests;
