//! Mixtures of local experts in the plane (Jacobs, Jordan, Nowlan and Hinton 1991): experts and gate are trained
//! together, on all points at once, and divide the plane among themselves.

mod data;
mod em;
mod fitted;
mod gaussian_process;
mod mixture;
mod network;
mod settings;
mod svm;
pub mod vowels;

#[cfg(test)]
mod tests;

use serde::Serialize;

pub use self::data::{DataSet, MOST_CLASSES, Point, Task};
use self::em::{Em, Rows};
use self::fitted::Fitted;
use self::mixture::{Mixture, Pass};
pub use self::settings::{ExpertKind, GateKind, LIMITS, Method, Objective, Selection, Settings};
use crate::columns::sum;
use crate::error::{Error, Result};
use crate::random::{hash, uniform};

/// The most points of a lab.
pub const MOST_POINTS: usize = 2000;
/// A loss above this has diverged.
const DIVERGED: f32 = 1e6;

/// A running experiment.
#[derive(Clone)]
pub struct Lab {
    settings: Settings,
    task: Task,
    points: Vec<Point>,
    /// Columns: x, then y.
    x: Vec<f32>,
    /// Columns: one an output.
    targets: Vec<f32>,
    mixture: Mixture,
    parameters: Vec<f32>,
    velocity: Vec<f32>,
    gradient: Vec<f32>,
    pass: Pass,
    /// Variances that Gaussian processes give, experts x points.
    variance: Vec<f32>,
    fitted: Option<Fitted>,
    em: Option<Em>,
    /// Whether `pass.posterior` says who answers for each point.
    answered: bool,
    step: usize,
    loss: f32,
    error: f32,
}

/// What is known of an expert, to draw it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Expert {
    /// Its parameters: of a linear expert, for each output, the weights of x and y and the bias.
    pub weights: Vec<f32>,
    /// Support vector machines: the points that are support vectors of any class.
    pub support: Vec<usize>,
    /// Gaussian processes: the length scale, the signal's and the noise's deviation.
    pub kernel: Option<[f32; 3]>,
    /// EM on values: the deviation of the expert's values.
    pub deviation: Option<f32>,
}

/// What a lab shows of itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct State {
    /// Steps done.
    pub step: usize,
    /// The objective, a mean over the points; for EM and Gaussian processes minus the log-likelihood.
    pub loss: f32,
    /// The squared error of what the mixture predicts, a mean over the points; for classes, of ones and zeros.
    pub error: f32,
    /// The share of the points whose class is predicted; none for values.
    pub accuracy: Option<f32>,
    /// Each expert's share of the points, by the gate; together 1.
    pub shares: Vec<f32>,
    /// What is predicted.
    pub task: Task,
    /// The points.
    pub points: Vec<Point>,
    /// How much each expert answers for each point, points x experts.
    pub responsibilities: Vec<f32>,
    /// The experts.
    pub experts: Vec<Expert>,
}

/// The plane from -1 to 1 by cells, row by row from the top, to draw it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Regions {
    /// Cells of a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// The gate's share of each expert, cells x experts.
    pub shares: Vec<f32>,
    /// What the mixture predicts, cells x outputs: probabilities of classes, or a value.
    pub prediction: Vec<f32>,
    /// The standard deviation of the prediction, one a cell, where the experts give one: Gaussian processes, EM on
    /// values.
    pub deviation: Vec<f32>,
}

impl Lab {
    /// A lab on the points of its data set; the same settings give the same run, bit for bit.
    ///
    /// # Errors
    /// Settings that are impossible, and the reader's own data set, which needs [`Lab::with_points`].
    pub fn new(settings: Settings) -> Result<Self> {
        let task = settings.data.task();
        settings.check(task)?;
        let points = settings.data.points(settings.points, settings.noise, settings.seed);
        Self::with_points(settings, task, points)
    }

    /// A lab on these points. A class is a whole number from 0.
    ///
    /// # Errors
    /// Settings that are impossible, no points or too many, numbers that are not finite, classes that are not there.
    pub fn with_points(settings: Settings, task: Task, points: Vec<Point>) -> Result<Self> {
        settings.check(task)?;
        check_points(task, &points)?;
        let classes = matches!(task, Task::Classes(_));
        let mixture = Mixture::new(&settings, task.outputs(), classes);
        let parameters = mixture.initial(settings.first_weights, hash(settings.seed, 0x1991));
        let mut lab = Self {
            velocity: vec![0.0; parameters.len()],
            gradient: vec![0.0; parameters.len()],
            em: None,
            fitted: None,
            pass: Pass::default(),
            variance: Vec::new(),
            x: Vec::new(),
            targets: Vec::new(),
            points: Vec::new(),
            answered: false,
            step: 0,
            loss: 0.0,
            error: 0.0,
            mixture,
            parameters,
            task,
            settings,
        };
        lab.place(points);
        lab.prepare();
        Ok(lab)
    }

    /// Takes other settings while it runs.
    ///
    /// # Errors
    /// Impossible settings; [`Error::NeedsRestart`] for a setting that a running lab cannot change. The lab stays as
    /// it was.
    pub fn set(&mut self, settings: Settings) -> Result<()> {
        settings.check(self.task)?;
        if let Some(key) = self.settings.needs_restart(&settings) {
            return Err(Error::NeedsRestart(key));
        }
        self.settings = settings;
        self.prepare();
        Ok(())
    }

    /// Takes other points of the same task while it runs.
    ///
    /// # Errors
    /// As [`Lab::with_points`]; the lab stays as it was.
    pub fn set_points(&mut self, points: Vec<Point>) -> Result<()> {
        check_points(self.task, &points)?;
        self.place(points);
        Ok(())
    }

    /// Adds a point.
    ///
    /// # Errors
    /// As [`Lab::with_points`]; the lab stays as it was.
    pub fn add(&mut self, point: Point) -> Result<()> {
        let mut points = self.points.clone();
        points.push(point);
        self.set_points(points)
    }

    /// Erases the points around a place; returns how many.
    ///
    /// # Errors
    /// [`Error::NoPoints`] if none would be left; the lab stays as it was.
    pub fn erase(&mut self, x: f32, y: f32, radius: f32) -> Result<usize> {
        let outside = |p: &&Point| (p.x - x).hypot(p.y - y) > radius;
        let points: Vec<Point> = self.points.iter().filter(outside).copied().collect();
        let erased = self.points.len() - points.len();
        if erased > 0 {
            self.set_points(points)?;
        }
        Ok(erased)
    }

    /// The settings now.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What is predicted.
    pub fn task(&self) -> Task {
        self.task
    }

    /// The points.
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// The squared error before the last step, a mean over the points.
    pub fn error(&self) -> f32 {
        self.error
    }

    /// Steps done.
    pub fn steps(&self) -> usize {
        self.step
    }

    /// Trains for `n` steps.
    ///
    /// # Errors
    /// [`Error::Diverged`]; the lab then holds the last step whose loss was finite.
    pub fn step(&mut self, n: usize) -> Result<()> {
        for _ in 0..n {
            let before = (self.parameters.clone(), self.velocity.clone());
            let loss = if self.em.is_some() { self.em_step() } else { self.gradient_step() };
            let finite = loss.is_finite() && loss < DIVERGED && self.parameters.iter().all(|p| p.is_finite());
            if !finite {
                (self.parameters, self.velocity) = before;
                return Err(Error::Diverged { step: self.step + 1 });
            }
            self.loss = loss;
            self.step += 1;
        }
        Ok(())
    }

    /// What the lab shows now.
    pub fn state(&self) -> State {
        let n = self.points.len();
        let mut pass = self.mixture.pass(n);
        let mut variance = Vec::new();
        let loss = self.measure(&self.x, true, &mut pass, &mut variance);
        let by_point = |columns: &[f32]| -> Vec<f32> {
            let experts = columns.len() / n;
            (0..n * experts).map(|k| columns[k % experts * n + k / experts]).collect()
        };
        let share = |column: &[f32]| sum(column) / n as f32;
        let total: f32 = pass.weight.chunks_exact(n).map(share).sum();
        State {
            step: self.step,
            loss,
            error: squared_error(&pass.blend, &self.targets, n),
            accuracy: self.accuracy(&pass.blend),
            shares: pass.weight.chunks_exact(n).map(|w| share(w) / total.max(f32::MIN_POSITIVE)).collect(),
            task: self.task,
            points: self.points.clone(),
            responsibilities: by_point(&pass.posterior),
            experts: (0..self.settings.experts).map(|e| self.expert(e)).collect(),
        }
    }

    /// The plane by cells.
    ///
    /// # Errors
    /// No cells, or more than a million.
    pub fn regions(&self, width: usize, height: usize) -> Result<Regions> {
        let cells = width.saturating_mul(height);
        if !(1..=1_000_000).contains(&cells) {
            return Err(Error::Input(format!("{width} x {height} cells; there must be 1 to 1,000,000")));
        }
        let centre = |i: usize, of: usize| (2.0 * (i as f32 + 0.5) / of as f32) - 1.0;
        let mut x: Vec<f32> = (0..cells).map(|c| centre(c % width, width)).collect();
        x.extend((0..cells).map(|c| -centre(c / width, height)));
        let (mut pass, mut variance) = (self.mixture.pass(cells), Vec::new());
        self.predict(&x, false, &mut pass, &mut variance);
        let by_cell = |columns: &[f32]| -> Vec<f32> {
            let rows = columns.len() / cells;
            (0..cells * rows).map(|k| columns[k % rows * cells + k / rows]).collect()
        };
        Ok(Regions {
            width,
            height,
            shares: by_cell(&pass.share),
            prediction: by_cell(&pass.blend),
            deviation: self.deviation(&pass, &variance),
        })
    }

    /// Puts points in place and makes room for them.
    fn place(&mut self, points: Vec<Point>) {
        let n = points.len();
        self.x = points.iter().map(|p| p.x).chain(points.iter().map(|p| p.y)).collect();
        self.targets = match self.task {
            Task::Values => points.iter().map(|p| p.value).collect(),
            Task::Classes(classes) => {
                let of = |class: usize| points.iter().map(move |p| f32::from(p.value as usize == class));
                (0..classes).flat_map(of).collect()
            }
        };
        self.points = points;
        self.pass = self.mixture.pass(n);
        self.fitted = match self.fitted.take() {
            // Kernels stay as they were adapted.
            Some(Fitted::Gaussians(all)) => Some(Fitted::Gaussians(all)),
            _ => Fitted::new(&self.settings, self.task.outputs(), n),
        };
        self.answered = false;
    }

    /// Begins or ends EM as the settings say.
    fn prepare(&mut self) {
        let em = self.settings.method == Method::Em;
        if em && self.em.is_none() {
            self.em = Some(Em::new(self.mixture, self.task, &self.parameters, self.settings.variance));
        } else if !em {
            self.em = None;
        }
        self.velocity.iter_mut().for_each(|v| *v = if em { 0.0 } else { *v });
    }

    /// Who answers for each point before any expert knows one (experts x points): the nearest of as many points drawn
    /// by the seed, in overlapping parts.
    fn first_parts(&self) -> Vec<f32> {
        let (n, experts) = (self.points.len(), self.settings.experts);
        let pick = |e: usize| self.points[(uniform(self.settings.seed ^ 0xce, e as u64) * n as f64) as usize % n];
        let mut parts = vec![0.0; experts * n];
        for (i, p) in self.points.iter().enumerate() {
            let near = |e: usize| (-8.0 * ((p.x - pick(e).x).powi(2) + (p.y - pick(e).y).powi(2))).exp() + 1e-6;
            let total: f32 = (0..experts).map(near).sum();
            (0..experts).for_each(|e| parts[e * n + i] = near(e) / total);
        }
        parts
    }

    fn gradient_step(&mut self) -> f32 {
        if self.fitted.is_some() && !self.answered {
            self.pass.posterior = if self.step == 0 { self.first_parts() } else { self.posterior() };
        }
        self.answered = true;
        let classes = self.mixture.classes;
        if let Some(fitted) = &mut self.fitted {
            fitted.fit(&self.settings, &self.x, &self.targets, classes, &self.pass.posterior);
        }
        let mut pass = std::mem::take(&mut self.pass);
        let mut variance = std::mem::take(&mut self.variance);
        let loss = self.measure(&self.x, true, &mut pass, &mut variance);
        self.error = squared_error(&pass.blend, &self.targets, pass.points);
        let Self { mixture, parameters, x, targets, settings, gradient, .. } = self;
        mixture.gradient(parameters, x, targets, settings, &mut pass, gradient);
        (self.pass, self.variance) = (pass, variance);
        let (rate, momentum) = (self.settings.learning_rate, self.settings.momentum);
        for ((w, v), g) in self.parameters.iter_mut().zip(&mut self.velocity).zip(&self.gradient) {
            *v = momentum * *v - rate * g;
            *w += *v;
        }
        loss
    }

    fn posterior(&self) -> Vec<f32> {
        let (mut pass, mut variance) = (self.mixture.pass(self.points.len()), Vec::new());
        self.measure(&self.x, false, &mut pass, &mut variance);
        pass.posterior
    }

    fn em_step(&mut self) -> f32 {
        let n = self.points.len();
        let rows = Rows::new(&self.x, &self.targets, n);
        let parts = (self.step == 0).then(|| self.first_parts());
        let Some(em) = &mut self.em else { return f32::NAN };
        let responsibility = match parts {
            Some(parts) => {
                let experts = parts.len() / n;
                (0..parts.len()).map(|k| f64::from(parts[k % experts * n + k / experts])).collect()
            }
            None => em.expect(&rows).0,
        };
        em.maximise(&rows, &responsibility);
        em.write(&mut self.parameters);
        -em.expect(&rows).1 as f32
    }

    /// Fills what the experts give, the shares and the mixture's prediction at these places.
    fn predict(&self, x: &[f32], seen: bool, pass: &mut Pass, variance: &mut Vec<f32>) {
        match &self.fitted {
            Some(fitted) => fitted.run(x, self.mixture.classes, seen, pass, variance),
            None => self.mixture.run_experts(&self.parameters, x, pass),
        }
        self.mixture.run_gate(&self.parameters, x, pass);
        self.mixture.blend(self.settings.selection, self.settings.objective, pass);
    }

    /// The same for the lab's points, and the objective, with the posterior of every point.
    fn measure(&self, x: &[f32], seen: bool, pass: &mut Pass, variance: &mut Vec<f32>) -> f32 {
        self.predict(x, seen, pass, variance);
        if let Some(em) = &self.em {
            let n = pass.points;
            let (responsibility, likelihood) = em.expect(&Rows::new(x, &self.targets, n));
            let experts = self.settings.experts;
            (0..experts * n).for_each(|k| pass.posterior[k] = responsibility[k % n * experts + k / n] as f32);
            return -likelihood as f32;
        }
        if !variance.is_empty() && self.settings.objective == Objective::Competitive {
            self.fit_spread(variance, pass);
            self.mixture.compete(self.settings.selection, pass);
            return sum(&pass.loss) / pass.points as f32;
        }
        self.mixture.objective(&self.targets, &self.settings, pass)
    }

    /// The log density of the targets where every expert gives a variance of its own.
    fn fit_spread(&self, variance: &[f32], pass: &mut Pass) {
        let (n, outputs) = (pass.points, self.mixture.outputs);
        for (e, fit) in pass.fit.chunks_exact_mut(n).enumerate() {
            for (i, fit) in fit.iter_mut().enumerate() {
                let v = variance[e * n + i];
                let miss = |o: usize| (pass.out[(e * outputs + o) * n + i] - self.targets[o * n + i]).powi(2);
                let squares: f32 = (0..outputs).map(miss).sum();
                *fit = -0.5 * (squares / v + outputs as f32 * (std::f32::consts::TAU * v).ln());
            }
        }
    }

    /// The share of the points whose class has the largest prediction.
    fn accuracy(&self, blend: &[f32]) -> Option<f32> {
        let n = self.points.len();
        let Task::Classes(classes) = self.task else { return None };
        let guess = |i: usize| (0..classes).max_by(|&a, &b| blend[a * n + i].total_cmp(&blend[b * n + i]));
        let right = self.points.iter().enumerate().filter(|(i, p)| guess(*i) == Some(p.value as usize)).count();
        Some(right as f32 / n as f32)
    }

    /// The standard deviation of the mixture at each place: the experts' own, and how far they disagree.
    fn deviation(&self, pass: &Pass, variance: &[f32]) -> Vec<f32> {
        let n = pass.points;
        let own = |e: usize, i: usize| match &self.em {
            Some(em) => em.variance[e] as f32,
            None => variance[e * n + i],
        };
        if variance.is_empty() && !(self.em.is_some() && self.task == Task::Values) {
            return Vec::new();
        }
        let (experts, outputs) = (self.settings.experts, self.mixture.outputs);
        let at = |i: usize| {
            let mut total = 0.0;
            for e in 0..experts {
                let apart = |o: usize| (pass.out[(e * outputs + o) * n + i] - pass.blend[o * n + i]).powi(2);
                let apart = (0..outputs).map(apart).sum::<f32>() / outputs as f32;
                total += pass.weight[e * n + i] * (own(e, i) + apart);
            }
            total.max(0.0).sqrt()
        };
        (0..n).map(at).collect()
    }

    fn expert(&self, e: usize) -> Expert {
        let size = self.mixture.expert.map_or(0, |network| network.parameters());
        let weights = self.parameters[e * size..(e + 1) * size].to_vec();
        let em_deviation = |em: &Em| (self.task == Task::Values).then(|| em.variance[e].sqrt() as f32);
        let mut expert = Expert { weights, deviation: self.em.as_ref().and_then(em_deviation), ..Expert::default() };
        match &self.fitted {
            Some(Fitted::Machines(machines)) => {
                let outputs = self.task.outputs();
                let own = &machines[e * outputs..][..outputs];
                expert.weights = own.iter().flat_map(|m| m.weights.map(|w| w as f32)).collect();
                let answers = |i: &usize| own.iter().any(|m| m.duals[*i] > 1e-3);
                expert.support = (0..self.points.len()).filter(answers).collect();
            }
            Some(Fitted::Gaussians(all)) => {
                let kernel = all[e].kernel;
                let deviation = |log: f64| (0.5 * log).exp() as f32;
                let length = kernel.log_length.exp() as f32;
                expert.kernel = Some([length, deviation(kernel.log_signal), deviation(kernel.log_noise)]);
            }
            None => {}
        }
        expert
    }
}

/// The mean over the points of the squared distance of two columns.
fn squared_error(blend: &[f32], targets: &[f32], n: usize) -> f32 {
    blend.iter().zip(targets).map(|(o, d)| (o - d) * (o - d)).sum::<f32>() / n as f32
}

fn check_points(task: Task, points: &[Point]) -> Result<()> {
    if points.is_empty() {
        return Err(Error::NoPoints);
    }
    if points.len() > MOST_POINTS {
        let n = points.len();
        return Err(Error::Input(format!("there are {n} points; the most is {MOST_POINTS}; erase some")));
    }
    if let Task::Classes(classes) = task
        && !(2..=MOST_CLASSES).contains(&classes)
    {
        return Err(Error::Input(format!("there are {classes} classes; there must be 2 to {MOST_CLASSES}")));
    }
    for (i, p) in points.iter().enumerate() {
        let refuse = |what: &str, value: f32, must: String| {
            Err(Error::Input(format!("{what} of point {i} is {value}; it must be {must}")))
        };
        if let Some(value) = [p.x, p.y].into_iter().find(|v| !(-4.0..=4.0).contains(v)) {
            return refuse("a coordinate", value, "-4 to 4".into());
        }
        match task {
            Task::Values if !(-100.0..=100.0).contains(&p.value) => {
                return refuse("the value", p.value, "-100 to 100".into());
            }
            Task::Classes(classes) if !(0..classes).any(|c| p.value == c as f32) => {
                return refuse("the class", p.value, format!("a whole number from 0 to {}", classes - 1));
            }
            _ => {}
        }
    }
    Ok(())
}
