//! One interface to all labs of `moescope-learn`: one run, or several that differ in some settings, step by step.

mod conditional;
mod deep_mixture;
pub mod fine_tune;
mod local_experts;
pub mod router;

use crate::assets::{Assets, DIGITS, TOKENIZER};
use crate::protocol::{Change, LabName, Plan, RunReport, Settings};
use crate::tokens::Tokenizer;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::rc::Rc;

/// A run of one lab.
pub trait Run {
    /// Trains for `n` steps.
    ///
    /// # Errors
    /// It diverged: the run holds the last step that did not.
    fn step(&mut self, n: usize) -> Result<(), String>;

    /// Takes all settings anew while it runs.
    ///
    /// # Errors
    /// They are impossible, or need a new run; the run stays as it was.
    fn set(&mut self, settings: &Settings) -> Result<(), String>;

    /// Takes other points while it runs.
    ///
    /// # Errors
    /// The lab has no points, or these are impossible; the run stays as it was.
    fn set_points(&mut self, _points: &[[f32; 3]]) -> Result<(), String> {
        Err("this lab has no points to draw".into())
    }

    /// Looks at what takes too long for every step, as what a model writes. Called where training pauses.
    ///
    /// # Errors
    /// It cannot be looked at.
    fn rest(&mut self) -> Result<(), String> {
        Ok(())
    }

    /// The files of the model's directory, by name.
    ///
    /// # Errors
    /// The lab has no model to save, or its numbers do not fit into the file.
    fn directory(&self) -> Result<Vec<(String, Vec<u8>)>, String> {
        Err("this lab has no model to save".into())
    }

    /// Returns its state, with cells of this many columns and rows where it has some to draw.
    fn report(&self, cells: Option<(usize, usize)>) -> (RunReport, Vec<u8>);

    /// Steps done.
    fn steps(&self) -> u64;
}

/// A run of `lab`.
///
/// # Errors
/// The settings are impossible, or a file is missing or damaged.
fn begin(lab: LabName, settings: &Settings, own: Option<&[[f32; 3]]>, files: &Files) -> Result<Box<dyn Run>, String> {
    let assets = files.assets;
    match lab {
        LabName::LocalExperts => Ok(Box::new(local_experts::LocalExperts::new(settings, own)?)),
        LabName::DeepMixture => Ok(Box::new(deep_mixture::DeepMixture::new(settings, &assets.get(DIGITS)?)?)),
        LabName::Conditional => Ok(Box::new(conditional::Conditional::new(settings, &assets.get(DIGITS)?)?)),
        LabName::Router => Ok(Box::new(router::Router::new(settings, files.tokenizer.clone(), assets)?)),
        LabName::FineTune => {
            let tokenizer = files.tokenizer.clone().ok_or("the tokenizer is missing; load the page again")?;
            Ok(Box::new(fine_tune::FineTune::new(settings, tokenizer, assets)?))
        }
    }
}

/// What runs read.
struct Files<'a> {
    assets: &'a Assets,
    tokenizer: Option<Rc<Tokenizer>>,
}

/// The usual settings of `lab`, by key.
pub fn defaults(lab: LabName) -> Settings {
    as_written(match lab {
        LabName::LocalExperts => as_map(&moescope_learn::local_experts::Settings::default()),
        LabName::DeepMixture => as_map(&moescope_learn::deep_mixture::Settings::default()),
        LabName::Conditional => as_map(&moescope_learn::conditional::Settings::default()),
        LabName::Router => router::defaults(),
        LabName::FineTune => fine_tune::defaults(),
    })
}

/// The minimum and the maximum of the numeric settings of `lab`.
pub fn limits(lab: LabName) -> Vec<(&'static str, f64, f64)> {
    let limits: &[moescope_learn::error::Limit] = match lab {
        LabName::LocalExperts => &moescope_learn::local_experts::LIMITS,
        LabName::DeepMixture => &moescope_learn::deep_mixture::LIMITS,
        LabName::Conditional => &moescope_learn::conditional::LIMITS,
        LabName::Router => &moescope_learn::router::LIMITS,
        LabName::FineTune => &moescope_learn::fine_tune::LIMITS,
    };
    limits.iter().map(|limit| (limit.key, limit.least, limit.most)).collect()
}

fn as_map<T: Serialize>(settings: &T) -> Settings {
    match serde_json::to_value(settings) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

/// Settings with their numbers as they are written: 0.01, which an `f32` is not exactly.
fn as_written(mut settings: Settings) -> Settings {
    for value in settings.values_mut() {
        if let Some(number) = value.as_f64().filter(|number| number.fract() != 0.0) {
            *value = (number as f32).to_string().parse::<f64>().map_or(Value::Null, Value::from);
        }
    }
    settings
}

/// Settings of a lab's own type.
fn read<T: DeserializeOwned>(settings: &Settings) -> Result<T, String> {
    let parse = |settings: Settings| serde_json::from_value::<T>(Value::Object(settings));
    parse(settings.clone()).map_err(|error| {
        // The message of one setting alone says which.
        let alone = |(key, value): (&String, &Value)| {
            let error = parse([(key.clone(), value.clone())].into_iter().collect()).err()?;
            Some(format!("{key}={}: {error}", value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
        };
        settings.iter().find_map(alone).unwrap_or_else(|| format!("settings: {error}"))
    })
}

/// `other` over `settings`.
pub fn over(settings: &Settings, other: &Settings) -> Settings {
    let mut all = settings.clone();
    all.extend(other.iter().map(|(key, value)| (key.clone(), value.clone())));
    all
}

/// Runs that go on side by side, and the plan that they follow.
pub struct Runs {
    runs: Vec<Box<dyn Run>>,
    /// What differs in each.
    differences: Vec<Settings>,
    /// What all have in common.
    settings: Settings,
    changes: Vec<Change>,
    target: u64,
}

impl Runs {
    /// Runs at their beginning; `assets` has the files that they read ([`crate::assets::needed`]).
    ///
    /// # Errors
    /// The settings are impossible, or a file is missing or damaged.
    pub fn new(lab: LabName, plan: Plan, assets: &Assets) -> Result<Self, String> {
        let tokenizer = assets.get(TOKENIZER).ok().map(|json| Tokenizer::read(&json)).transpose()?.map(Rc::new);
        let files = Files { assets, tokenizer };
        let differences = if plan.runs.is_empty() { vec![Settings::new()] } else { plan.runs };
        let all = |difference| over(&plan.settings, difference);
        let run = |difference| begin(lab, &all(difference), plan.own.as_deref(), &files);
        let runs = differences.iter().map(run).collect::<Result<Vec<_>, _>>()?;
        let mut runs = Self { runs, differences, settings: plan.settings, changes: plan.changes, target: plan.at };
        runs.make_changes()?;
        Ok(runs)
    }

    /// Steps done.
    pub fn steps(&self) -> u64 {
        self.runs.first().map_or(0, |run| run.steps())
    }

    /// Goes so many steps further, in time.
    pub fn aim(&mut self, steps: u64) {
        self.target = self.steps() + steps;
    }

    /// Whether it is not yet at the step that it is to go to.
    pub fn is_on_its_way(&self) -> bool {
        self.steps() < self.target
    }

    /// Trains for at most `n` steps: `onwards`, or to the step that it is to go to.
    ///
    /// # Errors
    /// A run diverged: all stay at the same step, and there is nowhere to go to.
    pub fn step(&mut self, n: u64, onwards: bool) -> Result<(), String> {
        let now = self.steps();
        let next_change = self.changes.first().map_or(u64::MAX, |change| change.step.saturating_sub(now).max(1));
        let target = if onwards { u64::MAX } else { self.target - now.min(self.target) };
        for _ in 0..n.min(next_change).min(target) {
            for run in &mut self.runs {
                if let Err(error) = run.step(1) {
                    self.target = 0;
                    self.changes.clear();
                    return Err(error);
                }
            }
        }
        self.make_changes()
    }

    /// Makes the changes that are due.
    fn make_changes(&mut self) -> Result<(), String> {
        while self.changes.first().is_some_and(|change| change.step <= self.steps()) {
            let change = self.changes.remove(0);
            if !change.settings.is_empty() {
                self.set(&change.settings)?;
            }
            if let Some(points) = &change.points {
                self.set_points(points)?;
            }
        }
        Ok(())
    }

    /// Changes settings of all runs.
    ///
    /// # Errors
    /// They are impossible, or need a new run; the runs stay as they were.
    pub fn set(&mut self, settings: &Settings) -> Result<(), String> {
        let settings = over(&self.settings, settings);
        let old = self.settings.clone();
        for (run, difference) in self.runs.iter_mut().zip(&self.differences) {
            if let Err(error) = run.set(&over(&settings, difference)) {
                for (run, difference) in self.runs.iter_mut().zip(&self.differences) {
                    // They ran with these before.
                    let _ = run.set(&over(&old, difference));
                }
                return Err(error);
            }
        }
        self.settings = settings;
        Ok(())
    }

    /// Gives all runs other points.
    ///
    /// # Errors
    /// They are impossible; the runs stay as they were.
    pub fn set_points(&mut self, points: &[[f32; 3]]) -> Result<(), String> {
        self.runs.iter_mut().try_for_each(|run| run.set_points(points))
    }

    /// Looks at what takes too long for every step.
    ///
    /// # Errors
    /// A run cannot be looked at.
    pub fn rest(&mut self) -> Result<(), String> {
        self.runs.iter_mut().try_for_each(|run| run.rest())
    }

    /// The files of the directory of run `at`'s model.
    ///
    /// # Errors
    /// There is no such run, or it has no model to save.
    pub fn directory(&self, at: usize) -> Result<Vec<(String, Vec<u8>)>, String> {
        self.runs.get(at).map_or_else(|| Err("there is no such run".into()), |run| run.directory())
    }

    /// How the runs stand, and the cells of all.
    pub fn reports(&self, cells: Option<(usize, usize)>) -> (Vec<RunReport>, Vec<Vec<u8>>) {
        self.runs.iter().map(|run| run.report(cells)).unzip()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(json: &str) -> Settings {
        serde_json::from_str(json).unwrap()
    }

    fn plan(at: u64) -> Plan {
        Plan {
            settings: settings(r#"{"data":"patches","points":60,"experts":3}"#),
            runs: vec![Settings::new(), settings(r#"{"objective":"cooperative"}"#)],
            at,
            ..Plan::default()
        }
    }

    fn losses(runs: &Runs) -> Vec<f64> {
        runs.reports(None).0.iter().map(|run| run.loss).collect()
    }

    fn go(runs: &mut Runs) {
        while runs.is_on_its_way() {
            runs.step(7, false).unwrap();
        }
    }

    #[test]
    fn a_plan_with_its_changes_gives_the_same_run_again() {
        let mut first = Runs::new(LabName::LocalExperts, plan(0), &Assets::default()).unwrap();
        first.aim(30);
        go(&mut first);
        first.set(&settings(r#"{"learning-rate":0.2}"#)).unwrap();
        first.aim(20);
        go(&mut first);
        let change = Change { step: 30, settings: settings(r#"{"learning-rate":0.2}"#), points: None };
        let mut again =
            Runs::new(LabName::LocalExperts, Plan { changes: vec![change], ..plan(50) }, &Assets::default()).unwrap();
        go(&mut again);
        assert_eq!((again.steps(), losses(&again)), (50, losses(&first)));
        let mut without = Runs::new(LabName::LocalExperts, plan(50), &Assets::default()).unwrap();
        go(&mut without);
        assert_ne!(losses(&without), losses(&first));
    }

    #[test]
    fn runs_differ_as_the_plan_says_and_keep_step() {
        let mut runs = Runs::new(LabName::LocalExperts, plan(40), &Assets::default()).unwrap();
        go(&mut runs);
        let (reports, cells) = runs.reports(Some((8, 8)));
        assert_eq!(reports.iter().map(|run| run.step).collect::<Vec<_>>(), [40, 40]);
        assert!(reports[0].loss != reports[1].loss);
        assert!(cells.iter().all(|cells| cells.len() == 8 * 8 * crate::protocol::CELL));
        assert!((reports[0].shares.iter().sum::<f64>() - 1.0).abs() < 1e-4);
    }

    #[test]
    fn impossible_settings_are_refused_and_change_nothing() {
        assert!(
            Runs::new(
                LabName::LocalExperts,
                Plan { settings: settings(r#"{"experts":0}"#), ..plan(0) },
                &Assets::default()
            )
            .is_err()
        );
        let mut runs = Runs::new(LabName::LocalExperts, plan(10), &Assets::default()).unwrap();
        go(&mut runs);
        let before = losses(&runs);
        let error = runs.set(&settings(r#"{"learning-rate":999}"#)).unwrap_err();
        assert!(error.contains("learning-rate"), "{error}");
        assert!(runs.set(&settings(r#"{"experts":5}"#)).is_err(), "a new run is needed");
        let error = runs.set(&settings(r#"{"data":"nothing"}"#)).unwrap_err();
        assert!(error.starts_with("data=nothing: unknown variant"), "{error}");
        let error = runs.set(&settings(r#"{"nothing":1}"#)).unwrap_err();
        assert!(error.starts_with("nothing=1: unknown field"), "{error}");
        assert_eq!(losses(&runs), before);
    }

    #[test]
    fn a_run_that_diverges_holds_the_step_before() {
        let steep = Plan {
            settings: settings(r#"{"data":"patches","learning-rate":10,"momentum":0.99,"variance":0.1}"#),
            ..plan(0)
        };
        let mut runs = Runs::new(LabName::LocalExperts, steep, &Assets::default()).unwrap();
        runs.aim(2000);
        let error = loop {
            match runs.step(50, false) {
                Ok(()) if runs.is_on_its_way() => {}
                Ok(()) => panic!("it did not diverge"),
                Err(error) => break error,
            }
        };
        assert!(error.contains("diverged"), "{error}");
        assert!(!runs.is_on_its_way() && losses(&runs).iter().all(|loss| loss.is_finite()));
    }

    /// The figures of a chapter's lab after so many steps, one by one.
    fn played(settings_json: &str, beside: &str, steps: u64) -> (crate::goal::Measures, usize) {
        let runs = if beside.is_empty() { Vec::new() } else { vec![Settings::new(), settings(beside)] };
        let plan = Plan { settings: settings(settings_json), runs, ..Plan::default() };
        let mut runs = Runs::new(LabName::LocalExperts, plan, &Assets::default()).unwrap();
        let mut rises = 0;
        let mut before = losses(&runs)[0];
        for _ in 0..steps {
            runs.aim(1);
            go(&mut runs);
            let now = losses(&runs)[0];
            rises += usize::from(now > before + 1e-6);
            before = now;
        }
        (crate::protocol::measures(&runs.reports(None).0), rises)
    }

    #[test]
    fn competition_divides_the_plane_as_the_chapter_says() {
        let settings = r#"{"data":"roof","experts":4,"seed":2,"variance":0.1,"learning-rate":0.05}"#;
        let (measures, _) = played(settings, r#"{"objective":"cooperative"}"#, 600);
        println!("{measures:#?}");
        assert!(measures["sharpness"] > measures["sharpness-2"] + 0.1, "{measures:#?}");
    }

    #[test]
    fn em_never_raises_the_loss_as_the_chapter_says() {
        let (measures, rises) =
            played(r#"{"data":"patches","experts":4,"groups":2,"method":"em","variance":0.1,"seed":2}"#, "", 20);
        println!("{measures:#?}");
        assert_eq!(rises, 0, "{measures:#?}");
    }

    const RINGS: &str = r#"{"data":"rings","experts":4,"expert":"support-vector-machine","learning-rate":0.5,
        "variance":0.1,"seed":2}"#;
    const WAVES: &str = r#"{"data":"waves","experts":4,"expert":"gaussian-process","points":200,"variance":0.1,
        "learning-rate":0.05,"seed":2}"#;

    #[test]
    fn the_other_kinds_of_experts_of_the_chapter_learn() {
        let (machines, _) = played(RINGS, "", 60);
        let (processes, _) = played(WAVES, "", 60);
        println!("{machines:#?} {processes:#?}");
        assert!(machines["accuracy"] > 0.95 && processes["error"] < 0.05, "{machines:#?} {processes:#?}");
    }
}
