//! The optimiser: Muon (Jordan et al. 2024) for hidden matrices, AdamW (Loshchilov and Hutter 2019) for the rest.
//!
//! Muon replaces a matrix's momentum by the nearest orthogonal matrix, so that every direction of the update has the
//! same size; each expert's matrices are orthogonalised on their own.

use serde::{Deserialize, Serialize};

use super::model::{Kind, Layout, Parameter};
use crate::linalg::{dot, matrix, matrix_mut, product};

/// The hyperparameters of the optimiser.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// Muon's learning rate.
    pub muon: f32,
    /// Muon's momentum.
    pub momentum: f32,
    /// AdamW's learning rate.
    pub adam: f32,
    /// AdamW's decay rates of the first and second moment.
    pub betas: [f32; 2],
    /// Decoupled weight decay; norms have none.
    pub decay: f32,
    /// The largest norm of the gradient; a larger gradient is scaled down.
    pub clip: f32,
}

/// The moments of all parameters, laid out like them; `second` is used by AdamW only.
pub struct Optimizer {
    layout: Layout,
    rates: Rates,
    /// Which parameters it moves.
    trained: Vec<bool>,
    /// Whether hidden matrices have Muon.
    muon: bool,
    /// Momentum, or AdamW's first moment.
    pub first: Vec<f32>,
    /// AdamW's second moment.
    pub second: Vec<f32>,
}

/// One parameter with its gradient and its moments.
struct Piece<'a> {
    parameter: &'a Parameter,
    values: &'a mut [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
    gradient: &'a [f32],
}

impl Optimizer {
    /// An optimiser whose moments are zero.
    pub fn new(layout: Layout, rates: Rates) -> Self {
        let zeros = vec![0.0; layout.total];
        let trained = vec![true; layout.parameters.len()];
        Self { first: zeros.clone(), second: zeros, layout, rates, trained, muon: true }
    }

    /// Trains only these parameters; the others stay as they are, and have no moments.
    pub fn only(mut self, trained: impl Fn(&Parameter) -> bool) -> Self {
        self.trained = self.layout.parameters.iter().map(trained).collect();
        let all = self.layout.parameters.iter().zip(&self.trained);
        let moments = all.filter(|(_, trained)| **trained).map(|(p, _)| p.range.len()).sum();
        (self.first, self.second) = (vec![0.0; moments], vec![0.0; moments]);
        self
    }

    /// Has AdamW for hidden matrices too. Muon's products cost as much as a pass over thousands of tokens, however
    /// small the batch is.
    pub fn without_muon(mut self) -> Self {
        self.muon = false;
        self
    }

    /// Takes other rates for the next steps.
    pub fn set_rates(&mut self, rates: Rates) {
        self.rates = rates;
    }

    /// One step. `step` counts from 0, `factor` is the schedule's. Returns the gradient's norm before clipping.
    pub fn step(&mut self, step: usize, factor: f32, values: &mut [f32], gradient: &mut [f32]) -> f32 {
        let (norm, shares) = self.shares(step, factor, values, gradient, 1);
        shares.into_iter().for_each(Share::apply);
        norm
    }

    /// One step in so many shares, which may be applied on as many threads; it is done when all are. Returns the
    /// gradient's norm before clipping.
    pub fn shares<'a>(
        &'a mut self,
        step: usize,
        factor: f32,
        values: &'a mut [f32],
        gradient: &'a mut [f32],
        count: usize,
    ) -> (f32, Vec<Share<'a>>) {
        let rates = &self.rates;
        let norm = dot(gradient, gradient).sqrt();
        if norm > rates.clip {
            gradient.iter_mut().for_each(|g| *g *= rates.clip / norm);
        }
        let mut shares: Vec<Share> =
            (0..count).map(|_| Share { pieces: Vec::new(), rates, step, factor, muon: self.muon }).collect();
        let (mut values, mut first, mut second, mut gradient) =
            (values, &mut self.first[..], &mut self.second[..], &gradient[..]);
        for (n, parameter) in self.layout.parameters.iter().enumerate() {
            let size = parameter.range.len();
            let all = values.split_off_mut(..size).zip(gradient.split_off(..size));
            let (values, gradient) = all.expect("the layout covers the values and the gradient");
            if !self.trained[n] {
                continue;
            }
            let moments = first.split_off_mut(..size).zip(second.split_off_mut(..size));
            let (first, second) = moments.expect("trained parameters have moments");
            shares[n % count].pieces.push(Piece { parameter, values, first, second, gradient });
        }
        (norm, shares)
    }
}

/// A part of a step: some of the parameters.
pub struct Share<'a> {
    pieces: Vec<Piece<'a>>,
    rates: &'a Rates,
    step: usize,
    factor: f32,
    muon: bool,
}

impl Share<'_> {
    /// Moves its parameters.
    pub fn apply(self) {
        let Self { pieces, rates, step, factor, muon: with_muon } = self;
        for piece in pieces {
            match piece.parameter.kind {
                Kind::Hidden if with_muon => muon(piece, rates, factor),
                Kind::Hidden | Kind::Table => adam(piece, rates, rates.decay, step, factor),
                Kind::Gain => adam(piece, rates, 0.0, step, factor),
                Kind::Bias => {}
            }
        }
    }
}

/// With gradient `g`, momentum `m <- b m + (1 - b) g` and Nesterov's look ahead `u = b m + (1 - b) g`:
/// `w <- w (1 - rate decay) - rate sqrt(max(1, rows / cols)) orthogonal(u)`.
fn muon(piece: Piece<'_>, rates: &Rates, factor: f32) {
    let (rows, cols, b) = (piece.parameter.rows, piece.parameter.cols, rates.momentum);
    let look_ahead = |(m, g): (&mut f32, &f32)| {
        *m = b * *m + (1.0 - b) * g;
        b * *m + (1.0 - b) * g
    };
    let mut update: Vec<f32> = piece.first.iter_mut().zip(piece.gradient).map(look_ahead).collect();
    orthogonalise(&mut update, rows, cols);
    let rate = rates.muon * factor;
    let scale = rate * (rows as f32 / cols as f32).max(1.0).sqrt();
    for (w, u) in piece.values.iter_mut().zip(&update) {
        *w -= rate * rates.decay * *w + scale * u;
    }
}

/// Moves a matrix's singular values towards 1 by five Newton-Schulz steps of the quintic
/// `X <- a X + (b A + c A^2) X`, `A = X X^T`, with Muon's coefficients, which reach 0.7 to 1.2 and stay there.
pub fn orthogonalise(x: &mut [f32], rows: usize, cols: usize) {
    const A: f32 = 3.4445;
    const B: f32 = -4.7750;
    const C: f32 = 2.0315;
    let norm = dot(x, x).sqrt() + 1e-12;
    x.iter_mut().for_each(|x| *x /= norm);
    // The Gram matrix of the short side: a tall matrix works with X^T X from the right.
    let tall = rows > cols;
    let short = rows.min(cols);
    let mut gram = vec![0.0; short * short];
    let mut mix = vec![0.0; short * short];
    let mut next = vec![0.0; x.len()];
    for _ in 0..5 {
        let m = matrix(x, rows, cols);
        let (left, right) = if tall { (m.t(), m) } else { (m, m.t()) };
        product(matrix_mut(&mut gram, short, short), 0.0, 1.0, left, right);
        mix.copy_from_slice(&gram);
        let g = matrix(&gram, short, short);
        product(matrix_mut(&mut mix, short, short), B, C, g, g);
        let mix = matrix(&mix, short, short);
        next.copy_from_slice(x);
        let (left, right) = if tall { (m, mix) } else { (mix, m) };
        product(matrix_mut(&mut next, rows, cols), A, 1.0, left, right);
        x.copy_from_slice(&next);
    }
}

/// `m <- b1 m + (1 - b1) g`, `v <- b2 v + (1 - b2) g^2`, both corrected for their start at zero, then
/// `w <- w (1 - rate decay) - rate m / (sqrt(v) + 1e-8)`.
fn adam(piece: Piece<'_>, rates: &Rates, decay: f32, step: usize, factor: f32) {
    let [b1, b2] = rates.betas;
    let count = (step + 1) as i32;
    let (c1, c2) = (1.0 - b1.powi(count), 1.0 - b2.powi(count));
    let rate = rates.adam * factor;
    let moments = piece.first.iter_mut().zip(piece.second);
    for ((w, g), (m, v)) in piece.values.iter_mut().zip(piece.gradient).zip(moments) {
        *m = b1 * *m + (1.0 - b1) * g;
        *v = b2 * *v + (1.0 - b2) * g * g;
        *w -= rate * (decay * *w + *m / c1 / ((*v / c2).sqrt() + 1e-8));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::normal;

    #[test]
    fn newton_schulz_makes_rows_or_columns_nearly_orthonormal() {
        for (rows, cols) in [(24, 24), (16, 40), (40, 16)] {
            let mut x: Vec<f32> = (0..rows * cols).map(|i| normal(3, i as u64) as f32).collect();
            let before = x.clone();
            orthogonalise(&mut x, rows, cols);
            let short = rows.min(cols);
            let m = matrix(&x, rows, cols);
            let mut gram = vec![0.0; short * short];
            let (left, right) = if rows > cols { (m.t(), m) } else { (m, m.t()) };
            product(matrix_mut(&mut gram, short, short), 0.0, 1.0, left, right);
            for i in 0..short {
                for j in 0..short {
                    let value = gram[i * short + j];
                    let fits = if i == j { (0.45..1.55).contains(&value) } else { value.abs() < 0.45 };
                    assert!(fits, "{rows}x{cols}: gram[{i}][{j}] = {value}");
                }
            }
            assert!(dot(&before, &x) > 0.0, "the direction stays");
        }
    }

    #[test]
    fn a_gradient_step_lowers_a_quadratic() {
        let layout = Layout::new(&crate::transformer::reference::tests::shape());
        let rates = Rates { muon: 0.05, momentum: 0.95, adam: 0.01, betas: [0.9, 0.95], decay: 0.1, clip: 1.0 };
        let mut values = layout.initial(1);
        let mut optimizer = Optimizer::new(layout, rates);
        let norm = |v: &[f32]| dot(v, v);
        let before = norm(&values);
        for step in 0..20 {
            let mut gradient = values.clone();
            optimizer.step(step, 1.0, &mut values, &mut gradient);
        }
        assert!(norm(&values) < before);
    }
}
