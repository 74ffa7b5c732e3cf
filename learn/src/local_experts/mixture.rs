//! The mixture over all points at once: gate, experts, objective, gradient. Numbers lie by column (one number a point).

use super::network::{Network, logistic, logistic_gradient};
use super::settings::{ExpertKind, GateKind, Objective, Selection, Settings};
use crate::columns::{exp_into, log_softmax, sum};
use crate::linalg::exp;
use crate::random::normal;

/// The sizes of a mixture, and where its parameters lie in one flat vector: experts first, then the gate.
#[derive(Clone, Copy, Debug)]
pub struct Mixture {
    /// How many experts.
    pub experts: usize,
    /// Groups of experts; 1 is a flat gate.
    pub groups: usize,
    /// One expert; experts that are fitted otherwise have no parameters here.
    pub expert: Option<Network>,
    /// The gate: one logit an expert, then one a group where there are groups.
    pub gate: Network,
    /// Numbers that an expert gives.
    pub outputs: usize,
    /// Whether these are probabilities of classes.
    pub classes: bool,
    /// Whether each output is a logistic unit of its own, and they share no softmax.
    pub logistic: bool,
}

/// What is computed of a set of points; each buffer is columns of `points` numbers.
#[derive(Clone, Default)]
pub struct Pass {
    /// How many points.
    pub points: usize,
    /// What each expert gives, experts x outputs.
    pub out: Vec<f32>,
    /// Log of the gate's share of each expert, experts.
    pub log_share: Vec<f32>,
    /// The gate's share, experts.
    pub share: Vec<f32>,
    /// What multiplies each expert's output, experts: 0 where it does not answer.
    pub weight: Vec<f32>,
    /// Log density of the target under each expert, but for a constant, experts.
    pub fit: Vec<f32>,
    /// How much each expert answers for the target, experts.
    pub posterior: Vec<f32>,
    /// What the mixture gives, outputs.
    pub blend: Vec<f32>,
    /// The objective, one number a point.
    pub loss: Vec<f32>,
    group_share: Vec<f32>,
    hidden: Vec<f32>,
    gate_hidden: Vec<f32>,
    logits: Vec<f32>,
    d_out: Vec<f32>,
    d_hidden: Vec<f32>,
    d_log_share: Vec<f32>,
    d_logits: Vec<f32>,
    top: Vec<f32>,
    sum: Vec<f32>,
}

impl Mixture {
    /// The mixture that the settings describe.
    pub fn new(settings: &Settings, outputs: usize, classes: bool) -> Self {
        let network = |inputs, hidden| Network { inputs, hidden, outputs, logistic: settings.logistic };
        let expert = match settings.expert {
            ExpertKind::Constant => Some(network(0, 0)),
            ExpertKind::Linear => Some(network(2, 0)),
            ExpertKind::Network => Some(network(2, settings.hidden)),
            ExpertKind::SupportVectorMachine | ExpertKind::GaussianProcess => None,
        };
        let groups = settings.groups;
        let rows = settings.experts + if groups > 1 { groups } else { 0 };
        let hidden = if settings.gate == GateKind::Network { settings.gate_hidden } else { 0 };
        let gate = Network { inputs: 2, hidden, outputs: rows, logistic: false };
        Self { experts: settings.experts, groups, expert, gate, outputs, classes, logistic: settings.logistic }
    }

    fn expert_parameters(&self) -> usize {
        self.expert.map_or(0, Network::parameters)
    }

    /// Where the gate's parameters begin.
    pub fn gate_start(&self) -> usize {
        self.experts * self.expert_parameters()
    }

    /// How many parameters.
    pub fn parameters(&self) -> usize {
        self.gate_start() + self.gate.parameters()
    }

    /// Random parameters; those into hidden units have this standard deviation, the others a small one.
    pub fn initial(&self, first_weights: f32, seed: u64) -> Vec<f32> {
        let mut all = Vec::with_capacity(self.parameters());
        let mut draw = |network: Network, head: f64| {
            let first = if network.hidden == 0 { 0 } else { network.hidden * (network.inputs + 1) };
            for i in 0..network.parameters() {
                let deviation = if i < first { f64::from(first_weights) } else { head };
                all.push((deviation * normal(seed, all.len() as u64)) as f32);
            }
        };
        for expert in std::iter::repeat_n(self.expert, self.experts).flatten() {
            draw(expert, 0.3);
        }
        draw(self.gate, 0.1);
        all
    }

    /// Room for so many points.
    pub fn pass(&self, points: usize) -> Pass {
        let zeros = |columns: usize| vec![0.0; columns * points];
        let (experts, outputs) = (self.experts, self.outputs);
        let hidden = self.expert.map_or(0, |e| e.hidden);
        Pass {
            points,
            out: zeros(experts * outputs),
            log_share: zeros(experts),
            share: zeros(experts),
            weight: zeros(experts),
            fit: zeros(experts),
            posterior: zeros(experts),
            blend: zeros(outputs),
            loss: zeros(1),
            group_share: zeros(self.groups),
            hidden: zeros(experts * hidden),
            gate_hidden: zeros(self.gate.hidden),
            logits: zeros(self.gate.outputs),
            d_out: zeros(experts * outputs),
            d_hidden: zeros(hidden.max(self.gate.hidden)),
            d_log_share: zeros(experts),
            d_logits: zeros(self.gate.outputs),
            top: zeros(1),
            sum: zeros(1),
        }
    }

    /// Fills what the experts give; nothing where they are fitted otherwise.
    pub fn run_experts(&self, parameters: &[f32], x: &[f32], pass: &mut Pass) {
        let Some(expert) = self.expert else { return };
        let (n, size) = (pass.points, expert.parameters());
        for e in 0..self.experts {
            let hidden = &mut pass.hidden[e * expert.hidden * n..][..expert.hidden * n];
            let out = &mut pass.out[e * self.outputs * n..][..self.outputs * n];
            expert.forward(&parameters[e * size..][..size], x, n, hidden, out);
            if self.classes && self.logistic {
                logistic(out);
            } else if self.classes {
                log_softmax(out, n, &mut pass.top, &mut pass.sum);
                out.iter_mut().for_each(|o| *o = exp(*o));
            }
        }
    }

    /// Fills the gate's shares.
    pub fn run_gate(&self, parameters: &[f32], x: &[f32], pass: &mut Pass) {
        let n = pass.points;
        let gate = &parameters[self.gate_start()..];
        self.gate.forward(gate, x, n, &mut pass.gate_hidden, &mut pass.logits);
        let (experts, groups) = pass.logits.split_at(self.experts * n);
        pass.log_share.copy_from_slice(experts);
        if self.groups > 1 {
            pass.group_share.copy_from_slice(groups);
            log_softmax(&mut pass.group_share, n, &mut pass.top, &mut pass.sum);
            let size = self.experts / self.groups;
            for (within, group) in pass.log_share.chunks_exact_mut(size * n).zip(pass.group_share.chunks_exact(n)) {
                log_softmax(within, n, &mut pass.top, &mut pass.sum);
                within.chunks_exact_mut(n).for_each(|w| w.iter_mut().zip(group).for_each(|(w, g)| *w += g));
            }
            pass.group_share.iter_mut().for_each(|g| *g = exp(*g));
        } else {
            log_softmax(&mut pass.log_share, n, &mut pass.top, &mut pass.sum);
        }
        exp_into(&pass.log_share, &mut pass.share);
    }

    /// Fills `fit` for squared errors: `-|d - o|^2 / 2 v`. `targets` is outputs x points.
    fn fit(&self, targets: &[f32], variance: f32, pass: &mut Pass) {
        let n = pass.points;
        let scale = -0.5 / variance;
        for (fit, out) in pass.fit.chunks_exact_mut(n).zip(pass.out.chunks_exact(self.outputs * n)) {
            fit.fill(0.0);
            for (out, target) in out.chunks_exact(n).zip(targets.chunks_exact(n)) {
                for ((fit, o), d) in fit.iter_mut().zip(out).zip(target) {
                    *fit += scale * (o - d) * (o - d);
                }
            }
        }
    }

    /// Fills `weight` and `blend`: what the mixture gives without knowing a target. One selected expert keeps its share
    /// as weight in the cooperative objective (as in Switch Transformers), else the selected experts' shares are
    /// renormalised.
    pub fn blend(&self, selection: Selection, objective: Objective, pass: &mut Pass) {
        let n = pass.points;
        pass.weight.copy_from_slice(&pass.share);
        let count = selection.count(self.experts);
        if count < self.experts {
            keep_largest(&pass.log_share, n, count, 0.0, &mut pass.weight);
            if !(count == 1 && objective == Objective::Cooperative) {
                renormalise(&mut pass.weight, n, &mut pass.sum);
            }
        }
        pass.blend.fill(0.0);
        for (weight, out) in pass.weight.chunks_exact(n).zip(pass.out.chunks_exact(self.outputs * n)) {
            for (blend, out) in pass.blend.chunks_exact_mut(n).zip(out.chunks_exact(n)) {
                for ((blend, w), o) in blend.iter_mut().zip(weight).zip(out) {
                    *blend += w * o;
                }
            }
        }
    }

    /// Fills `posterior` and `loss` of the competitive objective from `fit`: each point goes to the experts that
    /// answer best for it, all or so many. Afterwards `d_log_share` is the loss's gradient.
    pub fn compete(&self, selection: Selection, pass: &mut Pass) {
        let n = pass.points;
        let count = selection.count(self.experts);
        let joint = &mut pass.posterior;
        joint.iter_mut().zip(&pass.log_share).zip(&pass.fit).for_each(|((j, g), f)| *j = g + f);
        if count < self.experts {
            pass.d_log_share.copy_from_slice(joint);
            keep_largest(&pass.d_log_share, n, count, f32::NEG_INFINITY, joint);
        }
        // log_softmax leaves joint - log sum, so the sum is what was taken away: kept in `top`.
        log_softmax(joint, n, &mut pass.top, &mut pass.sum);
        pass.loss.iter_mut().zip(&pass.top).for_each(|(loss, log_sum)| *loss = -log_sum);
        joint.iter_mut().for_each(|j| *j = if *j == f32::NEG_INFINITY { 0.0 } else { exp(*j) });
        pass.d_log_share.iter_mut().zip(&*joint).for_each(|(d, h)| *d = -h);
    }

    /// Fills `loss`, `d_out` and `d_log_share` of the cooperative objective from `blend`.
    fn cooperate(&self, targets: &[f32], selection: Selection, variance: f32, pass: &mut Pass) {
        let n = pass.points;
        let per = 1.0 / variance;
        pass.blend.iter_mut().zip(targets).for_each(|(o, d)| *o -= d);
        pass.loss.fill(0.0);
        for off in pass.blend.chunks_exact(n) {
            pass.loss.iter_mut().zip(off).for_each(|(loss, r)| *loss += 0.5 * per * r * r);
        }
        let columns = pass.weight.chunks_exact(n).zip(pass.d_log_share.chunks_exact_mut(n));
        let outs = pass.out.chunks_exact(self.outputs * n).zip(pass.d_out.chunks_exact_mut(self.outputs * n));
        for ((weight, d_share), (out, d_out)) in columns.zip(outs) {
            d_share.fill(0.0);
            let parts = out.chunks_exact(n).zip(d_out.chunks_exact_mut(n)).zip(pass.blend.chunks_exact(n));
            for ((out, d_out), off) in parts {
                for p in 0..n {
                    let push = per * weight[p] * off[p];
                    d_out[p] = push;
                    d_share[p] += push * out[p];
                }
            }
        }
        let count = selection.count(self.experts);
        if count > 1 && count < self.experts {
            // The weights are renormalised: w = g / sum g over the selected.
            let total = &mut pass.sum;
            total.fill(0.0);
            for d in pass.d_log_share.chunks_exact(n) {
                total.iter_mut().zip(d).for_each(|(total, d)| *total += d);
            }
            for (d, w) in pass.d_log_share.chunks_exact_mut(n).zip(pass.weight.chunks_exact(n)) {
                d.iter_mut().zip(w).zip(&*total).for_each(|((d, w), total)| *d -= w * total);
            }
        }
        pass.blend.iter_mut().zip(targets).for_each(|(o, d)| *o += d);
    }

    /// The objective, a mean over the points. Needs `out` and the shares; fills `blend` and `posterior`.
    pub fn objective(&self, targets: &[f32], settings: &Settings, pass: &mut Pass) -> f32 {
        self.blend(settings.selection, settings.objective, pass);
        match settings.objective {
            Objective::Competitive => {
                self.fit(targets, settings.variance, pass);
                self.compete(settings.selection, pass);
            }
            Objective::Cooperative => {
                self.cooperate(targets, settings.selection, settings.variance, pass);
                pass.posterior.copy_from_slice(&pass.weight);
            }
        }
        sum(&pass.loss) / pass.points as f32
    }

    /// Writes the gradient of [`Mixture::objective`], after it.
    pub fn gradient(
        &self,
        parameters: &[f32],
        x: &[f32],
        targets: &[f32],
        settings: &Settings,
        pass: &mut Pass,
        gradient: &mut [f32],
    ) {
        if settings.objective == Objective::Competitive {
            self.push_experts(targets, settings.variance, pass);
        }
        let (experts, gate) = gradient.split_at_mut(self.gate_start());
        self.expert_gradient(parameters, x, pass, experts);
        self.gate_gradient(parameters, x, pass, gate);
    }

    /// `d_out = h (o - d) / v`.
    fn push_experts(&self, targets: &[f32], variance: f32, pass: &mut Pass) {
        let n = pass.points;
        let outs = pass.out.chunks_exact(self.outputs * n).zip(pass.d_out.chunks_exact_mut(self.outputs * n));
        for (h, (out, d_out)) in pass.posterior.chunks_exact(n).zip(outs) {
            let parts = out.chunks_exact(n).zip(d_out.chunks_exact_mut(n)).zip(targets.chunks_exact(n));
            for ((out, d_out), target) in parts {
                for p in 0..n {
                    d_out[p] = h[p] * (out[p] - target[p]) / variance;
                }
            }
        }
    }

    /// Writes the experts' gradient from `d_out`.
    fn expert_gradient(&self, parameters: &[f32], x: &[f32], pass: &mut Pass, gradient: &mut [f32]) {
        let Some(expert) = self.expert else { return };
        let (n, size) = (pass.points, expert.parameters());
        gradient.fill(0.0);
        pass.d_out.iter_mut().for_each(|d| *d /= n as f32);
        for e in 0..self.experts {
            let d_out = &mut pass.d_out[e * self.outputs * n..][..self.outputs * n];
            if self.classes && self.logistic {
                logistic_gradient(&pass.out[e * self.outputs * n..][..self.outputs * n], d_out);
            } else if self.classes {
                softmax_gradient(&pass.out[e * self.outputs * n..][..self.outputs * n], n, d_out, &mut pass.sum);
            }
            let hidden = &pass.hidden[e * expert.hidden * n..][..expert.hidden * n];
            let d_hidden = &mut pass.d_hidden[..expert.hidden * n];
            let at = e * size..(e + 1) * size;
            expert.backward(&parameters[at.clone()], x, n, hidden, d_out, d_hidden, &mut gradient[at]);
        }
    }

    /// Writes the gate's gradient (of the mean loss) from `d_log_share`, the gradient by the log of each share: a
    /// softmax with shares `g` gives `dl = s - g sum s`, and a tree of two levels the same at both.
    fn gate_gradient(&self, parameters: &[f32], x: &[f32], pass: &mut Pass, gradient: &mut [f32]) {
        let n = pass.points;
        gradient.fill(0.0);
        pass.d_log_share.iter_mut().for_each(|d| *d /= n as f32);
        let size = self.experts / self.groups;
        let (d_experts, d_groups) = pass.d_logits.split_at_mut(self.experts * n);
        d_experts.copy_from_slice(&pass.d_log_share);
        for j in 0..self.groups {
            let at = j * size * n..(j + 1) * size * n;
            pass.sum.fill(0.0);
            for s in pass.d_log_share[at.clone()].chunks_exact(n) {
                pass.sum.iter_mut().zip(s).for_each(|(sum, s)| *sum += s);
            }
            let columns = d_experts[at.clone()].chunks_exact_mut(n).zip(pass.share[at].chunks_exact(n));
            if self.groups == 1 {
                for (d, g) in columns {
                    d.iter_mut().zip(g).zip(&pass.sum).for_each(|((d, g), sum)| *d -= g * sum);
                }
                continue;
            }
            let group = &pass.group_share[j * n..][..n];
            for (d, g) in columns {
                for p in 0..n {
                    d[p] -= g[p] / group[p].max(f32::MIN_POSITIVE) * pass.sum[p];
                }
            }
            d_groups[j * n..][..n].copy_from_slice(&pass.sum);
        }
        if self.groups > 1 {
            pass.sum.fill(0.0);
            for d in d_groups.chunks_exact(n) {
                pass.sum.iter_mut().zip(d).for_each(|(sum, d)| *sum += d);
            }
            for (d, g) in d_groups.chunks_exact_mut(n).zip(pass.group_share.chunks_exact(n)) {
                d.iter_mut().zip(g).zip(&pass.sum).for_each(|((d, g), sum)| *d -= g * sum);
            }
        }
        let d_hidden = &mut pass.d_hidden[..self.gate.hidden * n];
        let gate = &parameters[self.gate_start()..];
        self.gate.backward(gate, x, n, &pass.gate_hidden, &pass.d_logits, d_hidden, gradient);
    }
}

/// `dz = o (do - sum o do)` over a softmax's columns, in place.
fn softmax_gradient(out: &[f32], n: usize, d_out: &mut [f32], along: &mut [f32]) {
    along.fill(0.0);
    for (o, d) in out.chunks_exact(n).zip(d_out.chunks_exact(n)) {
        along.iter_mut().zip(o).zip(d).for_each(|((a, o), d)| *a += o * d);
    }
    for (o, d) in out.chunks_exact(n).zip(d_out.chunks_exact_mut(n)) {
        d.iter_mut().zip(o).zip(&*along).for_each(|((d, o), a)| *d = o * (*d - a));
    }
}

/// Replaces every value of a point but those of its `count` largest keys (the lower expert where they are equal).
fn keep_largest(keys: &[f32], n: usize, count: usize, by: f32, values: &mut [f32]) {
    let experts = keys.len() / n;
    for p in 0..n {
        let above = |e: usize| {
            let key = keys[e * n + p];
            (0..experts).filter(|&o| keys[o * n + p] > key || keys[o * n + p] == key && o < e).count()
        };
        for e in 0..experts {
            if above(e) >= count {
                values[e * n + p] = by;
            }
        }
    }
}

/// Divides each point's weights by their sum.
fn renormalise(weights: &mut [f32], n: usize, total: &mut [f32]) {
    total.fill(0.0);
    for column in weights.chunks_exact(n) {
        total.iter_mut().zip(column).for_each(|(total, w)| *total += w);
    }
    for column in weights.chunks_exact_mut(n) {
        column.iter_mut().zip(&*total).for_each(|(w, total)| *w /= total.max(f32::MIN_POSITIVE));
    }
}
