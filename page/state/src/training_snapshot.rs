//! The model's past on the page: a snapshot of its training, one of the recorded texts, and perhaps a second snapshot
//! beside it.

use crate::shared::Shared;
use moescope::routing::{Recording, Token, Trace};

/// The file that a model's recording is in.
pub const RECORDING: &str = "recording.json";

/// What of the recording is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Which snapshot.
    pub snapshot: usize,
    /// Which of the recorded texts.
    pub text: usize,
    /// The snapshot it is compared with.
    pub beside: Option<usize>,
}

/// A moment, and how the text was routed then.
#[derive(Clone, Debug)]
pub struct Past {
    /// Which moment.
    pub moment: Moment,
    /// The routing of the text at that moment.
    pub trace: Shared<Trace>,
    /// That at the moment beside it.
    pub beside: Option<Shared<Trace>>,
}

impl Past {
    /// What `recording` says of `moment`, as far as it has it.
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

/// The recorded text that `text` is, else the first.
pub fn text_like(recording: &Recording, text: &str) -> usize {
    let is = |tokens: &[Token]| tokens.iter().try_fold(text, |rest, token| rest.strip_prefix(&token.text)) == Some("");
    recording.texts().iter().position(|recorded| is(&recorded.tokens)).unwrap_or(0)
}

/// The number of the snapshot taken after `step` steps.
pub fn snapshot_at(recording: &Recording, step: u64) -> Option<usize> {
    recording.snapshots().iter().position(|snapshot| snapshot.moment.step == step)
}
