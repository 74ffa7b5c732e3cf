//! Expectation maximisation for a tree of gates with constant or linear experts (Jordan and Jacobs 1994), in `f64`.
//!
//! The E-step gives every expert its responsibility for every point. The M-step solves a weighted least squares problem
//! for each expert (values) or a weighted softmax regression (classes), and a softmax regression for every gate, by
//! Newton's method. A solution is taken only if it is no worse, so the likelihood never falls.

use super::data::Task;
use super::mixture::Mixture;

/// The least variance of an expert.
const LEAST_VARIANCE: f64 = 1e-4;
/// Responsibility below which an expert stays as it is.
const LEAST_LOAD: f64 = 1e-6;

/// The parameters, as [`Mixture`] lays them out, and each expert's variance.
#[derive(Clone, Debug)]
pub struct Em {
    mixture: Mixture,
    task: Task,
    experts: Vec<f64>,
    gate: Vec<f64>,
    /// Variance of each expert's values.
    pub variance: Vec<f64>,
}

/// The points: a row of inputs with a 1 at the end, and a row of targets, for each.
pub struct Rows {
    x: Vec<[f64; 3]>,
    targets: Vec<f64>,
    outputs: usize,
}

impl Rows {
    /// From columns, `x` 2 x points and `targets` outputs x points.
    pub fn new(x: &[f32], targets: &[f32], points: usize) -> Self {
        let outputs = targets.len() / points;
        let row = |i: usize| [f64::from(x[i]), f64::from(x[points + i]), 1.0];
        let target = |i: usize| (0..outputs).map(move |o| f64::from(targets[o * points + i]));
        Self { x: (0..points).map(row).collect(), targets: (0..points).flat_map(target).collect(), outputs }
    }

    fn target(&self, i: usize) -> &[f64] {
        &self.targets[i * self.outputs..][..self.outputs]
    }
}

fn log_softmax(row: &mut [f64]) {
    let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum = top + row.iter().map(|x| (x - top).exp()).sum::<f64>().ln();
    row.iter_mut().for_each(|x| *x -= sum);
}

/// `W x`, `W` having rows as long as `x`.
fn linear(weights: &[f64], x: &[f64]) -> Vec<f64> {
    weights.chunks_exact(x.len()).map(|row| row.iter().zip(x).map(|(w, x)| w * x).sum()).collect()
}

impl Em {
    /// From the parameters of a mixture, all experts with one variance.
    pub fn new(mixture: Mixture, task: Task, parameters: &[f32], variance: f32) -> Self {
        let wide: Vec<f64> = parameters.iter().map(|&p| f64::from(p)).collect();
        let (experts, gate) = wide.split_at(mixture.gate_start());
        let variance = vec![f64::from(variance).max(LEAST_VARIANCE); mixture.experts];
        Self { mixture, task, experts: experts.to_vec(), gate: gate.to_vec(), variance }
    }

    /// Writes the parameters back.
    pub fn write(&self, parameters: &mut [f32]) {
        for (narrow, wide) in parameters.iter_mut().zip(self.experts.iter().chain(&self.gate)) {
            *narrow = *wide as f32;
        }
    }

    /// Numbers of a point that an expert sees: the 1, or the place and the 1.
    fn width(&self) -> usize {
        self.mixture.expert.map_or(0, |e| e.inputs) + 1
    }

    fn size(&self) -> usize {
        self.width() * self.mixture.outputs
    }

    /// Log of each expert's share at a place.
    fn log_shares(&self, x: &[f64; 3]) -> Vec<f64> {
        let mut logits = linear(&self.gate, x);
        let mut groups = logits.split_off(self.mixture.experts);
        if groups.is_empty() {
            groups.push(0.0);
        }
        log_softmax(&mut groups);
        let size = logits.len() / groups.len();
        for (within, group) in logits.chunks_exact_mut(size).zip(&groups) {
            log_softmax(within);
            within.iter_mut().for_each(|l| *l += group);
        }
        logits
    }

    /// Log density of the target under expert `e`.
    fn log_density(&self, e: usize, x: &[f64; 3], target: &[f64]) -> f64 {
        let mut out = linear(&self.experts[e * self.size()..][..self.size()], &x[3 - self.width()..]);
        match self.task {
            Task::Classes(_) => {
                log_softmax(&mut out);
                out.iter().zip(target).map(|(o, t)| o * t).sum()
            }
            Task::Values => {
                let v = self.variance[e];
                -0.5 * ((out[0] - target[0]).powi(2) / v + (std::f64::consts::TAU * v).ln())
            }
        }
    }

    /// The E-step: responsibilities (points x experts) and the mean log-likelihood.
    pub fn expect(&self, rows: &Rows) -> (Vec<f64>, f64) {
        let mut all = Vec::with_capacity(rows.x.len() * self.mixture.experts);
        let mut total = 0.0;
        for (i, x) in rows.x.iter().enumerate() {
            let mut joint = self.log_shares(x);
            joint.iter_mut().enumerate().for_each(|(e, j)| *j += self.log_density(e, x, rows.target(i)));
            let top = joint.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = joint.iter().map(|j| (j - top).exp()).sum();
            total += top + sum.ln();
            all.extend(joint.iter().map(|j| (j - top).exp() / sum));
        }
        (all, total / rows.x.len() as f64)
    }

    /// The M-step from responsibilities (points x experts).
    pub fn maximise(&mut self, rows: &Rows, responsibility: &[f64]) {
        let experts = self.mixture.experts;
        for e in 0..experts {
            let weights: Vec<f64> = responsibility.chunks_exact(experts).map(|row| row[e]).collect();
            if weights.iter().sum::<f64>() > LEAST_LOAD {
                self.fit_expert(e, rows, &weights);
            }
        }
        self.fit_gates(rows, responsibility);
    }

    fn fit_expert(&mut self, e: usize, rows: &Rows, weights: &[f64]) {
        let width = self.width();
        let at = e * self.size()..(e + 1) * self.size();
        let x = |i: usize| &rows.x[i][3 - width..];
        if let Task::Classes(_) = self.task {
            softmax_regression(width, &x, &|i| rows.target(i), weights, &mut self.experts[at]);
            return;
        }
        let mut matrix = vec![0.0; width * width];
        let mut right = vec![0.0; width];
        for (i, w) in weights.iter().enumerate() {
            for (r, a) in x(i).iter().enumerate() {
                right[r] += w * a * rows.target(i)[0];
                x(i).iter().enumerate().for_each(|(c, b)| matrix[r * width + c] += w * a * b);
            }
        }
        let squares = |parameters: &[f64]| -> f64 {
            let miss = |i: usize| linear(parameters, x(i))[0] - rows.target(i)[0];
            weights.iter().enumerate().map(|(i, w)| w * miss(i).powi(2)).sum()
        };
        let before = squares(&self.experts[at.clone()]);
        if let Some(solution) = solve(matrix, right).filter(|s| squares(s) <= before) {
            self.experts[at.clone()].copy_from_slice(&solution);
        }
        let mean = squares(&self.experts[at]) / weights.iter().sum::<f64>();
        self.variance[e] = mean.max(LEAST_VARIANCE);
    }

    fn fit_gates(&mut self, rows: &Rows, responsibility: &[f64]) {
        let (experts, groups) = (self.mixture.experts, self.mixture.groups);
        let size = experts / groups;
        let x = |i: usize| &rows.x[i][..];
        for j in 0..groups {
            let of = |i: usize| &responsibility[i * experts + j * size..][..size];
            let load: Vec<f64> = (0..rows.x.len()).map(|i| of(i).iter().sum()).collect();
            let shares: Vec<f64> = (0..rows.x.len())
                .flat_map(|i| of(i).iter().map(|h| h / load[i].max(1e-300)).collect::<Vec<_>>())
                .collect();
            let gate = &mut self.gate[j * size * 3..(j + 1) * size * 3];
            softmax_regression(3, &x, &|i| &shares[i * size..][..size], &load, gate);
        }
        if groups > 1 {
            let sums: Vec<f64> = responsibility.chunks_exact(size).map(|h| h.iter().sum()).collect();
            let ones = vec![1.0; rows.x.len()];
            softmax_regression(3, &x, &|i| &sums[i * groups..][..groups], &ones, &mut self.gate[experts * 3..]);
        }
    }
}

/// `sum_i w_i sum_k t_ik log softmax(W x_i)_k`.
fn score<'a, 'b>(
    x: &dyn Fn(usize) -> &'a [f64],
    targets: &dyn Fn(usize) -> &'b [f64],
    weights: &[f64],
    parameters: &[f64],
) -> f64 {
    let one = |(i, w): (usize, &f64)| {
        let mut out = linear(parameters, x(i));
        log_softmax(&mut out);
        w * out.iter().zip(targets(i)).map(|(o, t)| o * t).sum::<f64>()
    };
    weights.iter().enumerate().map(one).sum()
}

/// Two steps of Newton's method up the weighted log-likelihood of a softmax regression, each shortened until the
/// likelihood does not fall.
fn softmax_regression<'a, 'b>(
    width: usize,
    x: &dyn Fn(usize) -> &'a [f64],
    targets: &dyn Fn(usize) -> &'b [f64],
    weights: &[f64],
    parameters: &mut [f64],
) {
    let size = parameters.len();
    if size == width {
        return;
    }
    for _ in 0..2 {
        let before = score(x, targets, weights, parameters);
        let mut gradient = vec![0.0; size];
        let mut curvature = vec![0.0; size * size];
        for (i, &w) in weights.iter().enumerate() {
            let (x, t) = (x(i), targets(i));
            let mut p = linear(parameters, x);
            log_softmax(&mut p);
            p.iter_mut().for_each(|p| *p = p.exp());
            for a in 0..size {
                let (k, r) = (a / width, a % width);
                gradient[a] += w * (t[k] - p[k]) * x[r];
                for b in 0..=a {
                    let (l, c) = (b / width, b % width);
                    let both = if k == l { p[k] } else { 0.0 } - p[k] * p[l];
                    curvature[a * size + b] += w * both * x[r] * x[c];
                }
            }
        }
        for a in 0..size {
            for b in 0..a {
                curvature[b * size + a] = curvature[a * size + b];
            }
            // The same number added to all logits changes nothing: a little more than nothing makes it solvable.
            curvature[a * size + a] += 1e-6 * weights.iter().sum::<f64>() + 1e-12;
        }
        let Some(step) = solve(curvature, gradient) else { return };
        let mut scale = 1.0;
        let better = (0..12).find_map(|_| {
            let next: Vec<f64> = parameters.iter().zip(&step).map(|(p, s)| p + scale * s).collect();
            scale *= 0.5;
            (score(x, targets, weights, &next) >= before).then_some(next)
        });
        let Some(next) = better else { return };
        parameters.copy_from_slice(&next);
    }
}

/// The solution of a symmetric positive definite system, with a trace of a ridge; `None` where there is none.
fn solve(mut a: Vec<f64>, mut b: Vec<f64>) -> Option<Vec<f64>> {
    let n = b.len();
    let trace: f64 = (0..n).map(|i| a[i * n + i]).sum();
    (0..n).for_each(|i| a[i * n + i] += 1e-10 * trace + 1e-12);
    for i in 0..n {
        for j in 0..=i {
            let rest = a[i * n + j] - (0..j).map(|k| a[i * n + k] * a[j * n + k]).sum::<f64>();
            if i != j {
                a[i * n + j] = rest / a[j * n + j];
            } else if rest > 0.0 && rest.is_finite() {
                a[i * n + i] = rest.sqrt();
            } else {
                return None;
            }
        }
    }
    for i in 0..n {
        b[i] = (b[i] - (0..i).map(|k| a[i * n + k] * b[k]).sum::<f64>()) / a[i * n + i];
    }
    for i in (0..n).rev() {
        b[i] = (b[i] - (i + 1..n).map(|k| a[k * n + i] * b[k]).sum::<f64>()) / a[i * n + i];
    }
    b.iter().all(|b| b.is_finite()).then_some(b)
}
