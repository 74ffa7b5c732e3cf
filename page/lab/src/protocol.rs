//! Messages between the page and the worker that trains, as JSON. Drawn cells are sent along as bytes ([`CELL`]).

use crate::goal::Measures;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Settings of a lab by their keys; missing ones have their default.
pub type Settings = Map<String, Value>;

/// The labs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LabName {
    /// Mixtures in the plane (1991).
    LocalExperts,
    /// Two stacked mixture layers on digits (2013).
    DeepMixture,
    /// Parts that are always on, weighted, or switched.
    Conditional,
    /// A router that collapses or not.
    Router,
    /// Fine-tuning.
    FineTune,
}

impl LabName {
    /// All labs, in the order of the page.
    pub const ALL: [Self; 5] = [Self::LocalExperts, Self::DeepMixture, Self::Conditional, Self::Router, Self::FineTune];

    /// The name in addresses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LocalExperts => "local-experts",
            Self::DeepMixture => "deep-mixture",
            Self::Conditional => "conditional",
            Self::Router => "router",
            Self::FineTune => "fine-tune",
        }
    }

    /// The lab of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|lab| lab.as_str() == name)
    }
}

/// A change that was made while a lab ran.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Change {
    /// The step after which it was made.
    pub step: u64,
    /// Settings that are different from then on.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub settings: Settings,
    /// The points from then on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub points: Option<Vec<[f32; 3]>>,
}

/// A run, or several that differ in some settings, from their beginning to a step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Plan {
    /// What all runs have in common.
    pub settings: Settings,
    /// One for each run: what differs in it.
    pub runs: Vec<Settings>,
    /// The reader's points, where the data set is the reader's own.
    pub own: Option<Vec<[f32; 3]>>,
    /// Changes on the way, by rising step.
    pub changes: Vec<Change>,
    /// The step to go to.
    pub at: u64,
}

/// A command of the page to the worker. Each gets an answer with the command's number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    /// Begin anew, and go to a step.
    Start {
        /// Which lab.
        lab: LabName,
        /// The runs.
        plan: Plan,
    },
    /// Change settings of all runs while they go on.
    Set(Settings),
    /// Take other points.
    Points(Vec<[f32; 3]>),
    /// Train on, or pause.
    Run(bool),
    /// Train so many steps; answered when they are done.
    Step(u64),
    /// Report the state, with cells of this many columns and rows where there is something to draw.
    Look(Option<(usize, usize)>),
    /// The comparison of the paper of 1991, system by system.
    Compare,
    /// Make a file of a run's model.
    Save {
        /// Which run, from 0.
        run: usize,
        /// The name of the model's directory.
        name: String,
    },
    /// Keep a run's model in the browser's storage.
    Keep {
        /// Which run, from 0.
        run: usize,
        /// The name of the model's directory.
        name: String,
    },
}

/// A command with the page's number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// The number.
    pub id: u32,
    /// The command.
    pub command: Command,
}

/// The state of one run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct RunReport {
    /// Steps done.
    pub step: u64,
    /// The loss.
    pub loss: f64,
    /// Each expert's share; together 1. Several layers one after the other, where there are several.
    pub shares: Vec<f64>,
    /// Other figures, by name.
    pub measures: Measures,
    /// What the lab's picture needs.
    pub drawn: Value,
}

impl RunReport {
    /// A report of a run whose loss and shares are f32.
    pub fn new(step: u64, loss: f32, shares: &[f32], measures: Measures, drawn: Value) -> Self {
        let shares = shares.iter().map(|share| f64::from(*share)).collect();
        Self { step, loss: f64::from(loss), shares, measures, drawn }
    }
}

/// The worker's answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Report {
    /// The number of the command that this answers.
    pub id: u32,
    /// Whether it trains.
    pub running: bool,
    /// Whether it is training to a requested step.
    pub busy: bool,
    /// Steps a second, all runs together as one; 0 where it does not train.
    pub rate: f64,
    /// Columns and rows of the cells that come with it.
    pub cells: (usize, usize),
    /// The runs.
    pub runs: Vec<RunReport>,
    /// The error, if any.
    pub error: Option<String>,
    /// Training diverged: the runs hold the step before.
    pub diverged: bool,
    /// Rows of the comparison, as far as it is done.
    pub compared: Option<Value>,
    /// The file that was made, or the model that was kept.
    pub saved: Option<Saved>,
    /// Bytes of the lab's files that have come, and of all; while they are fetched.
    pub fetched: Option<(u64, u64)>,
}

/// A model that was saved.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// The name of the model's directory.
    pub name: String,
    /// The address of the file; of a model that was kept none.
    pub file: Option<String>,
    /// Its size in bytes.
    pub bytes: u64,
}

/// Bytes of a drawn cell: the expert with the largest share, that share, the prediction, its deviation.
pub const CELL: usize = 4;

/// Values from -[`RANGE`] to [`RANGE`] fill the byte of a prediction.
pub const RANGE: f32 = 1.5;

/// The figures of runs by the names that goals and texts use: those of the second run end in `-2`, and so on.
pub fn measures(runs: &[RunReport]) -> Measures {
    let mut all = Measures::new();
    for (number, run) in runs.iter().enumerate() {
        let end = if number == 0 { String::new() } else { format!("-{}", number + 1) };
        let mut put = |name: &str, value: f64| all.insert(format!("{name}{end}"), value);
        put("step", run.step as f64);
        put("loss", run.loss);
        put("experts", run.shares.len() as f64);
        put("busiest", run.shares.iter().copied().fold(0.0, f64::max));
        put("least", run.shares.iter().copied().fold(1.0, f64::min));
        for (expert, share) in run.shares.iter().enumerate() {
            put(&format!("share-{expert}"), *share);
        }
        for (name, value) in &run.measures {
            put(name, *value);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_of_later_runs_have_a_number() {
        let run = |loss| RunReport { step: 3, loss, shares: vec![0.25, 0.75], ..RunReport::default() };
        let all = measures(&[run(1.0), run(2.0)]);
        assert_eq!((all["loss"], all["loss-2"], all["busiest-2"], all["share-0"]), (1.0, 2.0, 0.75, 0.25));
    }

    #[test]
    fn names_are_found_again() {
        assert!(LabName::ALL.into_iter().all(|lab| LabName::parse(lab.as_str()) == Some(lab)));
        assert_eq!(LabName::parse("nothing"), None);
    }
}
