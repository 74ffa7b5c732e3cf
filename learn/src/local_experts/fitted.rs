//! The experts that are fitted to their points instead of following a gradient: support vector machines and Gaussian
//! processes.

use super::gaussian_process::{Kernel, Process};
use super::mixture::Pass;
use super::settings::{ExpertKind, Settings};
use super::svm::Machine;

/// The most points of a Gaussian process: those that its expert answers for the most.
pub const MOST_POINTS: usize = 60;
/// Responsibility below which a point is none of a process.
const LEAST: f32 = 0.02;
/// How fast a process adapts its kernel.
const RATE: f64 = 0.05;
/// How sharply the decision values of support vector machines become probabilities of classes.
const SHARPNESS: f64 = 2.0;

/// A Gaussian process expert.
#[derive(Clone, Debug)]
pub struct Gaussian {
    /// Its kernel now.
    pub kernel: Kernel,
    process: Option<Process>,
    /// The place of each point in the process, if it is one of its.
    member: Vec<Option<usize>>,
}

/// All fitted experts of a lab.
#[derive(Clone, Debug)]
pub enum Fitted {
    /// Experts x classes.
    Machines(Vec<Machine>),
    /// Experts.
    Gaussians(Vec<Gaussian>),
}

impl Fitted {
    /// Experts that have seen nothing yet; none for the kinds that follow a gradient.
    pub fn new(settings: &Settings, outputs: usize, points: usize) -> Option<Self> {
        let kernel = Kernel {
            log_length: f64::from(settings.length_scale).ln(),
            log_signal: 0.25f64.ln(),
            log_noise: 0.02f64.ln(),
        };
        match settings.expert {
            ExpertKind::SupportVectorMachine => {
                Some(Self::Machines(vec![Machine::new(points); settings.experts * outputs]))
            }
            ExpertKind::GaussianProcess => {
                let gaussian = Gaussian { kernel, process: None, member: vec![None; points] };
                Some(Self::Gaussians(vec![gaussian; settings.experts]))
            }
            _ => None,
        }
    }

    /// Fits every expert to the points by its responsibilities (experts x points). `targets` is outputs x points.
    pub fn fit(&mut self, settings: &Settings, x: &[f32], targets: &[f32], classes: bool, responsibility: &[f32]) {
        let n = x.len() / 2;
        match self {
            Self::Machines(machines) => {
                let outputs = targets.len() / n;
                for (m, machine) in machines.iter_mut().enumerate() {
                    let (e, class) = (m / outputs, m % outputs);
                    let inside = &targets[class * n..][..n];
                    let share = &responsibility[e * n..][..n];
                    let sign = |i: usize| if inside[i] > 0.5 { 1.0 } else { -1.0 };
                    machine.pass(x, sign, |i| f64::from(settings.hinge * share[i]));
                }
            }
            Self::Gaussians(all) => {
                for (gaussian, share) in all.iter_mut().zip(responsibility.chunks_exact(n)) {
                    gaussian.fit(settings.adapt, x, targets, offset(classes, targets.len() / n), share);
                }
            }
        }
    }

    /// Fills what each expert gives at these places, and for Gaussian processes its variance (experts x points), with
    /// noise. With `seen`, the places are the points that were fitted: each is then predicted from the others.
    pub fn run(&self, x: &[f32], classes: bool, seen: bool, pass: &mut Pass, variance: &mut Vec<f32>) {
        let n = pass.points;
        let experts = pass.share.len() / n;
        let outputs = pass.out.len() / (n * experts);
        variance.clear();
        match self {
            Self::Machines(machines) => {
                let mut row = vec![0.0; outputs];
                for (e, machines) in machines.chunks_exact(outputs).enumerate() {
                    for i in 0..n {
                        let decide = |m: &Machine| SHARPNESS * m.decide(x[i], x[n + i]);
                        row.iter_mut().zip(machines).for_each(|(r, m)| *r = decide(m));
                        softmax(&mut row);
                        row.iter().enumerate().for_each(|(o, p)| pass.out[(e * outputs + o) * n + i] = *p as f32);
                    }
                }
            }
            Self::Gaussians(all) => {
                let (mut mean, mut room) = (vec![0.0; outputs], Vec::new());
                let offset = offset(classes, outputs);
                for (e, gaussian) in all.iter().enumerate() {
                    for i in 0..n {
                        let place = [f64::from(x[i]), f64::from(x[n + i])];
                        let member = gaussian.member.get(i).copied().flatten().filter(|_| seen);
                        let spread = gaussian.at(place, member, &mut mean, &mut room);
                        variance.push((spread + gaussian.kernel.noise()) as f32);
                        for (o, mean) in mean.iter().enumerate() {
                            pass.out[(e * outputs + o) * n + i] = (mean + offset) as f32;
                        }
                    }
                }
            }
        }
    }
}

/// Gaussian processes have mean zero; the mean of the classes' ones and zeros is this.
fn offset(classes: bool, outputs: usize) -> f64 {
    if classes { 1.0 / outputs as f64 } else { 0.0 }
}

fn softmax(row: &mut [f64]) {
    let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    row.iter_mut().for_each(|x| *x = (*x - top).exp());
    let sum: f64 = row.iter().sum();
    row.iter_mut().for_each(|x| *x /= sum);
}

impl Gaussian {
    fn fit(&mut self, adapt: bool, x: &[f32], targets: &[f32], offset: f64, share: &[f32]) {
        let n = share.len();
        let mut order: Vec<usize> = (0..n).filter(|&i| share[i] > LEAST).collect();
        order.sort_by(|&a, &b| share[b].total_cmp(&share[a]).then(a.cmp(&b)));
        order.truncate(MOST_POINTS);
        self.member = vec![None; n];
        order.iter().enumerate().for_each(|(place, &i)| self.member[i] = Some(place));
        let places = order.iter().map(|&i| [f64::from(x[i]), f64::from(x[n + i])]).collect();
        let shares: Vec<f64> = order.iter().map(|&i| f64::from(share[i])).collect();
        let values = targets.chunks_exact(n).flat_map(|t| order.iter().map(|&i| f64::from(t[i]) - offset)).collect();
        self.process = Process::fit(self.kernel, places, &shares, values);
        if let (true, Some(process)) = (adapt, &self.process) {
            let scale = RATE / order.len().max(1) as f64;
            let [length, signal, noise] = process.log_likelihood_gradient().map(|g| (scale * g).clamp(-0.1, 0.1));
            let within = |log: f64, least: f64, most: f64| log.clamp(least.ln(), most.ln());
            self.kernel = Kernel {
                log_length: within(self.kernel.log_length + length, 0.05, 3.0),
                log_signal: within(self.kernel.log_signal + signal, 1e-3, 10.0),
                log_noise: within(self.kernel.log_noise + noise, 1e-4, 1.0),
            };
        }
    }

    /// Writes the mean and returns the function's variance.
    fn at(&self, place: [f64; 2], member: Option<usize>, mean: &mut [f64], room: &mut Vec<f64>) -> f64 {
        match (&self.process, member) {
            (Some(process), Some(i)) => process.leave_out(i, mean),
            (Some(process), None) => process.predict(place, mean, room),
            (None, _) => {
                mean.fill(0.0);
                self.kernel.log_signal.exp()
            }
        }
    }
}
