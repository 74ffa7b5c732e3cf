//! Two engines with one interface: [`cpu::CpuEngine`] and [`gpu::GpuEngine`]. Both keep a KV cache, take tokens in
//! chunks, and return logits and routing.
//!
//! ```
//! use moescope::engine::{Engine, Logits, LogitsOf};
//! use moescope::model::{Model, files::read_dir};
//!
//! let model = Model::new(&read_dir("tests/golden/fixtures/basic".as_ref())?)?;
//! let mut engine = Engine::cpu(&model)?;
//! let step = pollster::block_on(engine.step(&[5, 9, 2], LogitsOf::Last))?;
//! assert_eq!(step.layers[0].selected_of(0).len(), 2);
//! let (id, probability) = Logits::new(&step.logits).most_probable(1)[0];
//! println!("token {id} comes next with probability {probability}");
//! # Ok::<(), moescope::error::Error>(())
//! ```

pub mod cpu;
mod gate_vectors;
pub mod gpu;
pub mod layer_trace;
pub mod logits;
pub mod needs;
mod rewind;
mod rope;
pub mod sampling;
pub mod slots;
mod step;

pub use layer_trace::LayerTrace;
pub use logits::Logits;
pub use needs::Needs;
pub use sampling::Sampling;
pub(crate) use step::not_finite;
pub use step::{LogitsOf, Step};

use crate::error::{Error, Result};
use crate::kernels::stored::Stored;
use crate::model::{Backend, Model};
use crate::shape::{Architecture, Settings};

/// The engine in use.
pub enum Engine {
    /// On the CPU.
    Cpu(Box<cpu::CpuEngine>),
    /// On the GPU.
    Gpu(Box<gpu::GpuEngine>),
}

impl Engine {
    /// The CPU engine for a `model` whose files are complete.
    pub fn cpu(model: &Model) -> Result<Self> {
        Ok(Self::Cpu(Box::new(cpu::CpuEngine::new(model)?)))
    }

    /// As [`Self::cpu`], with the weights rounded to 8 bits: a quarter of the bytes, and slightly different results.
    pub fn cpu_int8(model: &Model) -> Result<Self> {
        Ok(Self::Cpu(Box::new(cpu::CpuEngine::packed(model, Stored::int8)?)))
    }

    /// [`Self::cpu`], or [`Self::cpu_int8`] where `rounded` is set, made while the model's files are downloaded.
    pub async fn cpu_arriving(model: &Model, rounded: bool) -> Result<Self> {
        let pack: Option<cpu::Pack> = if rounded { Some(Stored::int8) } else { None };
        Ok(Self::Cpu(Box::new(cpu::CpuEngine::arriving(model, pack).await?)))
    }

    /// The CPU engine with the share `resident` of each layer's experts in memory, 0 to 1; the others are read from the
    /// files when they are chosen. The files must stay as they are.
    pub async fn cpu_on_demand(model: &Model, resident: f64) -> Result<Self> {
        Ok(Self::Cpu(Box::new(cpu::CpuEngine::on_demand(model, resident).await?)))
    }

    /// The GPU engine for `model`, whose files may still be downloading; an [`Error::Device`] where there is no usable
    /// GPU.
    pub async fn gpu(model: &Model) -> Result<Self> {
        Ok(Self::Gpu(Box::new(gpu::GpuEngine::new(model).await?)))
    }

    /// The GPU engine on a real GPU; otherwise the CPU engine and the reason. A software adapter does not count as a
    /// GPU here, because the CPU engine is many times faster.
    pub async fn auto(model: &Model) -> Result<(Self, Option<Error>)> {
        let gpu = async { gpu::GpuEngine::on(gpu::device::Gpu::open_real().await?, model).await };
        match gpu.await {
            Ok(engine) => Ok((Self::Gpu(Box::new(engine)), None)),
            Err(error) => Ok((Self::cpu(model)?, Some(error))),
        }
    }

    /// Another engine on the same weights, with an empty cache, whose gates use `settings`.
    pub async fn fork(&self, settings: Settings) -> Result<Self> {
        Ok(match self {
            Self::Cpu(engine) => Self::Cpu(Box::new(engine.fork(settings))),
            Self::Gpu(engine) => Self::Gpu(Box::new(engine.fork(settings).await?)),
        })
    }

    /// Changes the gates' settings of an engine made by [`Self::fork`]; the text must run again.
    pub fn set_settings(&mut self, settings: Settings) {
        match self {
            Self::Cpu(engine) => engine.set_settings(settings),
            Self::Gpu(engine) => engine.set_settings(settings),
        }
    }

    /// The settings of its gates.
    pub fn settings(&self) -> &Settings {
        match self {
            Self::Cpu(engine) => engine.settings(),
            Self::Gpu(engine) => engine.settings(),
        }
    }

    /// Runs `ids` after the tokens in the cache: at least one, at most [`Self::chunk`], and no more than fit the
    /// context. Returns the logits of the tokens that `logits` names, and the routing of all `ids`.
    pub async fn step(&mut self, ids: &[u32], logits: LogitsOf) -> Result<Step> {
        check_ids(ids, self.architecture().vocabulary)?;
        let (len, context) = (self.len(), self.architecture().context);
        if len + ids.len() > context {
            return Err(Error::Input(format!(
                "the text is longer than the model's context of {context} tokens; shorten it"
            )));
        }
        match self {
            Self::Cpu(engine) => {
                engine.check_rows(ids)?;
                engine.check_memory(ids.len())?;
                if engine.pool().is_some() {
                    return engine.step_on_demand(ids, logits).await?.checked();
                }
                engine.step(ids, logits).checked()
            }
            Self::Gpu(engine) => engine.step(ids, logits).await?.checked(),
        }
    }

    /// What has been asked of its pool of experts, where experts are read on demand.
    pub fn pool(&self) -> Option<cpu::pool::PoolFigures> {
        match self {
            Self::Cpu(engine) => engine.pool(),
            Self::Gpu(_) => None,
        }
    }

    /// Number of tokens in the cache.
    pub fn len(&self) -> usize {
        match self {
            Self::Cpu(engine) => engine.len(),
            Self::Gpu(engine) => engine.len(),
        }
    }

    /// Whether the cache holds no token.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes the tokens after the first `len` from the cache.
    pub fn truncate(&mut self, len: usize) {
        match self {
            Self::Cpu(engine) => engine.truncate(len),
            Self::Gpu(engine) => engine.truncate(len),
        }
    }

    /// The most tokens of a step that returns these logits.
    pub fn chunk(&self, logits: LogitsOf) -> usize {
        match self {
            Self::Cpu(engine) => engine.chunk(),
            Self::Gpu(engine) => engine.chunk(logits),
        }
    }

    /// The architecture that it runs.
    pub fn architecture(&self) -> &Architecture {
        match self {
            Self::Cpu(engine) => engine.architecture(),
            Self::Gpu(engine) => engine.architecture(),
        }
    }

    /// Which engine it is, and on which device.
    pub fn backend(&self) -> Backend {
        match self {
            Self::Cpu(engine) if engine.is_rounded() => Backend::CpuInt8,
            Self::Cpu(_) => Backend::Cpu,
            Self::Gpu(engine) => Backend::Gpu { adapter: engine.adapter().to_owned() },
        }
    }
}

/// Rejects a prompt that the model cannot run as a whole: no ids, more than the context, or ids outside of the
/// vocabulary.
pub fn check_prompt(ids: &[u32], architecture: &Architecture) -> Result<()> {
    check_ids(ids, architecture.vocabulary)?;
    let context = architecture.context;
    match ids.len() {
        0 => Err(Error::Input("the text is empty; give at least one token".into())),
        n if n > context => Err(Error::Input(format!(
            "the text has {n} tokens, more than the model's context of {context}; shorten it"
        ))),
        _ => Ok(()),
    }
}

/// Rejects ids outside of the vocabulary.
fn check_ids(ids: &[u32], vocabulary: usize) -> Result<()> {
    match ids.iter().position(|&id| id as usize >= vocabulary) {
        None => Ok(()),
        Some(at) => Err(Error::Input(format!(
            "token {} at position {at} is out of range: the model's vocabulary has {vocabulary} entries (0 to {})",
            ids[at],
            vocabulary - 1
        ))),
    }
}
