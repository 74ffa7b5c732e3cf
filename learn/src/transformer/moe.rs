//! The sparse layer. Tokens are grouped by expert, each expert is a SwiGLU network over its group, and the outputs are
//! multiplied by the gate's weights and added up for each token.
//!
//! Expert `e`: `h1 = x W1^T`, `h3 = x W3^T`, `a = silu(h1) * h3`, `y = a W2^T`; the layer's output for a token is
//! `sum over its experts of w_e y_e`. W1 and W3 lie one after the other, so that one product computes both.

use super::gate::{GateShape, Routing};
use crate::linalg::{Linear, add_scaled, dot, exp};
use crate::random::uniform;

/// The sizes of the experts of one layer.
#[derive(Clone, Copy, Debug)]
pub struct ExpertShape {
    /// Width of the residual stream.
    pub width: usize,
    /// The intermediate size of an expert.
    pub ff: usize,
}

impl ExpertShape {
    /// Elements of one expert's W1 and W3 together, 2 ff x width.
    pub fn w13(&self) -> usize {
        2 * self.ff * self.width
    }

    /// Elements of one expert's W2, width x ff.
    pub fn w2(&self) -> usize {
        self.width * self.ff
    }

    /// W1 and W3.
    fn up(&self) -> Linear {
        Linear { inputs: self.width, outputs: 2 * self.ff }
    }

    /// W2.
    fn down(&self) -> Linear {
        Linear { inputs: self.ff, outputs: self.width }
    }
}

/// Dropout in the experts (Fedus et al. 2021, section 2.4): each number of `a` is set to 0 with this probability, and
/// the others are scaled so that the mean stays.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    /// The probability, below 1.
    pub rate: f32,
    /// Seed of what is dropped.
    pub seed: u64,
}

impl Dropout {
    /// What multiplies unit `unit` of an assignment.
    fn factor(self, ff: usize, assignment: usize, unit: usize) -> f32 {
        let dropped = uniform(self.seed, (assignment * ff + unit) as u64) < f64::from(self.rate);
        if dropped { 0.0 } else { 1.0 / (1.0 - self.rate) }
    }

    /// Multiplies rows of `a`, one for each of these assignments.
    fn apply(self, ff: usize, assignments: &[usize], activation: &mut [f32]) {
        for (row, &assignment) in activation.chunks_exact_mut(ff).zip(assignments) {
            row.iter_mut().enumerate().for_each(|(unit, a)| *a *= self.factor(ff, assignment, unit));
        }
    }
}

/// The assignments in the order of their experts.
#[derive(Default)]
pub struct Dispatch {
    /// `starts[e]..starts[e + 1]` are expert `e`'s assignments.
    pub starts: Vec<usize>,
    /// The assignment `token * choices + choice` at each place in that order.
    pub order: Vec<usize>,
}

impl Dispatch {
    /// Sorts the assignments of a routing by expert with a counting sort, shared experts last, without dropped
    /// assignments. Tokens keep their order within an expert.
    pub fn fill(&mut self, gate: GateShape, routing: &Routing) {
        let kept = |a: usize| !routing.dropped.get(a).copied().unwrap_or(false);
        let assignments = || routing.selected.iter().enumerate().filter(|(a, _)| kept(*a));
        self.starts.clear();
        self.starts.resize(gate.experts + gate.shared + 1, 0);
        for (_, &expert) in assignments() {
            self.starts[expert as usize + 1] += 1;
        }
        for expert in 1..self.starts.len() {
            self.starts[expert] += self.starts[expert - 1];
        }
        let mut next = self.starts.clone();
        self.order.resize(routing.selected.len(), 0);
        for (assignment, &expert) in assignments() {
            self.order[next[expert as usize]] = assignment;
            next[expert as usize] += 1;
        }
    }
}

/// The data of the forward pass that the backward pass needs, in dispatch order (assignments x ...).
pub struct MoeState {
    /// The groups of this batch.
    pub dispatch: Dispatch,
    /// `h1` and `h3` side by side, assignments x 2 ff.
    hidden: Vec<f32>,
}

impl MoeState {
    /// Buffers for `assignments` assignments.
    pub fn new(shape: ExpertShape, assignments: usize) -> Self {
        Self { dispatch: Dispatch::default(), hidden: vec![0.0; assignments * 2 * shape.ff] }
    }
}

/// Buffers for one chunk of an expert's group, reused by every call.
pub struct MoeScratch {
    rows: Vec<f32>,
    activation: Vec<f32>,
    d_activation: Vec<f32>,
    d_hidden: Vec<f32>,
    out: Vec<f32>,
}

/// Assignments of one expert that are processed together, few enough that a chunk's matrices stay in the cache.
const CHUNK: usize = 256;

impl MoeScratch {
    /// Buffers for experts of this shape.
    pub fn new(shape: ExpertShape) -> Self {
        Self {
            rows: vec![0.0; CHUNK * shape.width],
            activation: vec![0.0; CHUNK * shape.ff],
            d_activation: vec![0.0; CHUNK * shape.ff],
            d_hidden: vec![0.0; CHUNK * 2 * shape.ff],
            out: vec![0.0; CHUNK * shape.width],
        }
    }
}

/// Every chunk of every expert's group: the expert and the places in dispatch order.
fn chunks(starts: &[usize]) -> impl Iterator<Item = (usize, std::ops::Range<usize>)> + '_ {
    (0..starts.len() - 1).flat_map(move |e| {
        let (start, end) = (starts[e], starts[e + 1]);
        (start..end).step_by(CHUNK).map(move |at| (e, at..end.min(at + CHUNK)))
    })
}

/// Gathers the tokens' rows of these assignments.
fn gather(x: &[f32], width: usize, choices: usize, assignments: &[usize], rows: &mut [f32]) {
    for (row, a) in rows.chunks_exact_mut(width).zip(assignments) {
        row.copy_from_slice(&x[a / choices * width..][..width]);
    }
}

/// `silu(h1) * h3` of every row of `hidden`.
fn activate(ff: usize, hidden: &[f32], activation: &mut [f32]) {
    for (h, a) in hidden.chunks_exact(2 * ff).zip(activation.chunks_exact_mut(ff)) {
        let (h1, h3) = h.split_at(ff);
        for i in 0..ff {
            a[i] = h1[i] / (1.0 + exp(-h1[i])) * h3[i];
        }
    }
}

/// Adds the experts' output to `out` (tokens x width); `w13` and `w2` are the weights of all experts in a row, the
/// shared ones last.
#[allow(clippy::too_many_arguments)]
pub fn forward(
    shape: ExpertShape,
    gate: GateShape,
    x: &[f32],
    w13: &[f32],
    w2: &[f32],
    routing: &Routing,
    dropout: Option<Dropout>,
    out: &mut [f32],
    state: &mut MoeState,
    scratch: &mut MoeScratch,
) {
    let ExpertShape { width, ff } = shape;
    state.dispatch.fill(gate, routing);
    for (e, places) in chunks(&state.dispatch.starts) {
        let n = places.len();
        let assignments = &state.dispatch.order[places.clone()];
        let rows = &mut scratch.rows[..n * width];
        gather(x, width, gate.choices(), assignments, rows);
        let hidden = &mut state.hidden[places.start * 2 * ff..places.end * 2 * ff];
        shape.up().forward(rows, &w13[e * shape.w13()..][..shape.w13()], 0.0, hidden);
        let activation = &mut scratch.activation[..n * ff];
        activate(ff, hidden, activation);
        if let Some(dropout) = dropout {
            dropout.apply(ff, assignments, activation);
        }
        let y = &mut scratch.out[..n * width];
        shape.down().forward(activation, &w2[e * shape.w2()..][..shape.w2()], 0.0, y);
        for (y, &a) in y.chunks_exact(width).zip(assignments) {
            add_scaled(&mut out[a / gate.choices() * width..][..width], routing.weights[a], y);
        }
    }
}

/// The gradients that [`backward`] adds to or writes.
pub struct MoeGradients<'a> {
    /// Gradient of the layer's input, tokens x width: added to.
    pub x: &'a mut [f32],
    /// Gradient of W1 and W3 of all experts: added to.
    pub w13: Option<&'a mut [f32]>,
    /// Gradient of W2 of all experts: added to.
    pub w2: Option<&'a mut [f32]>,
    /// Gradient of the gate's weights, tokens x choices: written, except for dropped assignments.
    pub weights: &'a mut [f32],
}

/// The backward pass from `d_out` (tokens x width). With `u = dout W2` (the gradient of `a` before the gate's weight):
/// `dw = u . a`, `da = w u`, `dW2 = dout^T (w a)`, and through the activation, with `s = sigmoid(h1)`,
/// `dh1 = da h3 s (1 + h1 (1 - s))`, `dh3 = da h1 s`; then `dW13 = dh^T x` and `dx = dh W13`.
#[allow(clippy::too_many_arguments)]
pub fn backward(
    shape: ExpertShape,
    gate: GateShape,
    x: &[f32],
    w13: &[f32],
    w2: &[f32],
    routing: &Routing,
    dropout: Option<Dropout>,
    d_out: &[f32],
    state: &MoeState,
    mut gradients: MoeGradients<'_>,
    scratch: &mut MoeScratch,
) {
    let ExpertShape { width, ff } = shape;
    for (e, places) in chunks(&state.dispatch.starts) {
        let n = places.len();
        let assignments = &state.dispatch.order[places.clone()];
        let hidden = &state.hidden[places.start * 2 * ff..places.end * 2 * ff];
        let activation = &mut scratch.activation[..n * ff];
        let d_activation = &mut scratch.d_activation[..n * ff];
        let d_hidden = &mut scratch.d_hidden[..n * 2 * ff];
        let rows = &mut scratch.rows[..n * width];
        let (w13_at, w2_at) = (e * shape.w13()..(e + 1) * shape.w13(), e * shape.w2()..(e + 1) * shape.w2());

        gather(d_out, width, gate.choices(), assignments, rows);
        shape.down().to_input(rows, &w2[w2_at.clone()], 0.0, d_activation);
        if let Some(dropout) = dropout {
            dropout.apply(ff, assignments, d_activation);
        }
        for (i, &a) in assignments.iter().enumerate() {
            let (h1, h3) = hidden[i * 2 * ff..(i + 1) * 2 * ff].split_at(ff);
            let (d1, d3) = d_hidden[i * 2 * ff..(i + 1) * 2 * ff].split_at_mut(ff);
            let act = &mut activation[i * ff..(i + 1) * ff];
            let u = &d_activation[i * ff..(i + 1) * ff];
            let w = routing.weights[a];
            for j in 0..ff {
                let s = 1.0 / (1.0 + exp(-h1[j]));
                let silu = h1[j] * s;
                act[j] = silu * h3[j];
                d1[j] = w * u[j] * h3[j] * s * (1.0 + h1[j] * (1.0 - s));
                d3[j] = w * u[j] * silu;
            }
            gradients.weights[a] = dot(u, act);
            act.iter_mut().for_each(|a| *a *= w);
        }
        if let Some(d_w2) = &mut gradients.w2 {
            if let Some(dropout) = dropout {
                dropout.apply(ff, assignments, activation);
            }
            shape.down().add_to_weight(rows, activation, &mut d_w2[w2_at]);
        }
        gather(x, width, gate.choices(), assignments, rows);
        if let Some(d_w13) = &mut gradients.w13 {
            shape.up().add_to_weight(d_hidden, rows, &mut d_w13[w13_at.clone()]);
        }
        let dx = &mut scratch.out[..n * width];
        shape.up().to_input(d_hidden, &w13[w13_at], 0.0, dx);
        for (dx, &a) in dx.chunks_exact(width).zip(assignments) {
            add_scaled(&mut gradients.x[a / gate.choices() * width..][..width], 1.0, dx);
        }
    }
}
