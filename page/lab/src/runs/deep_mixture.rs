//! Two mixture layers on digits.

use super::{Run, as_map, read};
use crate::goal::Measures;
use crate::protocol::{RunReport, Settings};
use moescope_learn::deep_mixture::Lab;
use serde_json::Value;

/// A run on digits.
pub struct DeepMixture {
    lab: Lab,
}

impl DeepMixture {
    /// A run at its beginning.
    ///
    /// # Errors
    /// The settings are impossible.
    pub fn new(settings: &Settings, digits: &[u8]) -> Result<Self, String> {
        let lab = Lab::new(read(settings)?, digits).map_err(|error| error.to_string())?;
        Ok(Self { lab })
    }
}

impl Run for DeepMixture {
    fn step(&mut self, n: usize) -> Result<(), String> {
        self.lab.step(n).map_err(|error| error.to_string())
    }

    fn set(&mut self, settings: &Settings) -> Result<(), String> {
        self.lab.set(read(settings)?).map_err(|error| error.to_string())
    }

    fn report(&self, _: Option<(usize, usize)>) -> (RunReport, Vec<u8>) {
        let state = self.lab.state();
        let mut measures = Measures::new();
        let mut put = |name: &str, value: f32| measures.insert(name.into(), f64::from(value));
        put("accuracy", state.accuracy);
        put("held-out", state.held_out_loss);
        put("place-first", state.first.place_bits);
        put("class-first", state.first.class_bits);
        put("place-second", state.second.place_bits);
        put("class-second", state.second.class_bits);
        let report =
            RunReport::new(self.steps(), state.loss, &state.first.shares, measures, Value::Object(as_map(&state)));
        (report, Vec::new())
    }

    fn steps(&self) -> u64 {
        self.lab.steps() as u64
    }
}
