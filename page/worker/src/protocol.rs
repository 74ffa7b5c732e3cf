//! What page and worker say to each other. The page sends [`Command`]s; the worker answers with
//! [`Event`]s, in order. The worker owns the engine; the page owns only view state.

use moescope::engine::gpu::profile::KernelTime;
use moescope::model::ModelInfo;
use moescope::routing::effect::{Ablated, KPoint};
use moescope::routing::lens::LayerLens;
use moescope::routing::{Limit, Policy, Trace};
pub use moescope::session::Sampling;
use serde::{Deserialize, Serialize};

/// Which engine the visitor asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendChoice {
    /// WebGPU where there is an adapter, otherwise the CPU.
    #[default]
    Auto,
    /// WebGPU; where there is none, the CPU and a note that says why.
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
        /// The name of the file with the weights; none where they are in shards, which the index names.
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
    /// Load a model and replace the one in use when it is whole; that one answers until then. Answers: `Progress`*,
    /// then `Loaded` or `LoadFailed` (the old model stays). A newer `Load` ends an older one, which answers
    /// `LoadFailed`: each is answered once, in order.
    Load {
        /// Where from.
        source: Source,
        /// On which engine.
        backend: BackendChoice,
    },
    /// Route this text. Answers: `Routed`*, the last with `done`. A newer `Route`, a `Stop` or another model ends an
    /// older run between chunks; a `Generate` waits for it.
    Route {
        /// Named again in every answer; the page raises it with every edit.
        generation: u64,
        /// The whole text.
        text: String,
    },
    /// Continue the text that was routed last. Answers: `Routed`*, a token each, the last with `done`.
    Generate {
        /// As in `Route`.
        generation: u64,
        /// How many tokens at most.
        tokens: usize,
        /// How to choose them.
        sampling: Sampling,
    },
    /// Route as `policy` says from now on (the default policy: as the model does by itself). Answers `PolicySet`, then
    /// the text's `Routed`* as `Route` does; or `PolicyRefused`, and what was before stays. While a policy is on,
    /// `Baseline`* follow each routed text: what the model does by itself.
    SetPolicy {
        /// Named again in the answers.
        generation: u64,
        /// The policy.
        policy: Policy,
    },
    /// Run the page's text again and again, each time changed a little. Answers `Swept`*, the last with `done`; or
    /// `RequestFailed`. Ends early as a run does.
    Sweep {
        /// Named again in the answers.
        request: u64,
        /// What is changed.
        sweep: Sweep,
    },
    /// End the run in progress after its current chunk; it answers a last `Routed` with `done`.
    Stop,
    /// Trace a prompt for the API, beside the page's own text. Answers `Traced` or `RequestFailed`.
    Trace {
        /// Named again in the answer.
        request: u64,
        /// What to trace.
        prompt: Prompt,
        /// Which logits to include.
        logits: Logits,
    },
    /// Look inside one token of the page's text: what each layer did to it. Answers `Inspected` or
    /// `RequestFailed`; a newer `Inspect` takes the place of one that waits.
    Inspect {
        /// Named again in the answer.
        request: u64,
        /// The token's position.
        position: usize,
    },
    /// Time the GPU's kernels on the page's text. Answers `Profiled` or `RequestFailed`.
    Profile {
        /// Named again in the answer.
        request: u64,
    },
    /// Generate beside the page's own text. Answers `Generated` or `RequestFailed`.
    Complete {
        /// Named again in the answer.
        request: u64,
        /// What to continue.
        prompt: Prompt,
        /// How many tokens at most.
        tokens: usize,
        /// How to choose them.
        sampling: Sampling,
        /// As the model routes by itself, whatever policy is on.
        plain: bool,
    },
}

/// What each kernel takes, the longest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// Tokens of a step that reads a prompt.
    pub tokens: usize,
    /// In that step.
    pub prompt: Vec<KernelTime>,
    /// In a step of one token, the text's last.
    pub token: Vec<KernelTime>,
}

/// What a sweep changes about the text's routing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sweep {
    /// One expert of one layer off.
    Ablation,
    /// Experts a token, 1 to E.
    Choices,
}

/// What a sweep has found so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Swept {
    /// An expert off.
    Ablation(Vec<Ablated>),
    /// Experts a token.
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
    /// Whole tokens that run in so many milliseconds at this speed; none while it is not known.
    pub fn tokens_in(&self, ms: f64) -> usize {
        if self.ms > 0.0 { (ms * self.tokens as f64 / self.ms) as usize } else { 0 }
    }
}

/// Why a text was not routed to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overflow {
    /// The model's context in tokens: as many were routed.
    pub context: usize,
    /// Bytes of the text that were routed; the text from there on was not.
    pub routed_bytes: usize,
}

/// Worker to page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// A long piece of work goes on.
    Progress {
        /// What is being done, in plain words.
        what: String,
        /// Bytes done.
        done: u64,
        /// Bytes in all, where known.
        total: Option<u64>,
    },
    /// A model is loaded and in use. The trace starts anew.
    Loaded(Box<ModelInfo>),
    /// A model could not be loaded; what was in use before still is.
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
    /// The policy in use. The default one where the model does as it does by itself.
    PolicySet {
        /// The command's.
        generation: u64,
        /// The policy.
        policy: Policy,
        /// Layer by layer the most that an expert takes, where that is one limit for the whole text.
        limits: Vec<Option<Limit>>,
    },
    /// A policy cannot be; the one before stays.
    PolicyRefused {
        /// The command's.
        generation: u64,
        /// What is wrong, where, and what to do.
        message: String,
    },
    /// More of what the model does with the text by itself, while a policy is on; as `Routed`.
    Baseline {
        /// The generation of the text.
        generation: u64,
        /// How many tokens of the page's baseline stay.
        from: usize,
        /// What follows them.
        more: Trace,
        /// Speed of this run.
        speed: Speed,
        /// True where the whole text is there.
        done: bool,
    },
    /// More of a sweep.
    Swept {
        /// The command's.
        request: u64,
        /// What was found since the last answer.
        found: Swept,
        /// Cases done, and all of them.
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
    /// The engine moved (a GPU was lost, say): the model's info anew, its `backend.note` says why.
    BackendChanged(Box<ModelInfo>),
    /// Answer to `Trace`: the JSON of `moescope trace`.
    Traced {
        /// The command's.
        request: u64,
        /// The JSON.
        json: String,
    },
    /// Answer to `Inspect`.
    Inspected {
        /// The command's.
        request: u64,
        /// The token's position.
        position: usize,
        /// What each layer did.
        layers: Vec<LayerLens>,
    },
    /// Answer to `Profile`.
    Profiled {
        /// The command's.
        request: u64,
        /// What the kernels take.
        profile: Profile,
    },
    /// Answer to `Complete`: `{"ids", "text", "trace", "prefill_ms", "decode_ms"}`.
    Generated {
        /// The command's.
        request: u64,
        /// The JSON.
        json: String,
    },
    /// An API request failed.
    RequestFailed {
        /// The command's.
        request: u64,
        /// What is wrong, where, and what to do.
        message: String,
    },
}
