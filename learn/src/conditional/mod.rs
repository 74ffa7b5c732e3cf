//! Conditional computation (Bengio 2013; Bengio, Léonard and Courville 2013): one network whose parts are always on,
//! weighted softly, or switched, on handwritten digits at nine places. What an example costs is counted beside the
//! loss.
//!
//! The logits are `sum_i w_i(x) (V_i relu(U_i x + a_i) + b_i)`. Always on, every weight is 1; weighted, the weights are
//! a softmax over all parts; switched, only the parts with the largest weights are computed (Shazeer et al. 2017).

use serde::{Deserialize, Serialize};

use crate::adam::Adam;
use crate::affine::{Affine, cross_entropy_rows, softmax_rows, softmax_rows_gradient};
use crate::digits::{CLASSES, Digits, HeldOut, PIXELS};
use crate::error::{Error, Limit, Result, check_limits, first_changed, limit};
use crate::linalg::{add_scaled, dot};
use crate::random::hash;

/// Which parts are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// All, without a gate.
    On,
    /// All, weighted by the gate.
    Soft,
    /// Those that the gate selects.
    #[default]
    Switched,
}

/// Everything that decides a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// Seed of the weights and of the order of the examples.
    pub seed: u64,
    /// Which parts are computed.
    pub mode: Mode,
    /// How many parts the network has.
    pub parts: usize,
    /// How many of them an example uses when they are switched.
    pub active: usize,
    /// Hidden units of a part.
    pub units: usize,
    /// Factor of the balancing loss `E sum f P` of the switched parts.
    pub balance: f32,
    /// Examples of a step.
    pub batch: usize,
    /// Step size of Adam.
    pub learning_rate: f32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            seed: 1,
            mode: Mode::default(),
            parts: 8,
            active: 2,
            units: 16,
            balance: 0.02,
            batch: 64,
            learning_rate: 0.003,
        }
    }
}

/// The limits of the numbers.
pub const LIMITS: [Limit; 7] = [
    limit("seed", 0.0, u64::MAX as f64),
    limit("parts", 1.0, 32.0),
    limit("active", 1.0, 32.0),
    limit("units", 1.0, 256.0),
    limit("balance", 0.0, 10.0),
    limit("batch", 1.0, 512.0),
    limit("learning-rate", 0.0, 1.0),
];

/// The settings that a running lab cannot change.
const FIXED: [&str; 3] = ["seed", "parts", "units"];

impl Settings {
    fn check(&self) -> Result<()> {
        check_limits(&LIMITS, self)?;
        if self.active > self.parts {
            let Self { active, parts, .. } = self;
            return Err(Error::Setting(format!("active is {active}, but there are only {parts} parts")));
        }
        Ok(())
    }

    /// The first setting that a running lab cannot change to that of `other`.
    pub fn needs_restart(&self, other: &Self) -> Option<&'static str> {
        first_changed(&FIXED, self, other)
    }

    fn gate(&self) -> Affine {
        Affine { inputs: PIXELS, outputs: self.parts }
    }

    fn part(&self) -> [Affine; 2] {
        [Affine { inputs: PIXELS, outputs: self.units }, Affine { inputs: self.units, outputs: CLASSES }]
    }

    fn part_parameters(&self) -> usize {
        self.part().iter().map(|a| a.parameters()).sum()
    }

    /// Parts that an example uses.
    fn used(&self) -> usize {
        if self.mode == Mode::Switched { self.active } else { self.parts }
    }

    /// Multiplications with an addition that one example costs, forward.
    pub fn multiply_adds(&self) -> usize {
        let gate = if self.mode == Mode::On { 0 } else { self.gate().multiply_adds() };
        gate + self.used() * self.part().iter().map(|a| a.multiply_adds()).sum::<usize>()
    }
}

/// What a lab shows of itself. Accuracy and shares are of held-out digits at every place.
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
    /// Each part's share of what is computed; together 1.
    pub shares: Vec<f32>,
    /// Parameters of the network.
    pub parameters: usize,
    /// Multiplications with an addition that one example costs, forward; the backward pass costs twice as many.
    pub multiply_adds: usize,
    /// All of them in training so far, forward and backward.
    pub spent: f64,
}

/// A running experiment.
#[derive(Clone)]
pub struct Lab {
    settings: Settings,
    digits: Digits,
    held_out: HeldOut,
    parameters: Vec<f32>,
    adam: Adam,
    step: usize,
    loss: f32,
    spent: f64,
}

/// What a pass keeps.
#[derive(Default)]
struct Pass {
    /// The gate's probabilities, rows x parts.
    probabilities: Vec<f32>,
    /// What multiplies each part, rows x parts; 0 where it is not computed.
    weights: Vec<f32>,
    /// The rows of each part, and what it gave for them.
    parts: Vec<PartState>,
    logits: Vec<f32>,
}

#[derive(Default)]
struct PartState {
    rows: Vec<usize>,
    x: Vec<f32>,
    hidden: Vec<f32>,
    out: Vec<f32>,
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
        let (gate, [up, down]) = (settings.gate(), settings.part());
        let mut parameters = vec![0.0; gate.parameters() + settings.parts * settings.part_parameters()];
        let (first, rest) = parameters.split_at_mut(gate.parameters());
        gate.initial(0.5, hash(settings.seed, 1), first);
        for (i, part) in rest.chunks_exact_mut(settings.part_parameters()).enumerate() {
            let (one, two) = part.split_at_mut(up.parameters());
            up.initial(1.4, hash(settings.seed, 2 + 2 * i as u64), one);
            down.initial(0.5, hash(settings.seed, 3 + 2 * i as u64), two);
        }
        Ok(Self {
            held_out: digits.held_out(MEASURED),
            adam: Adam::new(parameters.len()),
            step: 0,
            loss: (CLASSES as f32).ln(),
            spent: 0.0,
            digits,
            parameters,
            settings,
        })
    }

    /// Takes other settings while it runs, the mode too.
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
            self.digits.batch(hash(self.settings.seed, 0xd161), self.step, self.settings.batch, &mut x, &mut classes);
            self.forward(&x, &mut pass);
            let (loss, gradient) = self.backward(&x, &classes, &mut pass);
            if !self.adam.try_step(self.settings.learning_rate, &mut self.parameters, &gradient, loss) {
                return Err(Error::Diverged { step: self.step + 1 });
            }
            self.loss = loss;
            self.spent += 3.0 * (self.settings.multiply_adds() * classes.len()) as f64;
            self.step += 1;
        }
        Ok(())
    }

    /// What the lab shows now, measured on held-out digits.
    pub fn state(&self) -> State {
        let HeldOut { canvases, classes, .. } = &self.held_out;
        let mut pass = Pass::default();
        self.forward(canvases, &mut pass);
        let accuracy = self.held_out.accuracy(&pass.logits);
        let share = |i: usize| -> f32 {
            match self.settings.mode {
                Mode::On => classes.len() as f32,
                Mode::Soft => pass.weights.iter().skip(i).step_by(self.settings.parts).sum(),
                Mode::Switched => pass.parts[i].rows.len() as f32,
            }
        };
        let shares: Vec<f32> = (0..self.settings.parts).map(share).collect();
        let total: f32 = shares.iter().sum();
        State {
            step: self.step,
            loss: self.loss,
            held_out_loss: cross_entropy_rows(&mut pass.logits, CLASSES, classes),
            accuracy,
            shares: shares.iter().map(|s| s / total).collect(),
            parameters: self.parameters.len(),
            multiply_adds: self.settings.multiply_adds(),
            spent: self.spent,
        }
    }

    fn part(&self, i: usize) -> (&[f32], &[f32]) {
        let size = self.settings.part_parameters();
        let start = self.settings.gate().parameters() + i * size;
        self.parameters[start..start + size].split_at(self.settings.part()[0].parameters())
    }

    fn forward(&self, x: &[f32], pass: &mut Pass) {
        let Settings { parts, mode, .. } = self.settings;
        let rows = x.len() / PIXELS;
        pass.probabilities.resize(rows * parts, 0.0);
        pass.weights.clear();
        pass.weights.resize(rows * parts, if mode == Mode::On { 1.0 } else { 0.0 });
        if mode != Mode::On {
            let gate = self.settings.gate();
            gate.forward(&self.parameters[..gate.parameters()], x, &mut pass.probabilities);
            softmax_rows(&mut pass.probabilities, parts);
            let each = pass.probabilities.chunks_exact(parts).zip(pass.weights.chunks_exact_mut(parts));
            each.for_each(|(p, w)| weigh(p, self.settings.used(), w));
        }
        pass.logits.clear();
        pass.logits.resize(rows * CLASSES, 0.0);
        pass.parts.resize_with(parts, PartState::default);
        let [up, down] = self.settings.part();
        for (i, state) in pass.parts.iter_mut().enumerate() {
            state.rows.clear();
            state.rows.extend((0..rows).filter(|r| pass.weights[r * parts + i] != 0.0));
            state.x.clear();
            state.rows.iter().for_each(|r| state.x.extend_from_slice(&x[r * PIXELS..][..PIXELS]));
            state.hidden.resize(state.rows.len() * up.outputs, 0.0);
            state.out.resize(state.rows.len() * CLASSES, 0.0);
            let (one, two) = self.part(i);
            up.forward(one, &state.x, &mut state.hidden);
            state.hidden.iter_mut().for_each(|h| *h = h.max(0.0));
            down.forward(two, &state.hidden, &mut state.out);
            for (r, out) in state.rows.iter().zip(state.out.chunks_exact(CLASSES)) {
                add_scaled(&mut pass.logits[r * CLASSES..][..CLASSES], pass.weights[r * parts + i], out);
            }
        }
    }

    /// The cross-entropy, and the gradient of it and the balancing loss; the logits become their gradient.
    fn backward(&self, x: &[f32], classes: &[usize], pass: &mut Pass) -> (f32, Vec<f32>) {
        let parts = self.settings.parts;
        let loss = cross_entropy_rows(&mut pass.logits, CLASSES, classes);
        let mut gradient = vec![0.0; self.parameters.len()];
        let mut d_weights = vec![0.0; pass.weights.len()];
        let [up, down] = self.settings.part();
        let gate = self.settings.gate();
        let (d_gate, d_parts) = gradient.split_at_mut(gate.parameters());
        for ((i, state), d_part) in
            pass.parts.iter().enumerate().zip(d_parts.chunks_exact_mut(self.settings.part_parameters()))
        {
            let mut d_out = vec![0.0; state.out.len()];
            for (n, r) in state.rows.iter().enumerate() {
                let at = n * CLASSES..(n + 1) * CLASSES;
                let d = &pass.logits[r * CLASSES..][..CLASSES];
                d_weights[r * parts + i] = dot(d, &state.out[at.clone()]);
                add_scaled(&mut d_out[at], pass.weights[r * parts + i], d);
            }
            let (d_one, d_two) = d_part.split_at_mut(up.parameters());
            down.backward(&state.hidden, &d_out, d_two);
            let mut d_hidden = vec![0.0; state.hidden.len()];
            down.backward_input(self.part(i).1, &d_out, &mut d_hidden);
            d_hidden.iter_mut().zip(&state.hidden).filter(|(_, h)| **h <= 0.0).for_each(|(d, _)| *d = 0.0);
            up.backward(&state.x, &d_hidden, d_one);
        }
        if self.settings.mode != Mode::On {
            self.weights_to_probabilities(pass, &mut d_weights);
            softmax_rows_gradient(&pass.probabilities, parts, &mut d_weights);
            gate.backward(x, &d_weights, d_gate);
        }
        (loss, gradient)
    }

    /// Turns the gradient of the weights into that of the probabilities. Renormalised weights `w = p / sum p` give
    /// `dp = (dw - sum w dw) / sum p`; the balancing loss adds `E f / rows`.
    fn weights_to_probabilities(&self, pass: &Pass, d: &mut [f32]) {
        let Settings { parts, mode, active, balance, .. } = self.settings;
        if mode != Mode::Switched {
            return;
        }
        let rows = pass.weights.len() / parts;
        let push = |i: usize| balance * (parts * pass.parts[i].rows.len()) as f32 / (rows * active * rows) as f32;
        let each = pass.probabilities.chunks_exact(parts).zip(pass.weights.chunks_exact(parts));
        for ((p, w), d) in each.zip(d.chunks_exact_mut(parts)) {
            let used = || (0..parts).filter(|&i| w[i] != 0.0);
            if active > 1 {
                let kept: f32 = used().map(|i| p[i]).sum();
                let along: f32 = used().map(|i| w[i] * d[i]).sum();
                used().for_each(|i| d[i] = (d[i] - along) / kept);
            }
            d.iter_mut().enumerate().for_each(|(i, d)| *d += push(i));
        }
    }
}

/// Weights of a row: all probabilities, or of the `used` largest (the lower part first where they are equal): one keeps
/// its probability, as in Switch Transformers, several are renormalised.
fn weigh(p: &[f32], used: usize, w: &mut [f32]) {
    let above = |i: usize| (0..p.len()).filter(|&o| p[o] > p[i] || p[o] == p[i] && o < i).count();
    let mut kept = 0.0;
    for i in 0..p.len() {
        if above(i) < used {
            w[i] = p[i].max(f32::MIN_POSITIVE);
            kept += w[i];
        }
    }
    if used > 1 {
        w.iter_mut().for_each(|w| *w /= kept);
    }
}

#[cfg(test)]
mod tests;
