//! Affine maps and softmaxes over the rows of a batch, forward and backward.

use crate::linalg::{Linear, exp_in_place, max};
use crate::random::normal;

/// `y = W x + b`: its parameters are `W`, outputs x inputs, and then `b`.
#[derive(Clone, Copy, Debug)]
pub struct Affine {
    /// Width of `x`.
    pub inputs: usize,
    /// Width of `y`.
    pub outputs: usize,
}

impl Affine {
    /// How many parameters.
    pub const fn parameters(self) -> usize {
        self.outputs * (self.inputs + 1)
    }

    /// Products of one row: what it costs.
    pub const fn multiply_adds(self) -> usize {
        self.inputs * self.outputs
    }

    fn map(self) -> Linear {
        Linear { inputs: self.inputs, outputs: self.outputs }
    }

    /// Normal weights of deviation `gain / sqrt(inputs)`, and no bias.
    pub fn initial(self, gain: f64, seed: u64, parameters: &mut [f32]) {
        let deviation = gain / (self.inputs as f64).sqrt();
        let (weights, bias) = parameters.split_at_mut(self.inputs * self.outputs);
        weights.iter_mut().enumerate().for_each(|(i, w)| *w = (deviation * normal(seed, i as u64)) as f32);
        bias.fill(0.0);
    }

    /// `x` is rows x inputs, `y` rows x outputs.
    pub fn forward(self, parameters: &[f32], x: &[f32], y: &mut [f32]) {
        let (weights, bias) = parameters.split_at(self.inputs * self.outputs);
        y.chunks_exact_mut(self.outputs).for_each(|y| y.copy_from_slice(bias));
        self.map().forward(x, weights, 1.0, y);
    }

    /// Adds to the parameters' gradient.
    pub fn backward(self, x: &[f32], dy: &[f32], gradient: &mut [f32]) {
        let (weights, bias) = gradient.split_at_mut(self.inputs * self.outputs);
        self.map().add_to_weight(dy, x, weights);
        for dy in dy.chunks_exact(self.outputs) {
            bias.iter_mut().zip(dy).for_each(|(b, d)| *b += d);
        }
    }

    /// Adds to the gradient of `x`.
    pub fn backward_input(self, parameters: &[f32], dy: &[f32], dx: &mut [f32]) {
        self.map().to_input(dy, &parameters[..self.inputs * self.outputs], 1.0, dx);
    }
}

/// Turns every row of so many numbers into its softmax.
pub fn softmax_rows(rows: &mut [f32], width: usize) {
    for row in rows.chunks_exact_mut(width) {
        let top = max(row);
        let sum = exp_in_place(row, 1.0, top);
        row.iter_mut().for_each(|p| *p /= sum);
    }
}

/// Turns the gradient of a softmax's outputs into that of its inputs: `dl = p (dp - sum p dp)`.
pub fn softmax_rows_gradient(p: &[f32], width: usize, d: &mut [f32]) {
    for (p, d) in p.chunks_exact(width).zip(d.chunks_exact_mut(width)) {
        let along: f32 = p.iter().zip(&*d).map(|(p, d)| p * d).sum();
        d.iter_mut().zip(p).for_each(|(d, p)| *d = p * (*d - along));
    }
}

/// Turns logits into the gradient of the mean cross-entropy and returns that, in nats.
pub fn cross_entropy_rows(logits: &mut [f32], width: usize, classes: &[usize]) -> f32 {
    let share = 1.0 / classes.len() as f32;
    let mut loss = 0.0;
    for (row, &class) in logits.chunks_exact_mut(width).zip(classes) {
        let (top, aim) = (max(row), row[class]);
        let sum = exp_in_place(row, 1.0, top);
        loss += share * (top + sum.ln() - aim);
        row.iter_mut().for_each(|p| *p *= share / sum);
        row[class] -= share;
    }
    loss
}

/// The place of the largest number of a row.
pub fn largest(row: &[f32]) -> usize {
    (0..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best })
}
