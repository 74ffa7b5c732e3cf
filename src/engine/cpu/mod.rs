//! The CPU engine: f32, SIMD, one thread, no allocation in a step but for what it gives back.

pub mod ablation;
pub mod look;
pub mod sets;

use super::gate_vectors::{self, values};
use super::rope::RopeTables;
use super::step::{LogitsOf, Step, is_limited, needs_settling, record, with_room};
use crate::error::{Error, Result};
use crate::kernels::attention::{KvCache, attention, scratch};
use crate::kernels::choose::{GateVectors, Room};
use crate::kernels::combine::combine;
use crate::kernels::dispatch::dispatch;
use crate::kernels::embed::embed;
use crate::kernels::expert_ffn::{self, Expert};
use crate::kernels::gate::{Batch, gate};
use crate::kernels::linear::linear_add;
use crate::kernels::lm_head::lm_head;
use crate::kernels::qkv::qkv;
use crate::kernels::rms_norm::rms_norm;
use crate::kernels::settle::{CapacityState, settle};
use crate::kernels::stored::Stored;
use crate::model::files::at_once;
use crate::model::tensors::arrive;
use crate::model::{ExpertWeights, LayerWeights, Model, Tensor, Weights};
use crate::shape::{Architecture, LayerShape, Matrix, NONE, Settings, own_settings};
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use std::sync::Arc;

/// Most tokens of a step: enough that each expert's weights are read once for many tokens. Callers that wait for
/// newer texts ask for fewer.
const CHUNK: usize = 256;

/// Models with fewer bytes of weights are widened to f32: they stay in the processor's caches, so that reading them
/// costs little.
const SMALL: usize = 32 << 20;

/// How matrices of the same width are packed, stacked.
pub type Pack = fn(&[Matrix<'_>]) -> Stored;

/// Weights of a layer, packed; named as in [`LayerWeights`].
struct Layer {
    attention_norm: Vec<f32>,
    qkv: Stored,
    output: Stored,
    moe_norm: Vec<f32>,
    /// Rows of the experts, then of the groups; none for a dense FFN.
    router: Option<Stored>,
    /// What the gate has besides.
    gate: GateVectors,
    experts: Vec<Expert>,
    angles: Arc<Vec<[f32; 2]>>,
}

/// Weights of a model, packed.
struct Packed {
    embed: Stored,
    /// Tokens whose embeddings are not finite.
    unusable: Vec<u32>,
    layers: Vec<Layer>,
    norm: Vec<f32>,
    lm_head: Option<Stored>,
}

/// What a layer remembers of the text.
struct Memory {
    /// Routed experts of the text's tokens, `[context, k]`, where an expert's tokens are limited.
    history: Vec<u32>,
    cache: KvCache,
}

/// Numbers of the tokens of a step, `[CHUNK, ...]` each.
struct Activations {
    x: Vec<f32>,
    normed: Vec<f32>,
    qkv: Vec<f32>,
    q: Vec<f32>,
    attended: Vec<f32>,
    scores: Vec<f32>,
    router_logits: Vec<f32>,
    selected: Vec<u32>,
    route_weights: Vec<f32>,
    dropped: Vec<bool>,
    assignments: Vec<u32>,
    offsets: Vec<u32>,
    hidden: Vec<f32>,
    y: Vec<f32>,
    choice: Room,
    experts: expert_ffn::Scratch,
}

/// How far a layer has run.
enum Stage {
    /// Attention has been added to x.
    Attended,
    /// The experts have, so many a token.
    Mixed(usize),
}

/// The CPU engine.
pub struct CpuEngine {
    /// Of the model, but with as many choices as the settings need.
    architecture: Architecture,
    settings: Settings,
    weights: Arc<Packed>,
    memory: Vec<Memory>,
    activations: Activations,
    len: usize,
}

impl CpuEngine {
    /// Packs the weights of a model that is here whole: those of a small one widened, others as they are.
    pub fn new(model: &Model) -> Result<Self> {
        at_once(Self::arriving(model, None))
    }

    /// Packs the weights of a model that is here whole with `pack`; the router's, which are few, are widened.
    pub fn packed(model: &Model, pack: Pack) -> Result<Self> {
        at_once(Self::arriving(model, Some(pack)))
    }

    /// As [`Self::packed`] or [`Self::new`]; packs each tensor as it arrives.
    // Boxed, so that there is one copy of it in the program.
    pub fn arriving(model: &Model, pack: Option<Pack>) -> LocalBoxFuture<'_, Result<Self>> {
        let making = async move {
            let (architecture, weights) = (&model.architecture, model.weights()?);
            let pack = match pack {
                Some(pack) => pack,
                None => {
                    check_room(weights.bytes().saturating_add(working_bytes(architecture)))?;
                    if weights.bytes() < SMALL { Stored::wide } else { Stored::as_is }
                }
            };
            let packed = Packed::arriving(architecture, &weights, pack).await?;
            Ok(Self::with(architecture.clone(), Arc::new(packed), own_settings(architecture)))
        };
        making.boxed_local()
    }

    /// Another engine on the same weights, with no text, whose gates do as `settings` say.
    pub fn fork(&self, settings: Settings) -> Self {
        Self::with(self.architecture.clone(), self.weights.clone(), settings)
    }

    fn with(architecture: Architecture, weights: Arc<Packed>, settings: Settings) -> Self {
        let architecture = with_room(&architecture, &settings);
        let memory = |(layer, settings): (&LayerShape, &Vec<_>)| Memory {
            history: if is_limited(settings) { vec![NONE; architecture.context * layer.moe.top_k] } else { Vec::new() },
            cache: KvCache::new(architecture.context, &layer.attention),
        };
        Self {
            memory: architecture.layers.iter().zip(&settings).map(memory).collect(),
            activations: Activations::new(&architecture),
            architecture,
            settings,
            weights,
            len: 0,
        }
    }

    /// Refuses tokens whose embeddings are not finite.
    pub fn check_rows(&self, ids: &[u32]) -> Result<()> {
        match ids.iter().find(|id| self.weights.unusable.contains(id)) {
            None => Ok(()),
            Some(id) => Err(Error::Input(format!(
                "token {id} cannot be used: its row of model.embed_tokens.weight is not finite (NaN or infinite)"
            ))),
        }
    }

    /// See [`super::Engine::step`], which also checks `ids`.
    pub fn step(&mut self, ids: &[u32], logits: LogitsOf) -> Step {
        let mut step = self.run(ids, |_, _, _| {});
        let (tokens, from) = (ids.len(), logits.from(ids.len()));
        if from < tokens {
            step.logits.resize((tokens - from) * self.architecture.vocabulary, 0.0);
            self.logits(tokens, from, &mut step.logits);
        }
        step
    }

    /// Logits of the tokens `from..tokens` of the step, `[tokens - from, V]`.
    fn logits(&self, tokens: usize, from: usize, logits: &mut [f32]) {
        lm_head(from, &self.activations.normed[..tokens * self.architecture.hidden], self.weights.head(), logits);
    }

    /// Runs `ids` through all layers: their routing. `seen` looks at the activations on the way.
    fn run(&mut self, ids: &[u32], mut seen: impl FnMut(usize, Stage, &Activations)) -> Step {
        let tokens = ids.len();
        let mut step = Step::new(&self.architecture, &self.settings);
        let mut traces = step.layers.iter_mut();
        embed(ids, &self.weights.embed, &mut self.activations.x[..tokens * self.architecture.hidden]);
        self.norm(0, tokens);
        for n in 0..self.memory.len() {
            self.attend(n, tokens);
            seen(n, Stage::Attended, &self.activations);
            self.mix(n, ids);
            let (moe, a) = (&self.architecture.layers[n].moe, &self.activations);
            seen(n, Stage::Mixed(moe.choices()), a);
            if moe.gate.is_some() {
                let trace = traces.next().expect("a trace for every routed layer");
                let (logits, assigned) = (&a.router_logits[..tokens * moe.router_rows()], tokens * moe.choices());
                let dropped = if is_limited(&self.settings[n]) { &a.dropped[..assigned] } else { &[] };
                record(moe, logits, &a.selected[..assigned], &a.route_weights[..assigned], dropped, trace);
            }
        }
        self.len += tokens;
        step
    }

    /// Norms the first `tokens` rows of x for the attention of layer `n`, or for the output after the last one.
    fn norm(&mut self, n: usize, tokens: usize) {
        let (numbers, a) = (tokens * self.architecture.hidden, &mut self.activations);
        let eps = self.architecture.norm_eps;
        rms_norm(&a.x[..numbers], self.weights.norm_before(n), &mut a.normed[..numbers], eps);
    }

    /// `x += attention(normed)` in layer `n`, for the `tokens` tokens after those in the cache.
    fn attend(&mut self, n: usize, tokens: usize) {
        let (architecture, layer, a) = (&self.architecture, &self.weights.layers[n], &mut self.activations);
        let (start, cache) = (self.len, &mut self.memory[n].cache);
        let shape = &architecture.layers[n].attention;
        let x = &mut a.x[..tokens * architecture.hidden];
        let normed = &a.normed[..tokens * architecture.hidden];
        let scratch = &mut a.qkv[..tokens * shape.qkv_rows()];
        let q = &mut a.q[..tokens * shape.query_width()];
        let attended = &mut a.attended[..tokens * shape.query_width()];
        qkv(start, shape, normed, &layer.qkv, &layer.angles, q, cache, scratch);
        attention(start, shape, q, cache, attended, &mut a.scores);
        linear_add(attended, &layer.output, x);
    }

    /// `x += experts(norm(x))` in layer `n`, normed for what comes next.
    fn mix(&mut self, n: usize, ids: &[u32]) {
        let (architecture, layer, a) = (&self.architecture, &self.weights.layers[n], &mut self.activations);
        let shape = &architecture.layers[n].moe;
        let (width, tokens) = (architecture.hidden, ids.len());
        let assigned = tokens * shape.choices();
        let x = &mut a.x[..tokens * width];
        let normed = &mut a.normed[..tokens * width];
        let selected = &mut a.selected[..assigned];
        let route_weights = &mut a.route_weights[..assigned];
        let assignments = &mut a.assignments[..assigned];
        let offsets = &mut a.offsets[..=shape.all_experts()];
        let hidden = &mut a.hidden[..assigned * shape.intermediate];
        let y = &mut a.y[..assigned * width];
        rms_norm(x, &layer.moe_norm, normed, architecture.norm_eps);
        match &layer.router {
            Some(router) => {
                let batch = Batch { layer: n, start: self.len, ids };
                let (settings, vectors, room) = (&self.settings[n], &layer.gate, &mut a.choice);
                let router_logits = &mut a.router_logits[..tokens * shape.router_rows()];
                gate(batch, shape, settings, normed, router, vectors, room, router_logits, selected, route_weights);
                if needs_settling(settings) {
                    let taken =
                        CapacityState { history: &mut self.memory[n].history, dropped: &mut a.dropped[..assigned] };
                    settle(batch, shape, settings, router_logits, vectors, room, taken, selected, route_weights);
                }
            }
            // A dense FFN: its one expert reads every token.
            None => {
                selected.fill(0);
                route_weights.fill(1.0);
            }
        }
        dispatch(selected, route_weights, assignments, offsets);
        expert_ffn::up(normed, assignments, offsets, &layer.experts, hidden, &mut a.experts);
        expert_ffn::down(hidden, assignments, offsets, &layer.experts, y, &mut a.experts);
        combine(y, route_weights, x, self.weights.norm_before(n + 1), normed, architecture.norm_eps);
    }

    /// Makes its gates do as `settings` say, with no text; what it has room for stays where that is enough.
    pub fn set_settings(&mut self, settings: Settings) {
        let choices = |architecture: &Architecture| -> Vec<usize> {
            architecture.layers.iter().map(|layer| layer.moe.top_k).collect()
        };
        let limited = |settings: &Settings| -> Vec<bool> { settings.iter().map(|s| is_limited(s)).collect() };
        let same_room = choices(&with_room(&self.architecture, &settings)) == choices(&self.architecture)
            && limited(&settings) == limited(&self.settings);
        if same_room {
            // What a layer remembers of a text is read as far as it was written for this one.
            (self.settings, self.len) = (settings, 0);
        } else {
            *self = self.fork(settings);
        }
    }

    /// What its gates do.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Its weights are rounded to 8 bits.
    pub fn is_rounded(&self) -> bool {
        matches!(self.weights.embed, Stored::Int8(_))
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

    /// What it computes.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }
}

impl Layer {
    async fn arriving(weights: &LayerWeights<'_>, angles: Arc<Vec<[f32; 2]>>, pack: Pack) -> Result<Self> {
        let LayerWeights { attention_norm, qkv: [q, k, v], output, moe_norm, ffn } = weights;
        let mut experts = Vec::new();
        for ExpertWeights { w1, w2, w3 } in &ffn.experts {
            experts.push(Expert { up: packed(pack, &[w1, w3]).await?, down: packed(pack, &[w2]).await? });
        }
        let routers = ffn.routers();
        Ok(Self {
            experts,
            router: if routers.is_empty() { None } else { Some(packed(Stored::wide, &routers).await?) },
            gate: gate_vectors::arriving(ffn).await?,
            attention_norm: values(Some(attention_norm)).await?,
            moe_norm: values(Some(moe_norm)).await?,
            qkv: packed(pack, &[q, k, v]).await?,
            output: packed(pack, &[output]).await?,
            angles,
        })
    }
}

/// Bytes of the cache and of the widest activations, which a config can make much larger than the weights.
fn working_bytes(a: &Architecture) -> usize {
    let layer = |layer: &LayerShape| {
        let (attention, moe) = (&layer.attention, &layer.moe);
        let cache = (a.context as u64) * (2 * attention.kv_heads * attention.head_dim) as u64;
        (cache, (CHUNK * moe.choices()) as u64 * (moe.intermediate + a.hidden) as u64)
    };
    let sizes = a.layers.iter().map(layer);
    let (caches, widest) = sizes.fold((0, 0), |(sum, widest), (cache, wide)| (sum + cache, wide.max(widest)));
    usize::try_from(4 * (caches + widest)).unwrap_or(usize::MAX)
}

/// Rejects a model whose weights do not fit the memory, before packing them ends in an abort.
fn check_room(bytes: usize) -> Result<()> {
    let mut room: Vec<u8> = Vec::new();
    let reserved = room.try_reserve_exact(bytes);
    // Otherwise the compiler removes an allocation that is never used.
    std::hint::black_box(&room);
    reserved.map_err(|_| {
        let why = format!(
            "need {} MB of memory, more than there is; take a smaller model, or have them rounded to 8 bits",
            bytes >> 20
        );
        Error::model("the model's weights", why)
    })
}

/// Packs tensors of the same width, stacked, once they have arrived.
async fn packed(pack: Pack, tensors: &[&Tensor<'_>]) -> Result<Stored> {
    Ok(pack(&arrive(tensors).await?))
}

/// The numbers of a vector, once it has arrived; none of none.
impl Memory {
    /// Takes the first `len` tokens of another layer of this shape.
    fn copy_from(&mut self, other: &Self, len: usize, top_k: usize) {
        self.cache.copy_from(&other.cache, len);
        let choices = (len * top_k).min(self.history.len());
        self.history[..choices].copy_from_slice(&other.history[..choices]);
    }
}

impl Packed {
    /// Packs each matrix as soon as it has arrived and those before it are packed, in the order of most files.
    async fn arriving(architecture: &Architecture, weights: &Weights<'_>, pack: Pack) -> Result<Self> {
        let lm_head = match &weights.lm_head {
            Some(lm_head) => Some(packed(pack, &[lm_head]).await?),
            None => None,
        };
        let embed = weights.embed.arrive().await?;
        let unusable = embed.rows_not_finite();
        let embed = pack(&[embed]);
        let mut tables = RopeTables::new(architecture.context);
        let mut layers: Vec<_> = weights.layers.iter().map(|_| None).collect();
        for n in weights.order() {
            let angles = tables.of(&architecture.layers[n].attention, |table| Ok(Arc::new(table)))?;
            layers[n] = Some(Layer::arriving(&weights.layers[n], angles, pack).await?);
        }
        let layers = layers.into_iter().flatten().collect();
        Ok(Self { embed, unusable, layers, norm: values(Some(&weights.norm)).await?, lm_head })
    }

    /// The norm before layer `n`, and after the last one.
    fn norm_before(&self, n: usize) -> &[f32] {
        self.layers.get(n).map_or(&self.norm, |layer| &layer.attention_norm)
    }

    /// The output projection, tied or not.
    fn head(&self) -> &Stored {
        self.lm_head.as_ref().unwrap_or(&self.embed)
    }
}

impl Activations {
    fn new(architecture: &Architecture) -> Self {
        let most = |f: fn(&LayerShape) -> usize| architecture.layers.iter().map(f).max().unwrap_or(0);
        let floats = |n: usize| vec![0.0f32; CHUNK * n];
        let ids = |n: usize| vec![0u32; CHUNK * n];
        let choices = most(|l| l.moe.choices());
        Self {
            x: floats(architecture.hidden),
            normed: floats(architecture.hidden),
            qkv: floats(most(|l| l.attention.qkv_rows())),
            q: floats(most(|l| l.attention.query_width())),
            attended: floats(most(|l| l.attention.query_width())),
            scores: vec![0.0; scratch(architecture.context)],
            router_logits: floats(most(|l| l.moe.router_rows())),
            selected: ids(choices),
            route_weights: floats(choices),
            dropped: vec![false; CHUNK * choices],
            assignments: ids(choices),
            offsets: vec![0; most(|l| l.moe.all_experts()) + 1],
            hidden: floats(most(|l| l.moe.choices() * l.moe.intermediate)),
            y: floats(choices * architecture.hidden),
            choice: Room::default(),
            experts: expert_ffn::Scratch::default(),
        }
    }
}
