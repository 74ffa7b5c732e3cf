//! A snapshot of the model's training on the page: which snapshot, which recorded text, and perhaps a second snapshot
//! to compare with.

use crate::shared::Shared;
use moescope::routing::{Recording, Token, Trace};

/// The file of a model's recording.
pub const RECORDING: &str = "recording.json";

/// The part of the recording that is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The index of the snapshot.
    pub snapshot: usize,
    /// The index of the recorded text.
    pub text: usize,
    /// The index of the snapshot to compare with.
    pub beside: Option<usize>,
}

/// The part of the recording that is shown, with its traces.
#[derive(Clone, Debug)]
pub struct Past {
    /// Which part.
    pub moment: Moment,
    /// The routing of the text at the snapshot.
    pub trace: Shared<Trace>,
    /// The routing at the snapshot to compare with.
    pub beside: Option<Shared<Trace>>,
}

impl Past {
    /// Reads `moment` from `recording`; an index that is out of range becomes the last one.
    pub fn new(recording: &Recording, moment: Moment) -> Self {
        let last = recording.snapshots().len() - 1;
        let moment = Moment {
            snapshot: moment.snapshot.min(last),
            text: moment.text.min(recording.texts().len() - 1),
            beside: moment.beside.map(|beside| beside.min(last)),
        };
        let trace = |snapshot: usize| Shared::new(recording.trace(snapshot, moment.text));
        Self { moment, trace: trace(moment.snapshot), beside: moment.beside.map(trace) }
    }
}

/// The index of the recorded text that equals `text`; 0 where there is none.
pub fn text_like(recording: &Recording, text: &str) -> usize {
    let is = |tokens: &[Token]| tokens.iter().try_fold(text, |rest, token| rest.strip_prefix(&token.text)) == Some("");
    recording.texts().iter().position(|recorded| is(&recorded.tokens)).unwrap_or(0)
}

/// The index of the snapshot after `step` training steps.
pub fn snapshot_at(recording: &Recording, step: u64) -> Option<usize> {
    recording.snapshots().iter().position(|snapshot| snapshot.moment.step == step)
}
