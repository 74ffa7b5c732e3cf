//! What can go wrong in a lab: every message says what, where, and what to do.

use serde::Serialize;
use serde_json::{Map, Value};

/// An error of a lab.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// A setting is outside of its limits, or two settings do not go together.
    #[error("{0}")]
    Setting(String),
    /// A setting cannot change while the lab runs.
    #[error("{0} takes effect only in a new run; start the lab again")]
    NeedsRestart(&'static str),
    /// There is nothing to train on.
    #[error("there are no points to train on; add points or choose a data set")]
    NoPoints,
    /// What the lab was given does not fit: points, texts, weights.
    #[error("{0}")]
    Input(String),
    /// A step gave numbers that are not finite; the lab holds the step before.
    #[error("training diverged in step {step}; the lab holds the step before; lower the learning rate")]
    Diverged {
        /// The step that was not taken.
        step: usize,
    },
}

/// A result of a lab.
pub type Result<T> = std::result::Result<T, Error>;

/// The least and the most that a number among the settings may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// The setting's key.
    pub key: &'static str,
    /// The least value.
    pub least: f64,
    /// The most.
    pub most: f64,
}

/// A limit, in short.
pub const fn limit(key: &'static str, least: f64, most: f64) -> Limit {
    Limit { key, least, most }
}

/// The settings by their keys.
fn by_key<T: Serialize>(settings: &T) -> Map<String, Value> {
    match serde_json::to_value(settings) {
        Ok(Value::Object(map)) => map,
        // Settings are structures of numbers and names.
        _ => Map::new(),
    }
}

/// Rejects the first setting that is outside of its limit, or that is no finite number.
pub fn check_limits<T: Serialize>(limits: &[Limit], settings: &T) -> Result<()> {
    let values = by_key(settings);
    for Limit { key, least, most } in limits {
        // As f32, which most settings are: 0.99 is 0.99 there. What JSON has no number for is none.
        let value = values.get(*key).and_then(Value::as_f64).map_or(f32::NAN, |value| value as f32);
        if !(*least as f32..=*most as f32).contains(&value) {
            let value = if value.is_nan() { "no number".to_owned() } else { value.to_string() };
            return Err(Error::Setting(format!("{key} is {value}; it must be {least} to {most}")));
        }
    }
    Ok(())
}

/// The first of these keys whose setting differs: a running lab cannot change it.
pub fn first_changed<T: Serialize>(keys: &[&'static str], old: &T, new: &T) -> Option<&'static str> {
    let (old, new) = (by_key(old), by_key(new));
    keys.iter().find(|key| old.get(**key) != new.get(**key)).copied()
}
