//! The GPU engine (`wgpu`: WebGPU in the browser; Vulkan, Metal or Direct3D 12 natively). A step is one command
//! encoder, one submit and one readback: the router's decisions stay on the GPU in between. Buffers, bind groups and
//! pipelines are made once, when a model is loaded.

pub mod device;
mod draw;
mod in_flight;
mod limits;
pub mod pack;
pub mod plan;
pub mod policy;
pub mod profile;
mod readback;
pub mod shader;
pub mod software;
pub mod tile;
pub mod upload;

pub use self::limits::AHEAD;

use self::device::{Gpu, StepUniform};
use self::in_flight::InFlight;
use self::limits::{TOKENS_WITH_LOGITS, check_experts, most_tokens};
use self::plan::Plan;
use self::profile::{Clock, KernelTime};
use self::readback::ReadbackLayout;
use self::software::{StepSize, check_rounds};
use self::upload::GpuWeights;
use super::rewind::Rewind;
use super::step::{LogitsOf, Step};
use crate::error::Result;
use crate::model::Model;
use crate::shape::{Architecture, Settings, own_settings};
use std::rc::Rc;

/// The GPU engine.
pub struct GpuEngine {
    /// The model's architecture, but with as many choices as the plan has room for.
    architecture: Architecture,
    settings: Settings,
    /// Whether the settings may change (the engine is a fork).
    policy: bool,
    shared: Rc<Shared>,
    plan: Plan,
    len: usize,
    in_flight: InFlight,
    /// Which text the layers' states are of.
    rewind: Rewind,
}

/// What the engines of one model share.
struct Shared {
    gpu: Gpu,
    weights: GpuWeights,
}

impl GpuEngine {
    /// Opens a GPU and makes the engine on it.
    pub async fn new(model: &Model) -> Result<Self> {
        Self::on(Gpu::open().await?, model).await
    }

    /// Uploads the weights to `gpu` while they are downloaded, and makes the plan of a step.
    pub async fn on(gpu: Gpu, model: &Model) -> Result<Self> {
        let architecture = model.architecture.clone();
        check_experts(&architecture, gpu.device.limits().max_compute_workgroup_storage_size as usize)?;
        let weights = GpuWeights::arriving(&gpu, &architecture, &model.weights()?).await?;
        let settings = own_settings(&architecture);
        Self::with(Rc::new(Shared { gpu, weights }), architecture, settings, false).await
    }

    /// Another engine on the same weights, with an empty cache, whose gates use `settings`. They may change later
    /// ([`Self::set_settings`]), so it compiles pipelines with room for as many choices as there are experts.
    pub async fn fork(&self, settings: Settings) -> Result<Self> {
        let mut roomy = self.architecture.clone();
        for layer in roomy.layers.iter_mut().filter(|layer| layer.moe.gate.is_some()) {
            layer.moe.top_k = layer.moe.experts;
        }
        Self::with(self.shared.clone(), roomy, settings, true).await
    }

    async fn with(shared: Rc<Shared>, architecture: Architecture, settings: Settings, policy: bool) -> Result<Self> {
        let plan = Plan::new(&shared.gpu, &architecture, &shared.weights, &settings, policy)?;
        let in_flight = InFlight::default();
        let mut engine =
            Self { architecture, settings, policy, shared, plan, len: 0, in_flight, rewind: Rewind::default() };
        // One step of one token and one of two: they compile every pipeline and show whether the GPU can run them.
        engine.step(&[0], LogitsOf::Last).await?;
        engine.len = 0;
        if engine.architecture.context > 1 {
            engine.step(&[0, 0], LogitsOf::All).await?;
            engine.len = 0;
        }
        Ok(engine)
    }

    /// Changes the gates' settings of an engine made by [`GpuEngine::fork`]; the text must run again.
    pub fn set_settings(&mut self, settings: Settings) {
        debug_assert!(self.policy);
        self.in_flight.cancel();
        self.plan.set_settings(&self.shared.gpu, &settings);
        self.settings = settings;
        self.len = 0;
    }

    /// Runs `ids` as [`super::Engine::step`] does, but without checking them. Cancels the decode steps in flight.
    pub async fn step(&mut self, ids: &[u32], logits: LogitsOf) -> Result<Step> {
        self.in_flight.cancel();
        self.go_back().await?;
        self.run(ids, logits).await
    }

    /// Makes the layers' states those of the text so far, where it was cut.
    async fn go_back(&mut self) -> Result<()> {
        if !self.architecture.is_recurrent() {
            return Ok(());
        }
        let Some((slot, from, ids)) = self.rewind.back(self.len) else { return Ok(()) };
        if let Some(slot) = slot {
            self.plan.keep_states(&self.shared.gpu, slot, true);
        }
        self.len = from;
        for ids in ids.chunks(self.chunk(LogitsOf::None)) {
            self.run(ids, LogitsOf::None).await?;
        }
        Ok(())
    }

    async fn run(&mut self, ids: &[u32], logits: LogitsOf) -> Result<Step> {
        if self.architecture.is_recurrent() {
            if let Some(slot) = self.rewind.keep(self.len) {
                self.plan.keep_states(&self.shared.gpu, slot, false);
            }
            self.rewind.ran(self.len, ids);
        }
        let sections = self.begin(ids, self.len, logits)?;
        let gpu = &self.shared.gpu;
        gpu.queue.submit([self.plan.encode(gpu, &sections, &self.plan.staging)]);
        let step = |bytes: &[u8]| sections.step(&self.architecture, &self.settings, bytes);
        let step = gpu.read(&self.plan.staging, sections.bytes, step).await?;
        self.len += ids.len();
        Ok(step)
    }

    /// Writes the ids and the step uniform of the next step.
    fn begin(&self, ids: &[u32], start: usize, logits: LogitsOf) -> Result<ReadbackLayout> {
        let sections = self.begin_step(ids.len(), start, logits)?;
        self.shared.gpu.queue.write_buffer(&self.plan.ids, 0, bytemuck::cast_slice(ids));
        Ok(sections)
    }

    /// As [`Self::begin`], for ids that are already on the GPU.
    fn begin_step(&self, count: usize, start: usize, logits: LogitsOf) -> Result<ReadbackLayout> {
        let from = logits.from(count);
        let uniform = StepUniform { start: start as u32, count: count as u32, logits_from: from as u32, unused: 0 };
        let gpu = &self.shared.gpu;
        gpu.check()?;
        if let Some(most) = gpu.most_rounds {
            let step = StepSize { tokens: count, end: start + count };
            check_rounds(most, gpu.form, &self.architecture, &self.settings, step)?;
        }
        gpu.queue.write_buffer(&gpu.step, 0, bytemuck::bytes_of(&uniform));
        Ok(ReadbackLayout::new(&self.architecture, &self.settings, count, count - from, self.policy))
    }

    /// Times each kernel in a step over `ids`, which are the text's tokens from the position `start` on. The KV cache
    /// gets the same values again, up to rounding.
    ///
    /// # Errors
    /// The GPU has no timestamps, or was lost.
    pub async fn profile(&mut self, ids: &[u32], start: usize) -> Result<Vec<KernelTime>> {
        self.in_flight.cancel();
        let gpu = &self.shared.gpu;
        let dispatches = self.dispatches(ids.len());
        let clock = Clock::new(gpu, dispatches)?;
        let (mut sums, mut kernels) = (vec![0.0; dispatches], Vec::new());
        self.rewind.lost();
        for _ in 0..profile::STEPS {
            let sections = self.begin(ids, start, LogitsOf::Last)?;
            let (commands, names) = self.plan.encode_timed(gpu, &sections, &clock);
            gpu.queue.submit([commands]);
            let times = clock.read(gpu).await?;
            sums.iter_mut().zip(times).for_each(|(sum, ms)| *sum += ms / profile::STEPS as f64);
            kernels = names;
        }
        Ok(profile::by_kernel(&kernels, &sums))
    }

    /// The settings of its gates.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Number of tokens in the cache.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the cache holds no token.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Removes the tokens after the first `len` from the cache.
    pub fn truncate(&mut self, len: usize) {
        self.in_flight.cancel();
        self.len = self.len.min(len);
    }

    /// The most tokens of a step that returns these logits.
    pub fn chunk(&self, logits: LogitsOf) -> usize {
        if logits == LogitsOf::All { TOKENS_WITH_LOGITS } else { most_tokens(&self.architecture) }
    }

    /// Number of dispatches in a step of `tokens` tokens, including the logits.
    pub fn dispatches(&self, tokens: usize) -> usize {
        self.plan.dispatches(tokens)
    }

    /// The adapter's name.
    pub fn adapter(&self) -> &str {
        &self.shared.gpu.adapter
    }

    /// The architecture that it runs.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// Destroys the device, as a driver reset does; the next step returns an [`crate::error::Error::Device`].
    pub fn lose_device(&self) {
        self.shared.gpu.device.destroy();
    }
}
