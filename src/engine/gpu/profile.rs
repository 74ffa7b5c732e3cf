//! Times each kernel: runs steps in which every dispatch is a pass of its own, between two timestamps.
//!
//! Source: <https://gpuweb.github.io/gpuweb/#timestamp>. Browsers round timestamps (Chrome to 0.1 ms), so the times of
//! several steps are added up.

use super::device::Gpu;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use wgpu::BufferUsages;

/// Number of steps that are timed and averaged.
pub const STEPS: usize = 8;

/// How long one kernel takes in a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KernelTime {
    /// The kernel's name.
    pub kernel: String,
    /// Number of its dispatches in a step.
    pub dispatches: usize,
    /// Milliseconds of all its dispatches.
    pub ms: f64,
}

/// The timestamps before and after each dispatch of a step.
pub struct Clock {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    staging: wgpu::Buffer,
    bytes: u64,
}

impl Clock {
    /// Timestamps for a step of `dispatches` dispatches.
    ///
    /// # Errors
    /// The GPU has no timestamps.
    pub fn new(gpu: &Gpu, dispatches: usize) -> Result<Self> {
        if !gpu.device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            return Err(Error::Input("this GPU has no timestamps, so that its kernels cannot be timed".into()));
        }
        let count = 2 * dispatches as u32;
        let queries = gpu.device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("clock"),
            ty: wgpu::QueryType::Timestamp,
            count,
        });
        let bytes = u64::from(count) * u64::from(wgpu::QUERY_SIZE);
        let resolved = gpu.buffer("times", bytes as usize, BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC)?;
        let staging = gpu.buffer("times", bytes as usize, BufferUsages::MAP_READ | BufferUsages::COPY_DST)?;
        Ok(Self { queries, resolved, staging, bytes })
    }

    /// Begins the timed pass of dispatch `n`.
    pub fn pass<'e>(&self, encoder: &'e mut wgpu::CommandEncoder, n: usize) -> wgpu::ComputePass<'e> {
        let first = 2 * n as u32;
        let timestamp_writes = Some(wgpu::ComputePassTimestampWrites {
            query_set: &self.queries,
            beginning_of_pass_write_index: Some(first),
            end_of_pass_write_index: Some(first + 1),
        });
        encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes })
    }

    /// Copies the timestamps to a buffer that can be read; called after all passes.
    pub fn stop(&self, encoder: &mut wgpu::CommandEncoder) {
        let count = (self.bytes / u64::from(wgpu::QUERY_SIZE)) as u32;
        encoder.resolve_query_set(&self.queries, 0..count, &self.resolved, 0);
        encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.staging, 0, self.bytes);
    }

    /// Milliseconds of each dispatch, in order.
    pub async fn read(&self, gpu: &Gpu) -> Result<Vec<f64>> {
        let tick = f64::from(gpu.queue.get_timestamp_period()) * 1e-6;
        let between = |bytes: &[u8]| {
            let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(bytes);
            // The clock may have been set back between two timestamps; such a time counts as 0.
            ticks.chunks_exact(2).map(|pair| pair[1].saturating_sub(pair[0]) as f64 * tick).collect()
        };
        gpu.read(&self.staging, self.bytes, between).await
    }
}

/// Adds up the times of a step's dispatches for each kernel, the slowest kernel first.
pub fn by_kernel(names: &[&'static str], ms: &[f64]) -> Vec<KernelTime> {
    let mut times: Vec<KernelTime> = Vec::new();
    for (&name, &ms) in names.iter().zip(ms) {
        match times.iter_mut().find(|time| time.kernel == name) {
            Some(time) => {
                time.dispatches += 1;
                time.ms += ms;
            }
            None => times.push(KernelTime { kernel: name.into(), dispatches: 1, ms }),
        }
    }
    times.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    times
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dispatches_of_a_kernel_are_summed_up() {
        let times = by_kernel(&["gate", "linear", "gate"], &[1.0, 5.0, 2.5]);
        let time = |kernel: &str, dispatches, ms| KernelTime { kernel: kernel.into(), dispatches, ms };
        assert_eq!(times, [time("linear", 1, 5.0), time("gate", 2, 3.5)]);
    }
}
