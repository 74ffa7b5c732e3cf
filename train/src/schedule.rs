//! The learning rate over the steps: warm-up, a stable phase, and a linear decay to zero (WSD, Hu et al. 2024).
//!
//! While it is stable nothing depends on how long the run will be, so a run can be made longer or shorter, and the
//! shorter run is the same one, bit by bit.

use serde::{Deserialize, Serialize};

/// The shape of the schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Steps over which the rate rises from zero.
    pub warmup_steps: usize,
    /// Part of all steps over which it falls to zero at the end.
    pub decay: f64,
}

impl Schedule {
    /// The factor on every learning rate at `step` of `steps`, in (0, 1].
    pub fn factor(&self, step: usize, steps: usize) -> f32 {
        let rise = (step + 1) as f64 / self.warmup_steps.max(1) as f64;
        let falling = (self.decay * steps as f64).max(1.0);
        let fall = steps.saturating_sub(step) as f64 / falling;
        rise.min(fall).min(1.0) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_stays_and_falls() {
        let s = Schedule { warmup_steps: 10, decay: 0.25 };
        assert_eq!(s.factor(0, 100), 0.1);
        assert_eq!((s.factor(9, 100), s.factor(50, 100), s.factor(75, 100)), (1.0, 1.0, 1.0));
        assert!((s.factor(99, 100) - 0.04).abs() < 1e-6);
        assert_eq!(s.factor(50, 100), s.factor(50, 4000), "the stable phase does not know the end");
    }
}
