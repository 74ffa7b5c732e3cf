//! Snapshots: the model at some steps of its training, from which a recording of its routing is made.
//!
//! A snapshot is a model directory in f16, named after the tokens seen, with a `training.json` next to the weights. It
//! is written before the checkpoint of a later step, so a run that continues has all earlier snapshots.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::export::write_model;
use crate::files::replace_folder;

/// The step of the first snapshot after step 0, as a share of the whole run.
const FIRST: f64 = 1.0 / 300.0;

/// Which snapshots a run keeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recording {
    /// The number of snapshots: the untrained model, the finished one, and others in between on a logarithmic scale.
    pub snapshots: usize,
}

/// `training.json` of a snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Moment {
    /// Steps done.
    pub step: usize,
    /// Tokens seen.
    pub tokens: usize,
    /// Cross-entropy in nats per token on the next batch; for the finished model, over its last steps.
    pub loss: f64,
}

/// The steps after which `count` snapshots of a run of `steps` steps are kept: 0, and steps from a 300th of the run to
/// its end, on a logarithmic scale. Short runs have fewer, because each step counts once.
pub fn steps(count: usize, steps: usize) -> Vec<usize> {
    let rest = count - 1;
    let place = |n: usize| {
        let left = (rest - n) as f64 / (rest - 1).max(1) as f64;
        (steps as f64 * FIRST.powf(left)).round() as usize
    };
    let mut chosen: Vec<usize> = std::iter::once(0).chain((1..=rest).map(place)).collect();
    chosen.dedup();
    chosen
}

/// When and where the snapshots of a run are written, and with which tokenizer.
pub struct Album<'a> {
    /// The folder of the snapshots.
    pub folder: PathBuf,
    /// The tokenizer's file.
    pub tokenizer: &'a Path,
    /// The steps after which a snapshot is kept.
    pub steps: Vec<usize>,
}

impl Album<'_> {
    /// Whether a snapshot is kept after this step.
    pub fn holds(&self, step: usize) -> bool {
        self.steps.contains(&step)
    }

    /// Writes the snapshot of a model.
    pub fn keep(&self, config: &Config, values: &[f32], moment: &Moment) -> Result<()> {
        std::fs::create_dir_all(&self.folder)?;
        replace_folder(&self.folder.join(moment.tokens.to_string()), |folder| {
            write_model(folder, config, values, self.tokenizer)?;
            Ok(std::fs::write(folder.join("training.json"), serde_json::to_string(moment)? + "\n")?)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_begin_with_the_untrained_model_and_end_with_the_finished_one() {
        let chosen = steps(16, 3000);
        assert_eq!(chosen.len(), 16);
        assert_eq!((chosen[0], chosen[1], chosen[15]), (0, 10, 3000));
        let factors: Vec<f64> = chosen[1..].windows(2).map(|w| w[1] as f64 / w[0] as f64).collect();
        assert!(factors.iter().all(|f| (1.4..1.65).contains(f)), "{chosen:?}");
        assert_eq!(steps(2, 3000), [0, 3000]);
        assert!(steps(16, 5).is_sorted_by(|a, b| a < b));
    }
}
