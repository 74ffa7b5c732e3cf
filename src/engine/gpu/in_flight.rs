//! Steps of a continuation that were submitted and not read yet.

use super::device::Mapping;
use super::readback::ReadbackLayout;
use crate::engine::sampling::Sampling;
use std::collections::VecDeque;

/// Steps that were submitted and not read yet.
#[derive(Default)]
pub struct InFlight {
    /// What each of them gives, and its buffer.
    pub steps: VecDeque<(ReadbackLayout, Mapping)>,
    /// How they draw.
    pub sampling: Option<Sampling>,
    /// What the first of them runs.
    pub id: u32,
    /// The next buffer for results.
    pub slot: usize,
}

impl InFlight {
    /// Forgets them: what they write is written again before it is read.
    pub fn cancel(&mut self) {
        self.steps.drain(..).for_each(|(_, mapping)| mapping.cancel());
        self.sampling = None;
    }
}
