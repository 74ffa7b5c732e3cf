//! The messages between page and worker. The page sends [`Command`]s; the worker answers with [`Event`]s, in order.
//! The worker owns the engine; the page owns only view state.

use moescope::engine::Needs;
use moescope::engine::cpu::pool::PoolFigures;
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

/// How to open a model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Opening {
    /// Ask before the weights of a large model are fetched.
    pub asks: bool,
    /// The visitor's access token for the model's site. It is kept in memory only.
    pub token: Option<String>,
    /// What of the model to open.
    pub extent: Extent,
}

/// What of a model to open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Extent {
    /// Its first layers only.
    pub layers: Option<usize>,
    /// The share of each layer's experts that is in memory at once, 0 to 1; the others are read when they are chosen.
    pub resident: Option<f64>,
}

/// What a model is and needs, known before its weights are fetched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preview {
    /// The model.
    pub info: ModelInfo,
    /// Bytes that it needs.
    pub needs: Needs,
    /// Bytes of its files with weights, of which it may need a part only.
    pub download: u64,
    /// Whether it has a tokenizer: otherwise it runs ids only.
    pub has_tokenizer: bool,
    /// What there is.
    pub room: Room,
    /// Whether the worker waits for a decision.
    pub asks: bool,
}

/// What a browser allows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Room {
    /// Bytes that the 32-bit program can still take for the CPU engine.
    pub memory: u64,
    /// The GPU; `None` until it was asked for.
    pub gpu: Option<GpuRoom>,
    /// Bytes that the browser keeps for this site, and how many of them are used; `None` where it does not say.
    pub storage: Option<(u64, u64)>,
}

/// What a GPU allows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum GpuRoom {
    /// An adapter.
    Adapter {
        /// Its name.
        name: String,
        /// Bytes of its largest buffer.
        buffer: u64,
        /// Whether a processor computes it.
        is_software: bool,
    },
    /// There is none; why.
    None(String),
}

/// The largest model that is opened without asking, in bytes of its files.
const OPENED_AT_ONCE: u64 = 512 << 20;

impl Preview {
    /// Whether the model is small and clearly fits, so that nobody has to be asked.
    pub fn is_small(&self) -> bool {
        let needed = self.needs.on_cpu(1.0);
        self.download <= OPENED_AT_ONCE && needed <= self.room.memory / 2
    }

    /// Whether much of its files is not needed, so that ranges of them are worth asking for.
    pub fn is_sparse(&self) -> bool {
        self.needs.weights(1.0) < self.download / 10 * 9
    }

    /// Whether the CPU engine has room for `extent` of the model.
    pub fn fits_cpu(&self, extent: Extent) -> bool {
        let needs = extent.layers.map_or_else(|| self.needs.clone(), |count| self.needs.first(count));
        needs.on_cpu(extent.resident.unwrap_or(1.0)) <= self.room.memory
    }

    /// Whether the adapter's buffers are large enough; `None` while the adapter is not known, or where there is none.
    /// Browsers do not say how much memory a GPU has.
    pub fn fits_gpu(&self, layers: Option<usize>) -> Option<bool> {
        let Some(GpuRoom::Adapter { buffer, .. }) = &self.room.gpu else { return None };
        let needs = layers.map_or_else(|| self.needs.clone(), |count| self.needs.first(count));
        Some(needs.largest_buffer() <= *buffer)
    }

    /// The most of the first layers for which the CPU engine has room; 0 where there is room for none.
    pub fn most_layers(&self) -> usize {
        let fits = |count: &usize| self.fits_cpu(Extent { layers: Some(*count), resident: None });
        (1..=self.needs.layers.len()).rev().find(fits).unwrap_or(0)
    }

    /// The shares of the experts that can be in memory at once: at least as many as a token uses.
    pub fn shares(&self) -> Vec<f64> {
        let routed = self.info.each_layer.iter().filter(|layer| layer.experts > 0);
        let least = routed.map(|layer| layer.top_k as f64 / layer.experts as f64).fold(0.0, f64::max);
        if least == 0.0 {
            return Vec::new();
        }
        [0.125, 0.25, 0.5, 0.75].into_iter().filter(|share| *share >= least).collect()
    }
}

/// A file of a kept model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptFile {
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub bytes: u64,
}

/// A model that is kept in the browser's private file system: what its manifest says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptModel {
    /// The address that it came from.
    pub address: String,
    /// Its name.
    pub name: String,
    /// Its files.
    pub files: Vec<KeptFile>,
    /// The name of the weights file; `None` where the index names several shards.
    pub weights: Option<String>,
}

impl KeptModel {
    /// The folder of all kept models.
    pub const FOLDER: &str = "models";
    /// The name of the manifest in a model's folder. A folder without one is that of a download in progress.
    pub const MANIFEST: &str = "kept.json";

    /// The name of the folder of the model at `address`: a hash (FNV-1a), because folders may not have every name.
    pub fn key(address: &str) -> String {
        let hash = address
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        format!("{hash:016x}")
    }

    /// Bytes of its files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
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
    /// Load a model. The model in use answers until the new one is complete. Answers: `Progress`* and `Previewed`*,
    /// then `Loaded`, or `LoadFailed` or `LoadCancelled` (the old model stays). A newer `Load` ends an older one, which
    /// answers `LoadFailed`. Every `Load` is answered once, in order. With `opening.asks`, the load of a large model
    /// waits after `Previewed` for `Open` or `CancelLoad`.
    Load {
        /// Where from.
        source: Source,
        /// On which engine.
        backend: BackendChoice,
        /// How to open it.
        opening: Opening,
    },
    /// Go on with the load that waits for a decision since its `Previewed`.
    Open {
        /// On which engine.
        backend: BackendChoice,
        /// What of the model.
        extent: Extent,
    },
    /// End the load in progress, which answers `LoadCancelled`, and what is being kept.
    CancelLoad,
    /// Keep a model in the browser's storage. Answers `Progress`*, then `Kept` or `NotKept`. A newer `Keep` ends an
    /// older one; what came of it is used when it is kept again.
    Keep {
        /// Where from.
        source: Source,
        /// The visitor's access token for that site.
        token: Option<String>,
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

/// How long both engines took for the same work on the first text: a prefill, and tokens one by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timed {
    /// Tokens of the prefill.
    pub prefill: usize,
    /// Tokens that ran one by one.
    pub decoded: usize,
    /// Milliseconds on the CPU.
    pub cpu_ms: f64,
    /// Milliseconds on the GPU.
    pub gpu_ms: f64,
}

impl Timed {
    /// Whether the GPU is the faster one.
    pub fn gpu_is_faster(&self) -> bool {
        self.gpu_ms < self.cpu_ms
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
    /// The header of the model that is being loaded was read; again when more is known of the room.
    Previewed(Box<Preview>),
    /// A model is kept.
    Kept(KeptModel),
    /// A model could not be kept, or not yet whole.
    NotKept {
        /// What is wrong, where, and what to do.
        message: String,
    },
    /// `CancelLoad` ended a load; the model in use stays.
    LoadCancelled,
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
    /// What was asked of the pool of experts so far, where experts are read on demand.
    Pool(PoolFigures),
    /// Both engines were timed on the first text, and the faster one is in use.
    Timed(Timed),
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

#[cfg(test)]
mod tests {
    use super::*;
    use moescope::engine::needs::LayerNeeds;
    use moescope::model::{Architecture, AttentionShape, Backend, LayerShape, MoeShape};

    fn preview(experts: u64, layers: usize, memory: u64) -> Preview {
        let shape = LayerShape::new(AttentionShape::new(2, 2, 4, 1e4), MoeShape::mixtral(16, 4, 8));
        let layers = vec![shape; layers];
        let of_layer = LayerNeeds { experts, rest: 1 << 20, largest: experts / 2, ..LayerNeeds::default() };
        let needs = Needs { layers: vec![of_layer; layers.len()], outside: 1 << 20, largest: 1 << 20 };
        let architecture = Architecture { vocabulary: 9, hidden: 8, context: 64, layers, ..Architecture::default() };
        let info = ModelInfo::new("m", "f", &architecture, ("f32".into(), 0), Backend::Cpu, None);
        let room = Room { memory, ..Room::default() };
        Preview { info, download: needs.weights(1.0), needs, has_tokenizer: true, room, asks: true }
    }

    #[test]
    fn kept_models_have_folders_of_their_own() {
        let key = KeptModel::key("https://a.org/m/");
        assert_eq!((key.len(), key.chars().all(|c| c.is_ascii_hexdigit())), (16, true));
        assert_ne!(key, KeptModel::key("https://a.org/n/"));
    }

    #[test]
    fn only_small_models_that_clearly_fit_open_at_once() {
        assert!(preview(10 << 20, 4, 4 << 30).is_small());
        assert!(!preview(200 << 20, 4, 4 << 30).is_small(), "more than 512 MiB");
        assert!(!preview(100 << 20, 4, 600 << 20).is_small(), "more than half of the room");
    }

    #[test]
    fn a_preview_says_how_much_of_a_model_fits() {
        let large = preview(1 << 30, 8, 4 << 30);
        assert!(!large.fits_cpu(Extent::default()));
        assert_eq!(large.most_layers(), 3);
        assert!(large.fits_cpu(Extent { layers: Some(3), resident: None }));
        assert!(large.fits_cpu(Extent { layers: None, resident: Some(0.25) }));
        assert!(!large.fits_cpu(Extent { layers: None, resident: Some(0.5) }));
        // A token uses 4 of 16 experts.
        assert_eq!(large.shares(), [0.25, 0.5, 0.75]);
        assert_eq!(large.fits_gpu(None), None);
        let mut with_gpu = large.clone();
        let adapter = |buffer| GpuRoom::Adapter { name: "a".into(), buffer, is_software: false };
        with_gpu.room.gpu = Some(adapter(128 << 20));
        assert_eq!(with_gpu.fits_gpu(None), Some(false));
        with_gpu.room.gpu = Some(adapter(1 << 30));
        assert_eq!(with_gpu.fits_gpu(None), Some(true));
    }
}
