//! Pipelined decode steps. The GPU draws each token itself (`shaders/sample.wgsl`) and runs it in the next step, which
//! is submitted before the results of the previous step are read. Every step still has its own submit and its own
//! readback of routing and logits. This saves the round trip to the CPU between two tokens.

use super::GpuEngine;
use super::limits::AHEAD;
use super::readback::ReadbackLayout;
use crate::engine::sampling::Sampling;
use crate::engine::step::{LogitsOf, Step};
use crate::error::Result;

impl GpuEngine {
    /// Runs the next token of a continuation, and returns the token and its step with logits. The token is the one
    /// that the previous step drew, or `first()` where no step is in flight. Submits further steps, which draw with
    /// `sampling`, until `ahead` are in flight.
    ///
    /// `sampling` must allow all tokens ([`Sampling::takes_all`]), and the context must have room for `ahead` more.
    pub async fn draw(
        &mut self,
        sampling: &Sampling,
        ahead: usize,
        first: impl FnOnce() -> u32,
    ) -> Result<(u32, Step)> {
        if self.in_flight.sampling != Some(*sampling) {
            self.in_flight.cancel();
        }
        if self.in_flight.steps.is_empty() {
            self.go_back().await?;
            self.start_drawing(sampling, first());
        }
        while self.in_flight.steps.len() < ahead.clamp(1, AHEAD) {
            self.submit_next()?;
        }
        let (sections, mapping) = self.in_flight.steps.pop_front().expect("one was submitted");
        let read =
            |bytes: &[u8]| (sections.step(&self.architecture, &self.settings, bytes), ReadbackLayout::drawn(bytes));
        let read = self.shared.gpu.read_mapped(mapping, read).await;
        let (step, next) = read.inspect_err(|_| self.in_flight.cancel())?;
        let id = std::mem::replace(&mut self.in_flight.id, next);
        self.rewind.drew(self.len, id);
        self.len += 1;
        Ok((id, step))
    }

    /// Writes the sampling parameters, and the token that the first step runs.
    fn start_drawing(&mut self, sampling: &Sampling, id: u32) {
        let (queue, seed) = (&self.shared.gpu.queue, sampling.seed);
        let words = [sampling.temperature.to_bits(), seed as u32, (seed >> 32) as u32];
        queue.write_buffer(&self.plan.sampling, 0, bytemuck::cast_slice(&words));
        queue.write_buffer(&self.plan.ids, 0, bytemuck::bytes_of(&id));
        (self.in_flight.sampling, self.in_flight.id) = (Some(*sampling), id);
    }

    /// Submits a step that runs the token in `ids` and draws the next one.
    fn submit_next(&mut self) -> Result<()> {
        let start = self.len + self.in_flight.steps.len();
        let sections = self.begin_step(1, start, LogitsOf::Last)?.drawing();
        let gpu = &self.shared.gpu;
        if self.architecture.is_recurrent()
            && let Some(slot) = self.rewind.keep(start)
        {
            self.plan.keep_states(gpu, slot, false);
        }
        let staging = &self.plan.flights[self.in_flight.slot];
        gpu.queue.submit([self.plan.encode(gpu, &sections, staging)]);
        self.rewind.advance_to(start + 1);
        let mapping = gpu.map(staging, sections.bytes);
        self.in_flight.steps.push_back((sections, mapping));
        self.in_flight.slot = (self.in_flight.slot + 1) % AHEAD;
        Ok(())
    }
}
