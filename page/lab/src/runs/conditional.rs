//! Parts that are always on, weighted, or switched.

use super::{Run, read};
use crate::goal::Measures;
use crate::protocol::{RunReport, Settings};
use moescope_learn::conditional::Lab;
use serde_json::Value;

/// A run on digits.
pub struct Conditional {
    lab: Lab,
}

impl Conditional {
    /// A run at its beginning.
    ///
    /// # Errors
    /// The settings are impossible.
    pub fn new(settings: &Settings, digits: &[u8]) -> Result<Self, String> {
        let lab = Lab::new(read(settings)?, digits).map_err(|error| error.to_string())?;
        Ok(Self { lab })
    }
}

impl Run for Conditional {
    fn step(&mut self, n: usize) -> Result<(), String> {
        self.lab.step(n).map_err(|error| error.to_string())
    }

    fn set(&mut self, settings: &Settings) -> Result<(), String> {
        self.lab.set(read(settings)?).map_err(|error| error.to_string())
    }

    fn report(&self, _: Option<(usize, usize)>) -> (RunReport, Vec<u8>) {
        let state = self.lab.state();
        let mut measures = Measures::new();
        measures.insert("accuracy".into(), f64::from(state.accuracy));
        measures.insert("held-out".into(), f64::from(state.held_out_loss));
        measures.insert("multiply-adds".into(), state.multiply_adds as f64);
        measures.insert("spent".into(), state.spent);
        let report = RunReport::new(self.steps(), state.loss, &state.shares, measures, Value::Null);
        (report, Vec::new())
    }

    fn steps(&self) -> u64 {
        self.lab.steps() as u64
    }
}
