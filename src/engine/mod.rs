//! Two engines with one interface: [`cpu::CpuEngine`] and [`gpu::GpuEngine`]. Both keep a KV cache,
//! take tokens in chunks and give back logits and routing.

pub mod cpu;
pub mod gpu;

use crate::error::{Error, Result};
use crate::kernels::stored::Stored;
use crate::model::{Architecture, Backend, Model, MoeShape};
use crate::routing::policy::Settings;
use crate::routing::{Gate, LayerTrace, Policy, Setting};

/// After which of a step's tokens the logits are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogitsOf {
    /// None.
    #[default]
    None,
    /// The last token: `[1, V]`.
    Last,
    /// Every token: `[T, V]`.
    All,
}

impl LogitsOf {
    /// The first of `tokens` tokens whose logits are wanted.
    pub fn from(self, tokens: usize) -> usize {
        match self {
            Self::None => tokens,
            Self::Last => tokens - 1,
            Self::All => 0,
        }
    }
}

/// What a step gives back.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// Logits of the tokens that were asked for, row-major, a row of `V` a token.
    pub logits: Vec<f32>,
    /// Routing of the step's tokens, every layer that has experts in order.
    pub layers: Vec<LayerTrace>,
}

impl Step {
    /// A step of no tokens yet, with rows as long as `settings` make them.
    pub fn new(architecture: &Architecture, settings: &Settings) -> Self {
        let layers = architecture.layers.iter().zip(settings).enumerate();
        let routed = layers.filter_map(|(n, (layer, settings))| Some((n, &layer.moe, settings, layer.moe.gate?)));
        let trace = |(n, moe, settings, gate): (usize, &MoeShape, &Vec<Setting>, Gate)| LayerTrace {
            groups: gate.group_logits(),
            ..LayerTrace::new(n, moe.experts, longest_row(settings))
        };
        Self { logits: Vec::new(), layers: routed.map(trace).collect() }
    }
}

/// What the gates of a model do by themselves.
pub fn own_settings(architecture: &Architecture) -> Settings {
    let own =
        |moe: &MoeShape| if moe.gate.is_some() { vec![Setting::own(moe, architecture.context)] } else { Vec::new() };
    architecture.layers.iter().map(|layer| own(&layer.moe)).collect()
}

/// What the gates of a model do under `policy`; by themselves where it changes nothing.
pub fn settings_under(policy: &Policy, architecture: &Architecture) -> Result<Settings> {
    Ok(policy.settings(architecture)?.unwrap_or_else(|| own_settings(architecture)))
}

/// The most experts that a token uses; 1 where there are no settings (a dense FFN).
fn longest_row(settings: &[Setting]) -> usize {
    settings.iter().map(Setting::row).max().unwrap_or(1)
}

/// Whether some setting limits what an expert takes.
fn is_limited(settings: &[Setting]) -> bool {
    settings.iter().any(|setting| setting.limit.is_some())
}

/// Whether the gate's choices are not the last word.
fn needs_settling(settings: &[Setting]) -> bool {
    is_limited(settings) || settings.iter().any(Setting::experts_choose)
}

/// The architecture with room for as many choices as `settings` make.
fn with_room(architecture: &Architecture, settings: &Settings) -> Architecture {
    let mut roomy = architecture.clone();
    for (layer, settings) in roomy.layers.iter_mut().zip(settings) {
        layer.moe.top_k = longest_row(settings);
    }
    roomy
}

/// Appends to a layer's trace what its gate decided for the tokens of a step: `router_logits`, `[T, R]`, and
/// `selected`, `weights` and `dropped`, `[T, choices]`, of which the trace keeps the routed ones.
fn record(
    shape: &MoeShape,
    router_logits: &[f32],
    selected: &[u32],
    weights: &[f32],
    dropped: &[bool],
    trace: &mut LayerTrace,
) {
    for row in router_logits.chunks_exact(shape.router_rows()) {
        let (experts, rest) = row.split_at(shape.experts);
        trace.router_logits.extend_from_slice(experts);
        trace.group_logits.extend_from_slice(&rest[..trace.groups]);
    }
    let (k, choices) = (trace.top_k, shape.choices());
    selected.chunks_exact(choices).for_each(|row| trace.selected.extend_from_slice(&row[..k]));
    weights.chunks_exact(choices).for_each(|row| trace.weights.extend_from_slice(&row[..k]));
    dropped.chunks_exact(choices).for_each(|row| trace.dropped.extend_from_slice(&row[..k]));
}

/// The engine in use.
pub enum Engine {
    /// On the CPU.
    Cpu(Box<cpu::CpuEngine>),
    /// On the GPU.
    Gpu(Box<gpu::GpuEngine>),
}

impl Engine {
    /// The CPU engine for a `model` that is here whole.
    pub fn cpu(model: &Model) -> Result<Self> {
        Ok(Self::Cpu(Box::new(cpu::CpuEngine::new(model)?)))
    }

    /// As [`Self::cpu`], with the weights rounded to 8 bits: a quarter of the bytes, and not quite the same numbers.
    pub fn cpu_int8(model: &Model) -> Result<Self> {
        Ok(Self::Cpu(Box::new(cpu::CpuEngine::packed(model, Stored::int8)?)))
    }

    /// [`Self::cpu`] or, `rounded`, [`Self::cpu_int8`], made while the model's files arrive.
    pub async fn cpu_arriving(model: &Model, rounded: bool) -> Result<Self> {
        let pack: Option<cpu::Pack> = if rounded { Some(Stored::int8) } else { None };
        Ok(Self::Cpu(Box::new(cpu::CpuEngine::arriving(model, pack).await?)))
    }

    /// The GPU engine for `model`, whose files may be arriving; an [`Error::Device`] where there is no usable GPU.
    pub async fn gpu(model: &Model) -> Result<Self> {
        Ok(Self::Gpu(Box::new(gpu::GpuEngine::new(model).await?)))
    }

    /// Another engine on the same weights, with no text, whose gates do as `settings` say.
    pub async fn fork(&self, settings: Settings) -> Result<Self> {
        Ok(match self {
            Self::Cpu(engine) => Self::Cpu(Box::new(engine.fork(settings))),
            Self::Gpu(engine) => Self::Gpu(Box::new(engine.fork(settings).await?)),
        })
    }

    /// Makes the gates of an engine that [`Self::fork`] gave do as `settings` say; the text must be run again.
    pub fn set_settings(&mut self, settings: Settings) {
        match self {
            Self::Cpu(engine) => engine.set_settings(settings),
            Self::Gpu(engine) => engine.set_settings(settings),
        }
    }

    /// What its gates do.
    pub fn settings(&self) -> &Settings {
        match self {
            Self::Cpu(engine) => engine.settings(),
            Self::Gpu(engine) => engine.settings(),
        }
    }

    /// Runs `ids` after what is in the cache: at most [`Self::chunk`] of them, at least one, and no more
    /// than the context has room for.
    pub async fn step(&mut self, ids: &[u32], logits: LogitsOf) -> Result<Step> {
        check_ids(ids, self.architecture().vocabulary)?;
        let (len, context) = (self.len(), self.architecture().context);
        if len + ids.len() > context {
            return Err(Error::Input(format!(
                "the text is longer than the model's context of {context} tokens; shorten it"
            )));
        }
        match self {
            Self::Cpu(engine) => Ok(engine.step(ids, logits)),
            Self::Gpu(engine) => engine.step(ids, logits).await,
        }
    }

    /// Tokens in the cache.
    pub fn len(&self) -> usize {
        match self {
            Self::Cpu(engine) => engine.len(),
            Self::Gpu(engine) => engine.len(),
        }
    }

    /// True where the cache holds no token.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keeps the first `len` tokens of the cache.
    pub fn truncate(&mut self, len: usize) {
        match self {
            Self::Cpu(engine) => engine.truncate(len),
            Self::Gpu(engine) => engine.truncate(len),
        }
    }

    /// Most tokens of a step that gives such logits.
    pub fn chunk(&self, logits: LogitsOf) -> usize {
        match self {
            Self::Cpu(engine) => engine.chunk(),
            Self::Gpu(engine) => engine.chunk(logits),
        }
    }

    /// What it computes.
    pub fn architecture(&self) -> &Architecture {
        match self {
            Self::Cpu(engine) => engine.architecture(),
            Self::Gpu(engine) => engine.architecture(),
        }
    }

    /// Which engine it is.
    pub fn backend(&self) -> Backend {
        match self {
            Self::Cpu(engine) if engine.is_rounded() => Backend::CpuInt8,
            Self::Cpu(_) => Backend::Cpu,
            Self::Gpu(engine) => Backend::Gpu { adapter: engine.adapter().to_owned() },
        }
    }
}

/// Refuses a prompt that the model cannot read whole: no ids, more than its context, or unknown ones.
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

/// Refuses ids that the vocabulary does not have.
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
