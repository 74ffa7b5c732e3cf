//! The messages between page and worker. The page sends [`Command`]s; the worker answers with [`Event`]s, in order.
//! The worker owns the engine; the page owns only view state.

use moescope::engine::gpu::profile::KernelTime;
use moescope::model::ModelInfo;
use moescope::routing::effect::{Ablated, KPoint};
use moescope::routing::lens::{LayerLens, TriedSets};
use moescope::routing::{Limit, Policy, Trace};
pub use moescope::session::Sampling;
use serde::{Deserialize, Serialize};

/// A question to the worker: who asks, and the number of the question. The answer names it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Request {
    /// The page's state.
    Page(u64),
    /// A program, over `window.moescope` or from a page that embeds this one.
    Api(u64),
}

/// None that was asked: the page counts from 1.
impl Default for Request {
    fn default() -> Self {
        Self::Page(0)
    }
}

/// The engine that the visitor chose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendChoice {
    /// WebGPU where there is a real GPU, otherwise the CPU: it is faster than a software adapter.
    #[default]
    Auto,
    /// WebGPU; where there is no adapter, the CPU, with a note that says why.
    WebGpu,
    /// The CPU engine.
    Cpu,
    /// The CPU engine with weights rounded to 8 bits.
    CpuInt8,
}

/// Where a model comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// The absolute URL of a model directory, of a file in one, or of a model's page on the Hugging Face hub.
    Url(String),
    /// Files of one directory that the visitor opened (see [`super::opened::find_model`]).
    Files {
        /// The model's name.
        name: String,
        /// (file name, blob URL).
        files: Vec<(String, String)>,
        /// The name of the weights file; `None` where the index names several shards.
        weights: Option<String>,
    },
}

/// Which logits a caller of the API wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Logits {
    /// None.
    #[default]
    None,
    /// Those after the last token, `[V]`.
    Last,
    /// Those after every token, `[T, V]`.
    All,
}

/// Text, or token ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Prompt {
    /// Text, to be tokenized.
    Text(String),
    /// Ids of the model's vocabulary.
    Ids(Vec<u32>),
}

/// Page to worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// Load a model. The model in use answers until the new one is complete. Answers: `Progress`*, then `Loaded`, or
    /// `LoadFailed` (the old model stays). A newer `Load` ends an older one, which answers `LoadFailed`. Every `Load`
    /// is answered once, in order.
    Load {
        /// Where from.
        source: Source,
        /// On which engine.
        backend: BackendChoice,
    },
    /// Load this small model too, on the CPU, and use it until the load in progress has arrived, where that takes long.
    /// Answers: `StandsIn`, or nothing where the other model comes soon or this one cannot be loaded.
    StandIn {
        /// Where from.
        source: Source,
    },
    /// Route this text. Answers: `Routed`*, the last with `done`. A newer `Route`, a `Stop` or another model ends an
    /// older run between chunks; a `Generate` waits for it.
    Route {
        /// Named again in every answer; the page raises it with every edit.
        generation: u64,
        /// The whole text.
        text: String,
    },
    /// Continue the text that was routed last. Answers: `Routed`*, one for each token, the last with `done`.
    Generate {
        /// As in `Route`.
        generation: u64,
        /// How many tokens at most.
        tokens: usize,
        /// How to choose them.
        sampling: Sampling,
    },
    /// Route under `policy` from now on; the default policy is the model's own routing. Answers `PolicySet` and then
    /// `Routed`* for the text, as `Route` does; or `PolicyRefused`, and the old policy stays. While a policy is in use,
    /// `Baseline`* follow each routed text: the same text under the model's own routing.
    SetPolicy {
        /// Named again in the answers.
        generation: u64,
        /// The policy.
        policy: Policy,
    },
    /// Run the page's text several times, each time with another change to the routing. Answers `Swept`*, the last
    /// with `done`; or `RequestFailed`. The commands that end a run end a sweep early.
    Sweep {
        /// Named again in the answers.
        request: Request,
        /// What changes from run to run.
        sweep: Sweep,
    },
    /// End the run in progress after its current chunk; it answers a last `Routed` with `done`.
    Stop,
    /// Trace a prompt for the API; the page's own text stays. Answers `Traced` or `RequestFailed`.
    Trace {
        /// Named again in the answer.
        request: Request,
        /// What to trace.
        prompt: Prompt,
        /// Which logits to include.
        logits: Logits,
    },
    /// Compute what each layer did to one token of the page's text. Answers `Inspected` or `RequestFailed`; a newer
    /// `Inspect` replaces one that waits.
    Inspect {
        /// Named again in the answer.
        request: Request,
        /// The token's position.
        position: usize,
    },
    /// Try every set of experts that a token of the page's text could go to in a layer, as the model routes by itself.
    /// Answers `Tried` or `RequestFailed`.
    TrySets {
        /// Named again in the answer.
        request: Request,
        /// The layer's number.
        layer: usize,
        /// The token's position; another token must follow it.
        position: usize,
    },
    /// Time the GPU's kernels on the page's text. Answers `Profiled` or `RequestFailed`.
    Profile {
        /// Named again in the answer.
        request: Request,
    },
    /// Continue a prompt for the API; the page's own text stays. Answers `Generated` or `RequestFailed`.
    Complete {
        /// Named again in the answer.
        request: Request,
        /// What to continue.
        prompt: Prompt,
        /// How many tokens at most.
        tokens: usize,
        /// How to choose them.
        sampling: Sampling,
        /// Use the model's own routing, whatever policy is in use.
        plain: bool,
    },
}

/// How long each kernel takes, the slowest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// Tokens of the prefill step.
    pub tokens: usize,
    /// Times in the prefill step.
    pub prompt: Vec<KernelTime>,
    /// Times in a decode step (the last token of the text).
    pub token: Vec<KernelTime>,
}

/// What a sweep changes about the routing from run to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sweep {
    /// Switches off one expert of one layer at a time.
    Ablation,
    /// Uses 1, 2, ... E experts per token.
    Choices,
}

/// Results of a sweep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Swept {
    /// Results with one expert off.
    Ablation(Vec<Ablated>),
    /// Results for a number of experts per token.
    Choices(Vec<KPoint>),
}

/// How fast a run went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Speed {
    /// Tokens run in this run so far (not those reused from the cache).
    pub tokens: usize,
    /// Milliseconds spent in the engine.
    pub ms: f64,
}

impl Speed {
    /// The number of whole tokens that run in `ms` milliseconds at this speed; 0 while the speed is not known.
    pub fn tokens_in(&self, ms: f64) -> usize {
        if self.ms > 0.0 { (ms * self.tokens as f64 / self.ms) as usize } else { 0 }
    }
}

/// Why a text was not routed to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overflow {
    /// The model's context in tokens, which is how many were routed.
    pub context: usize,
    /// Bytes of the text that were routed; the rest was not.
    pub routed_bytes: usize,
}

/// Worker to page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// Progress of a long piece of work.
    Progress {
        /// What is being done, as a text for the visitor.
        what: String,
        /// Bytes done.
        done: u64,
        /// Bytes in all, where known.
        total: Option<u64>,
    },
    /// A model is loaded and in use. The trace starts from the beginning.
    Loaded(Box<ModelInfo>),
    /// The model of `StandIn` is in use, and a load is still in progress.
    StandsIn(Box<ModelInfo>),
    /// A model could not be loaded; the model in use stays.
    LoadFailed {
        /// What is wrong, where, and what to do.
        message: String,
    },
    /// More of a text was routed: the page's trace is cut to `from` tokens and extended by `more`.
    Routed {
        /// The command's.
        generation: u64,
        /// How many tokens of the page's trace stay.
        from: usize,
        /// What follows them.
        more: Trace,
        /// Tokens that the text has in all (as far as they fit the context).
        total: usize,
        /// Where the text did not fit.
        overflow: Option<Overflow>,
        /// Speed of this run.
        speed: Speed,
        /// True in the last answer to the command.
        done: bool,
    },
    /// The policy that is now in use; the default policy is the model's own routing.
    PolicySet {
        /// The command's.
        generation: u64,
        /// The policy.
        policy: Policy,
        /// For each layer, the capacity of its experts, where one capacity holds for the whole text.
        limits: Vec<Option<Limit>>,
    },
    /// A policy is not valid for this model; the old one stays.
    PolicyRefused {
        /// The command's.
        generation: u64,
        /// What is wrong, where, and what to do.
        message: String,
    },
    /// More of the text under the model's own routing, while a policy is in use; as `Routed`.
    Baseline {
        /// The generation of the text.
        generation: u64,
        /// How many tokens of the page's baseline stay.
        from: usize,
        /// What follows them.
        more: Trace,
        /// Speed of this run.
        speed: Speed,
        /// True where the whole text has run.
        done: bool,
    },
    /// More results of a sweep.
    Swept {
        /// The command's.
        request: Request,
        /// The results since the last answer.
        found: Swept,
        /// The number of cases done, and of all cases.
        progress: (usize, usize),
        /// True in the last answer, also where the sweep was stopped.
        done: bool,
    },
    /// A run failed; the trace up to here stays.
    RunFailed {
        /// The command's.
        generation: u64,
        /// What is wrong, where, and what to do.
        message: String,
    },
    /// Another engine is in use (because a GPU was lost, for example). Has the new model info; its `backend.note` says
    /// why.
    BackendChanged(Box<ModelInfo>),
    /// Answer to `Trace`: the JSON of `moescope trace`.
    Traced {
        /// The command's.
        request: Request,
        /// The JSON.
        json: String,
    },
    /// Answer to `Inspect`.
    Inspected {
        /// The command's.
        request: Request,
        /// The token's position.
        position: usize,
        /// What each layer did.
        layers: Vec<LayerLens>,
    },
    /// Answer to `TrySets`.
    Tried {
        /// The command's.
        request: Request,
        /// What was found.
        tried: TriedSets,
    },
    /// Answer to `Profile`.
    Profiled {
        /// The command's.
        request: Request,
        /// How long the kernels take.
        profile: Profile,
    },
    /// Answer to `Complete`: `{"ids", "text", "trace", "prefill_ms", "decode_ms"}`.
    Generated {
        /// The command's.
        request: Request,
        /// The JSON.
        json: String,
    },
    /// An API request failed.
    RequestFailed {
        /// The command's.
        request: Request,
        /// What is wrong, where, and what to do.
        message: String,
    },
}
