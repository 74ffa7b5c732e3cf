//! What can go wrong in a lab: every message says what, where, and what to do.

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

/// Rejects the first value that is outside of its limit; `values` go with `limits` one by one.
pub fn check_limits(limits: &[Limit], values: &[f64]) -> Result<()> {
    debug_assert_eq!(limits.len(), values.len());
    for (Limit { key, least, most }, value) in limits.iter().zip(values) {
        // As f32, which most settings are: 0.99 is 0.99 there.
        if !(*least as f32..=*most as f32).contains(&(*value as f32)) {
            return Err(Error::Setting(format!("{key} is {value}; it must be {least} to {most}")));
        }
    }
    Ok(())
}
