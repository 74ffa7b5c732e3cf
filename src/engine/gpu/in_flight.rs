//! Decode steps that were submitted and whose results have not been read.

use super::device::Mapping;
use super::readback::ReadbackLayout;
use crate::engine::sampling::Sampling;
use std::collections::VecDeque;

/// Decode steps that were submitted and whose results have not been read.
#[derive(Default)]
pub struct InFlight {
    /// For each step the layout of its results, and the pending read of its buffer.
    pub steps: VecDeque<(ReadbackLayout, Mapping)>,
    /// The sampling parameters of these steps.
    pub sampling: Option<Sampling>,
    /// The token that the first of these steps runs.
    pub id: u32,
    /// Index of the staging buffer for the next step's results.
    pub slot: usize,
}

impl InFlight {
    /// Drops these steps. What they wrote to the KV cache is overwritten before it is read.
    pub fn cancel(&mut self) {
        self.steps.drain(..).for_each(|(_, mapping)| mapping.cancel());
        self.sampling = None;
    }
}
