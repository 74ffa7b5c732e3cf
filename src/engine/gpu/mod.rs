//! The GPU engine (`wgpu`: WebGPU in the browser; Vulkan, Metal or Direct3D 12 natively). A step is one
//! command encoder, one submit and one readback: the router's decisions never leave the GPU in between.
//! Buffers, bind groups and pipelines are made once, at load.

pub mod device;
pub mod pack;
pub mod plan;
pub mod shader;

use self::device::{Gpu, StepUniform};
use self::plan::{Plan, Sections};
use super::{LogitsOf, Step};
use crate::error::Result;
use crate::model::{Architecture, Model};

/// Most tokens of a step.
pub const CHUNK: usize = 64;

/// The GPU engine.
pub struct GpuEngine {
    architecture: Architecture,
    gpu: Gpu,
    plan: Plan,
    len: usize,
}

impl GpuEngine {
    /// Opens a GPU and makes the engine on it.
    pub async fn new(model: &Model) -> Result<Self> {
        Self::on(Gpu::open().await?, model).await
    }

    /// Uploads the weights to `gpu` and makes all that steps need.
    pub async fn on(mut gpu: Gpu, model: &Model) -> Result<Self> {
        let plan = Plan::new(&mut gpu, &model.architecture, &model.weights()?)?;
        let mut engine = Self { architecture: model.architecture.clone(), gpu, plan, len: 0 };
        // One token, then two, through everything: compiles the pipelines, and shows a GPU that cannot run them.
        engine.step(&[0], LogitsOf::Last).await?;
        engine.len = 0;
        if engine.architecture.context > 1 {
            engine.step(&[0, 0], LogitsOf::All).await?;
            engine.len = 0;
        }
        Ok(engine)
    }

    /// See [`super::Engine::step`], which also checks `ids`.
    pub async fn step(&mut self, ids: &[u32], logits: LogitsOf) -> Result<Step> {
        self.gpu.check()?;
        let from = logits.from(ids.len());
        let uniform =
            StepUniform { start: self.len as u32, count: ids.len() as u32, logits_from: from as u32, unused: 0 };
        self.gpu.queue.write_buffer(&self.gpu.step, 0, bytemuck::bytes_of(&uniform));
        self.gpu.queue.write_buffer(&self.plan.ids, 0, bytemuck::cast_slice(ids));
        let sections = Sections::new(&self.architecture, ids.len(), ids.len() - from);
        self.gpu.queue.submit([self.plan.encode(&self.gpu, &sections)]);
        let step =
            self.gpu.read(&self.plan.staging, sections.bytes, |bytes| sections.step(&self.architecture, bytes)).await?;
        self.len += ids.len();
        Ok(step)
    }

    /// Tokens in the cache.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True where the cache holds no token.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Keeps the first `len` tokens of the cache.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Most tokens of a step.
    pub fn chunk(&self) -> usize {
        CHUNK
    }

    /// The adapter's name.
    pub fn adapter(&self) -> &str {
        &self.gpu.adapter
    }

    /// What it computes.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// Gives the device up, as when a driver resets: the next step is an [`crate::error::Error::Device`].
    pub fn lose_device(&self) {
        self.gpu.device.destroy();
    }
}
