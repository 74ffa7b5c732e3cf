//! The main comparison of Jacobs et al. (1991, table 1): how many epochs a mixture of linear experts and a single
//! network with one hidden layer need to learn to tell four vowels apart, over 25 runs each.
//!
//! As in the paper: batch gradient descent without momentum on the first 50 of 75 speakers, until the mean error on
//! them reaches the criterion; the step size of each system is the best of a few on the same first weights.

use serde::{Deserialize, Serialize};

use super::data::{DataSet, Point};
use super::settings::{ExpertKind, Objective, Settings};
use super::{Lab, Task};
use crate::error::{Error, Result};

/// What the comparison does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Comparison {
    /// Runs of each system.
    pub runs: usize,
    /// Seed of the speakers and, with the run's number, of the first weights.
    pub seed: u64,
    /// The squared error of a speaker's vowel, summed over the four outputs, at which a run ends. The paper's is 0.08.
    pub criterion: f32,
    /// Noise on the formants, beside that of the moment: the more, the more the vowels overlap.
    pub noise: f32,
    /// Whether hidden units and outputs are logistic, as in 1991.
    pub logistic: bool,
    /// A step size for all systems; 0 for the best of each.
    pub rate: f32,
    /// Epochs after which a run counts as having failed.
    pub most_epochs: usize,
}

impl Default for Comparison {
    fn default() -> Self {
        Self { runs: 25, seed: 1, criterion: 0.16, noise: 0.05, logistic: true, rate: 0.0, most_epochs: 20_000 }
    }
}

/// A system of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum System {
    /// A mixture of so many linear experts with a linear gate.
    Mixture(usize),
    /// One network with so many hidden units.
    Network(usize),
}

/// The systems of the paper.
pub const SYSTEMS: [System; 4] = [System::Mixture(4), System::Mixture(8), System::Network(6), System::Network(12)];

/// What one system needed.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Row {
    /// The system.
    pub system: System,
    /// How many parameters it has.
    pub parameters: usize,
    /// Its step size.
    pub learning_rate: f32,
    /// Epochs of the runs that reached the criterion, in the order of their seeds.
    pub epochs: Vec<usize>,
    /// Runs that did not.
    pub failed: usize,
    /// Mean of the epochs.
    pub mean: f64,
    /// Standard deviation of the epochs.
    pub deviation: f64,
    /// Share of the vowels told apart at the end, of the speakers that it learned from, a mean over the runs.
    pub train_accuracy: f64,
    /// The same of the other speakers.
    pub test_accuracy: f64,
}

/// Speakers, and those of them that are learned from.
const SPEAKERS: [usize; 2] = [75, 50];
/// Step sizes to choose from.
const RATES: [f32; 8] = [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];
/// Standard deviation of the first weights: that of numbers spread evenly from -0.5 to 0.5.
const FIRST_WEIGHTS: f32 = 0.29;
/// Runs on which a step size is chosen.
const TRIALS: usize = 3;

/// Runs the comparison for one system.
///
/// # Errors
/// No runs, no epochs, or a criterion that is not above 0.
pub fn compare(system: System, comparison: &Comparison) -> Result<Row> {
    let Comparison { runs, criterion, most_epochs, .. } = *comparison;
    if !(1..=1000).contains(&runs) || !(1..=1_000_000).contains(&most_epochs) {
        return Err(Error::Setting("runs must be 1 to 1000 and most-epochs 1 to 1,000,000".into()));
    }
    if !(0.0..=1.0).contains(&comparison.noise) {
        return Err(Error::Setting(format!("noise is {}; it must be 0 to 1", comparison.noise)));
    }
    if !(criterion > 0.0 && criterion.is_finite()) {
        return Err(Error::Setting(format!("criterion is {criterion}; it must be above 0")));
    }
    let learning_rate = if comparison.rate > 0.0 { comparison.rate } else { choose_rate(system, comparison)? };
    let results = (0..runs).map(|n| run(system, comparison, learning_rate, n)).collect::<Result<Vec<_>>>()?;
    let epochs: Vec<usize> = results.iter().filter_map(|r| r.epochs).collect();
    let mean = |values: &mut dyn Iterator<Item = f64>| -> f64 {
        let (count, total) = values.fold((0, 0.0), |(count, total), value| (count + 1, total + value));
        total / f64::from(count.max(1))
    };
    let average = mean(&mut epochs.iter().map(|&e| e as f64));
    Ok(Row {
        system,
        parameters: results[0].parameters,
        learning_rate,
        failed: runs - epochs.len(),
        mean: average,
        deviation: mean(&mut epochs.iter().map(|&e| (e as f64 - average).powi(2))).sqrt(),
        train_accuracy: mean(&mut results.iter().map(|r| r.train)),
        test_accuracy: mean(&mut results.iter().map(|r| r.test)),
        epochs,
    })
}

struct Outcome {
    epochs: Option<usize>,
    parameters: usize,
    train: f64,
    test: f64,
}

/// The step size with the fewest epochs over a few runs; a run that fails counts as all epochs.
fn choose_rate(system: System, comparison: &Comparison) -> Result<f32> {
    let short = Comparison { most_epochs: comparison.most_epochs.min(5000), ..comparison.clone() };
    let mut best = (usize::MAX, RATES[0]);
    for rate in RATES {
        let mut total = 0;
        for n in 0..TRIALS {
            total += run(system, &short, rate, n)?.epochs.unwrap_or(short.most_epochs);
        }
        best = if total < best.0 { (total, rate) } else { best };
    }
    Ok(best.1)
}

fn lab(system: System, seed: u64, learning_rate: f32, logistic: bool, points: Vec<Point>) -> Result<Lab> {
    let base = Settings {
        seed,
        learning_rate,
        momentum: 0.0,
        variance: 1.0,
        points: 1,
        first_weights: FIRST_WEIGHTS,
        logistic,
        ..Settings::default()
    };
    let settings = match system {
        System::Mixture(experts) => Settings { experts, objective: Objective::Competitive, ..base },
        System::Network(hidden) => {
            let expert = ExpertKind::Network;
            Settings { experts: 1, expert, hidden, objective: Objective::Cooperative, ..base }
        }
    };
    Lab::with_points(settings, Task::Classes(4), points)
}

fn run(system: System, comparison: &Comparison, learning_rate: f32, n: usize) -> Result<Outcome> {
    let points = DataSet::Vowels.points(4 * SPEAKERS[0], comparison.noise, comparison.seed);
    let (train, test) = points.split_at(4 * SPEAKERS[1]);
    let mut lab = lab(system, comparison.seed * 1000 + n as u64, learning_rate, comparison.logistic, train.to_vec())?;
    let mut epochs = None;
    for epoch in 1..=comparison.most_epochs {
        match lab.step(1) {
            Ok(()) if lab.error() <= comparison.criterion => {
                epochs = Some(epoch);
                break;
            }
            Ok(()) => {}
            Err(Error::Diverged { .. }) => break,
            Err(other) => return Err(other),
        }
    }
    let accuracy = |lab: &Lab| f64::from(lab.state().accuracy.unwrap_or(0.0));
    let (parameters, train) = (lab.parameters.len(), accuracy(&lab));
    lab.set_points(test.to_vec())?;
    Ok(Outcome { epochs, parameters, train, test: accuracy(&lab) })
}
