//! The settings of the lab, their limits, and which of them a running lab cannot change.

use serde::{Deserialize, Serialize};

use super::data::{DataSet, Task};
use crate::error::{Error, Limit, Result, check_limits, first_changed, limit};

/// What an expert is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExpertKind {
    /// The same everywhere.
    Constant,
    /// A linear map, with a softmax over it where there are classes.
    #[default]
    Linear,
    /// One hidden layer of tanh units.
    Network,
    /// Linear support vector machines, one against the rest for each class (Collobert, Bengio and Bengio 2002).
    SupportVectorMachine,
    /// A Gaussian process over the expert's own points (Tresp 2001; Rasmussen and Ghahramani 2002).
    GaussianProcess,
}

/// What the gate is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GateKind {
    /// A softmax over linear maps.
    #[default]
    Linear,
    /// The same with one hidden layer of tanh units.
    Network,
}

/// What training minimises, a mean over the points. `g` are the gate's shares, `o` the experts' outputs, `d` the target
/// and `v` the variance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Objective {
    /// `|d - sum g o|^2 / 2 v`: the experts make up for each other's errors.
    Cooperative,
    /// `-log sum g exp(-|d - o|^2 / 2 v)`: each expert answers for its own (Jacobs et al. 1991, equation 1.3).
    #[default]
    Competitive,
}

/// Which experts answer for a point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Selection {
    /// All, by their shares.
    #[default]
    Soft,
    /// One.
    Top1,
    /// Two.
    Top2,
}

impl Selection {
    /// How many experts answer, of so many.
    pub fn count(self, experts: usize) -> usize {
        match self {
            Self::Soft => experts,
            Self::Top1 => 1,
            Self::Top2 => 2.min(experts),
        }
    }
}

/// How the parameters are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Gradient descent on all points at once, with momentum.
    #[default]
    Gradient,
    /// Expectation maximisation (Jordan and Jacobs 1994), for constant and linear experts with a linear gate.
    Em,
}

/// Everything that decides a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// Seed of the points and of the first weights.
    pub seed: u64,
    /// The points.
    pub data: DataSet,
    /// How many points.
    pub points: usize,
    /// Noise on the points, or on their values.
    pub noise: f32,
    /// How many experts.
    pub experts: usize,
    /// What they are.
    pub expert: ExpertKind,
    /// Hidden units of an expert that is a network.
    pub hidden: usize,
    /// Standard deviation of the first weights into hidden units: with small ones a network begins as a linear map.
    pub first_weights: f32,
    /// What the gate is.
    pub gate: GateKind,
    /// Hidden units of a gate that is a network.
    pub gate_hidden: usize,
    /// Groups of experts: above 1 a gate chooses among groups, and a gate in each group among its experts.
    pub groups: usize,
    /// What training minimises.
    pub objective: Objective,
    /// Which experts answer.
    pub selection: Selection,
    /// How the parameters are found.
    pub method: Method,
    /// The variance in the objective: the smaller, the sharper the experts compete.
    pub variance: f32,
    /// Step size of gradient descent.
    pub learning_rate: f32,
    /// Momentum of gradient descent.
    pub momentum: f32,
    /// The factor C of the hinge loss of support vector machines.
    pub hinge: f32,
    /// The first length scale of Gaussian processes.
    pub length_scale: f32,
    /// Whether each Gaussian process adapts its length scale, signal and noise to its points.
    pub adapt: bool,
    /// Whether hidden units and outputs for classes of experts are logistic units, as in 1991; else hidden units are
    /// tanh, and the outputs share a softmax.
    pub logistic: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            seed: 1,
            data: DataSet::default(),
            points: 400,
            noise: 0.03,
            experts: 4,
            expert: ExpertKind::default(),
            hidden: 6,
            first_weights: 1.5,
            gate: GateKind::default(),
            gate_hidden: 8,
            groups: 1,
            objective: Objective::default(),
            selection: Selection::default(),
            method: Method::default(),
            variance: 0.3,
            learning_rate: 0.3,
            momentum: 0.9,
            hinge: 1.0,
            length_scale: 0.4,
            adapt: true,
            logistic: false,
        }
    }
}

/// The limits of the numbers.
pub const LIMITS: [Limit; 13] = [
    limit("points", 1.0, 2000.0),
    limit("noise", 0.0, 1.0),
    limit("experts", 1.0, 16.0),
    limit("hidden", 1.0, 64.0),
    limit("first-weights", 0.0, 10.0),
    limit("gate-hidden", 1.0, 64.0),
    limit("groups", 1.0, 8.0),
    limit("variance", 0.001, 10.0),
    limit("learning-rate", 0.0, 100.0),
    limit("momentum", 0.0, 0.99),
    limit("hinge", 0.001, 1000.0),
    limit("length-scale", 0.02, 5.0),
    limit("seed", 0.0, u64::MAX as f64),
];

/// The settings that a running lab cannot change.
const FIXED: [&str; 13] = [
    "seed",
    "data",
    "points",
    "noise",
    "experts",
    "expert",
    "hidden",
    "first-weights",
    "gate",
    "gate-hidden",
    "groups",
    "length-scale",
    "logistic",
];

impl Settings {
    /// Rejects what is outside of its limits or does not go together; `task` is that of the points.
    pub fn check(&self, task: Task) -> Result<()> {
        check_limits(&LIMITS, self)?;
        let refuse = |why: String| Err(Error::Setting(why));
        let Self { experts, groups, .. } = *self;
        if !experts.is_multiple_of(groups) {
            return refuse(format!("groups is {groups}, which does not divide {experts} experts"));
        }
        if self.expert == ExpertKind::SupportVectorMachine && task == Task::Values {
            return refuse("support vector machines separate classes; choose points with classes".into());
        }
        if self.method == Method::Em {
            if !matches!(self.expert, ExpertKind::Constant | ExpertKind::Linear) || self.gate != GateKind::Linear {
                return refuse(
                    "EM needs constant or linear experts and a linear gate; choose these or gradient".into(),
                );
            }
            if self.logistic {
                return refuse("EM fits a softmax; choose softmax outputs or gradient".into());
            }
            if self.selection != Selection::Soft {
                return refuse("EM weighs all experts; choose soft selection or gradient".into());
            }
        }
        Ok(())
    }

    /// The first setting that a running lab cannot change to that of `other`.
    pub fn needs_restart(&self, other: &Self) -> Option<&'static str> {
        first_changed(&FIXED, self, other)
    }
}
