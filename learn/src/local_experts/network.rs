//! A network of no or one hidden layer over many points at once. Numbers lie by column: unit after unit, each with one
//! number a point, so that every loop runs along the points and becomes SIMD code.

use crate::columns::{add_scaled, dot, sum, tanh};

/// The sizes of a network. Its parameters are, for every hidden unit and then for every output, the weights of the
/// inputs and a bias.
#[derive(Clone, Copy, Debug)]
pub struct Network {
    /// Numbers of a point that go in: 0 is a constant.
    pub inputs: usize,
    /// Hidden units; none is a linear map.
    pub hidden: usize,
    /// Numbers that come out.
    pub outputs: usize,
    /// Whether hidden units are logistic, from 0 to 1, as in 1991; else they are from -1 to 1.
    pub logistic: bool,
}

impl Network {
    /// How many parameters.
    pub fn parameters(self) -> usize {
        if self.hidden == 0 {
            self.outputs * (self.inputs + 1)
        } else {
            self.hidden * (self.inputs + 1) + self.outputs * (self.hidden + 1)
        }
    }

    /// Where the parameters of the outputs begin.
    fn head(self) -> usize {
        if self.hidden == 0 { 0 } else { self.hidden * (self.inputs + 1) }
    }

    /// Fills `hidden` (hidden x points) and `out` (outputs x points) from `x` (at least inputs x points).
    pub fn forward(self, parameters: &[f32], x: &[f32], points: usize, hidden: &mut [f32], out: &mut [f32]) {
        let (first, head) = parameters.split_at(self.head());
        if self.hidden == 0 {
            affine(head, x, self.inputs, points, out);
        } else {
            affine(first, x, self.inputs, points, hidden);
            if self.logistic {
                logistic(hidden);
            } else {
                hidden.iter_mut().for_each(|h| *h = tanh(*h));
            }
            affine(head, hidden, self.hidden, points, out);
        }
    }

    /// Adds to `gradient` from `d_out` (outputs x points); `hidden` is that of the forward pass and `d_hidden` room of
    /// the same size.
    #[allow(clippy::too_many_arguments)]
    pub fn backward(
        self,
        parameters: &[f32],
        x: &[f32],
        points: usize,
        hidden: &[f32],
        d_out: &[f32],
        d_hidden: &mut [f32],
        gradient: &mut [f32],
    ) {
        let (d_first, d_head) = gradient.split_at_mut(self.head());
        if self.hidden == 0 {
            affine_gradient(x, self.inputs, points, d_out, d_head);
            return;
        }
        affine_gradient(hidden, self.hidden, points, d_out, d_head);
        let head = &parameters[self.head()..];
        d_hidden.fill(0.0);
        for (row, d_out) in head.chunks_exact(self.hidden + 1).zip(d_out.chunks_exact(points)) {
            for (d_hidden, w) in d_hidden.chunks_exact_mut(points).zip(row) {
                add_scaled(d_hidden, *w, d_out);
            }
        }
        if self.logistic {
            logistic_gradient(hidden, d_hidden);
        } else {
            d_hidden.iter_mut().zip(hidden).for_each(|(d, h)| *d *= 1.0 - h * h);
        }
        affine_gradient(x, self.inputs, points, d_hidden, d_first);
    }
}

/// `1 / (1 + e^-z)`, in place.
pub fn logistic(z: &mut [f32]) {
    z.iter_mut().for_each(|z| *z = 0.5 + 0.5 * tanh(0.5 * *z));
}

/// `dz = do o (1 - o)` of logistic units, in place.
pub fn logistic_gradient(out: &[f32], d_out: &mut [f32]) {
    d_out.iter_mut().zip(out).for_each(|(d, o)| *d *= o * (1.0 - o));
}

/// `y = W x + b` for every point.
fn affine(parameters: &[f32], x: &[f32], inputs: usize, points: usize, y: &mut [f32]) {
    for (row, y) in parameters.chunks_exact(inputs + 1).zip(y.chunks_exact_mut(points)) {
        y.fill(row[inputs]);
        for (x, w) in x.chunks_exact(points).zip(&row[..inputs]) {
            add_scaled(y, *w, x);
        }
    }
}

/// `dW += dy x^T`, `db += sum dy`.
fn affine_gradient(x: &[f32], inputs: usize, points: usize, dy: &[f32], gradient: &mut [f32]) {
    for (row, dy) in gradient.chunks_exact_mut(inputs + 1).zip(dy.chunks_exact(points)) {
        for (x, w) in x.chunks_exact(points).zip(row.iter_mut().take(inputs)) {
            *w += dot(x, dy);
        }
        row[inputs] += sum(dy);
    }
}
