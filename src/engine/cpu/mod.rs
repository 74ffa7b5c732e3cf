//! The CPU engine: f32, SIMD, one thread; a step allocates only what it returns.

pub mod ablation;
pub mod look;
mod pack;
pub mod pool;
pub mod sets;

use super::gate_vectors::{self, values};
use super::needs::{BLOCK, CHUNK, Needs, numbers_of_position};
use super::rewind::{KEPT, Rewind};
use super::rope::RopeTables;
use super::step::{LogitsOf, Step, is_limited, needs_settling, record, with_room};
use crate::error::{Error, Result};
use crate::kernels::attention::{KvCache, attention, scratch};
use crate::kernels::choose::{GateVectors, Room};
use crate::kernels::combine::combine;
use crate::kernels::convolve::convolve;
use crate::kernels::convolve_silu::convolve_silu;
use crate::kernels::copy_heads::copy_heads;
use crate::kernels::dispatch::dispatch;
use crate::kernels::embed::embed;
use crate::kernels::expert_ffn::{self, Expert, Place};
use crate::kernels::gate::{Batch, gate};
use crate::kernels::gate_rows::gate_rows;
use crate::kernels::head_linear::head_linear;
use crate::kernels::layer_norm::layer_norm;
use crate::kernels::linear::linear_with;
use crate::kernels::lm_head::lm_head;
use crate::kernels::norm_rows::norm_rows;
use crate::kernels::post_norm::{hold, release};
use crate::kernels::qkv::qkv;
use crate::kernels::rms_norm::rms_norm;
use crate::kernels::scan::scan;
use crate::kernels::settle::{CapacityState, settle};
use crate::kernels::shared_gate::shared_gate;
use crate::kernels::stored::Stored;
use crate::layer::{
    CacheSide, Combine, Copy, Ffn, GateRows, HeadProduct, NormOf, NormRows, Operation, Product, Program, Rows, Target,
    program,
};
use crate::model::files::at_once;
use crate::model::{LayerWeights, MatrixWeights, Model, NormWeights, Weights};
use crate::shape::{Architecture, LayerShape, MatrixName, Mixer, NONE, Settings, VectorName, own_settings};
use futures::FutureExt;
use futures::future::LocalBoxFuture;
pub use pack::Pack;
use pack::{all_values, expert_arriving, packed};
use pool::{ExpertPool, PoolFigures};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

/// A norm over the residual stream: its scale, and the bias of a LayerNorm.
struct Norm {
    scale: Vec<f32>,
    bias: Vec<f32>,
}

/// Weights of a layer, packed; named as in [`LayerWeights`].
struct Layer {
    mixer_norm: Norm,
    /// The mixer's matrices, each with its bias (one number per row, or none).
    matrices: Vec<(MatrixName, Stored, Vec<f32>)>,
    /// Those that each head has.
    by_head: Vec<(MatrixName, Vec<Stored>)>,
    vectors: Vec<(VectorName, Vec<f32>)>,
    moe_norm: Norm,
    /// The router: rows of the experts, then of the groups; none for a dense FFN.
    router: Option<Stored>,
    /// The gate's vectors.
    gate: GateVectors,
    experts: Vec<Expert>,
    /// The shared expert of its own width, or none.
    shared: Vec<Expert>,
    shared_gate: Vec<f32>,
    angles: Arc<Vec<[f32; 2]>>,
}

/// Weights of a model, packed.
struct Packed {
    embed: Stored,
    /// Tokens whose embeddings are not finite.
    unusable: Vec<u32>,
    layers: Vec<Layer>,
    norm: Norm,
    lm_head: Option<Stored>,
    head_bias: Vec<f32>,
}

/// The state that a layer keeps of the text.
struct Memory {
    /// Routed experts of the text's tokens, `[context, k]`, where an expert's tokens are limited.
    history: Vec<u32>,
    cache: KvCache,
    /// Products of a convolution, `[positions, D]`.
    inputs: Vec<f32>,
    /// Numbers of a row of `inputs`.
    width: usize,
    /// The states of a state-space mixer, and the last inputs of its convolution.
    state: [Vec<f32>; 2],
    /// Earlier ones.
    kept: [[Vec<f32>; 2]; KEPT],
}

/// Activations of the tokens of a step, `[CHUNK, ...]` each.
struct Activations {
    x: Vec<f32>,
    /// One buffer for each kind of [`Rows`], in its order.
    rows: [Vec<f32>; Rows::COUNT],
    q: Vec<f32>,
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
    /// The weight of the shared expert, and its index (all zeros).
    shared_weights: Vec<f32>,
    shared_selected: Vec<u32>,
    experts: expert_ffn::Scratch,
    /// A head's part of rows, and its product.
    of_head: Vec<f32>,
}

/// A point within a layer, after which activations can be inspected.
enum Stage {
    /// Attention has been added to x.
    Attended,
    /// The experts' outputs have been added to x; so many per token.
    Mixed(usize),
}

/// The CPU engine.
pub struct CpuEngine {
    /// The model's architecture, but with as many choices as the settings need.
    architecture: Architecture,
    settings: Settings,
    /// One for each layer.
    programs: Arc<[Program]>,
    weights: Arc<Packed>,
    /// The experts, where they are read on demand.
    pool: Option<Rc<RefCell<ExpertPool>>>,
    memory: Vec<Memory>,
    activations: Activations,
    len: usize,
    /// Which text the layers' states are of.
    rewind: Rewind,
}

impl CpuEngine {
    /// Packs the weights of a completely loaded model: a small model's widened to f32, others as they are stored.
    pub fn new(model: &Model) -> Result<Self> {
        at_once(Self::arriving(model, None))
    }

    /// Packs the weights of a completely loaded model with `pack`; the router's few weights are widened to f32.
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
                    let needs = Needs::of(model)?;
                    check_room(needs.on_cpu(1.0))?;
                    if needs.is_small() { Stored::wide } else { Stored::as_is }
                }
            };
            let packed = Packed::arriving(architecture, &weights, pack, None).await?;
            Ok(Self::with(architecture.clone(), Arc::new(packed), None, own_settings(architecture)))
        };
        making.boxed_local()
    }

    /// As [`Self::arriving`], with the share `resident` of each layer's experts in memory.
    pub fn on_demand(model: &Model, resident: f64) -> LocalBoxFuture<'_, Result<Self>> {
        let making = async move {
            let (architecture, weights) = (&model.architecture, model.weights()?);
            if architecture.is_recurrent() {
                return Err(Error::Input(
                    "experts are read on demand only in models without state-space layers; open this one whole, or its \
                     first layers"
                        .into(),
                ));
            }
            let needs = Needs::of(model)?;
            check_room(needs.on_cpu(resident))?;
            let pack: Pack = if needs.is_small() { Stored::wide } else { Stored::as_is };
            let mut pool = ExpertPool::new(pack);
            let packed = Packed::arriving(architecture, &weights, pack, Some((&mut pool, resident))).await?;
            let pool = Some(Rc::new(RefCell::new(pool)));
            Ok(Self::with(architecture.clone(), Arc::new(packed), pool, own_settings(architecture)))
        };
        making.boxed_local()
    }

    /// What has been asked of the pool of experts, where they are read on demand.
    pub fn pool(&self) -> Option<PoolFigures> {
        self.pool.as_ref().map(|pool| pool.borrow().figures())
    }

    /// Another engine with the same weights, an empty cache, and gates that use `settings`.
    pub fn fork(&self, settings: Settings) -> Self {
        Self::with(self.architecture.clone(), self.weights.clone(), self.pool.clone(), settings)
    }

    fn with(
        architecture: Architecture,
        weights: Arc<Packed>,
        pool: Option<Rc<RefCell<ExpertPool>>>,
        settings: Settings,
    ) -> Self {
        let architecture = with_room(&architecture, &settings);
        let memory = |(layer, settings): (&LayerShape, &Vec<_>)| {
            let (width, (states, tail)) = match &layer.mixer {
                Mixer::Attention(_) => (0, (0, 0)),
                Mixer::Convolution(_) => (architecture.hidden, (0, 0)),
                Mixer::StateSpace(shape) => (0, shape.kept()),
            };
            let state = || [vec![0.0; states], vec![0.0; tail]];
            let history = if is_limited(settings) { architecture.context * layer.moe.top_k } else { 0 };
            Memory {
                history: vec![NONE; history],
                cache: layer.attention().map_or_else(KvCache::none, |shape| KvCache::new(0, shape)),
                inputs: Vec::new(),
                width,
                state: state(),
                kept: std::array::from_fn(|_| state()),
            }
        };
        Self {
            programs: (0..architecture.layers.len()).map(|n| program(&architecture, n)).collect(),
            memory: architecture.layers.iter().zip(&settings).map(memory).collect(),
            activations: Activations::new(&architecture),
            architecture,
            settings,
            weights,
            pool,
            len: 0,
            rewind: Rewind::default(),
        }
    }

    /// Returns an error for tokens whose embeddings are not finite.
    pub fn check_rows(&self, ids: &[u32]) -> Result<()> {
        match ids.iter().find(|id| self.weights.unusable.contains(id)) {
            None => Ok(()),
            Some(id) => Err(Error::Input(format!(
                "token {id} cannot be used: its row of model.embed_tokens.weight is not finite (NaN or infinite)"
            ))),
        }
    }

    /// Returns an error where there is no memory for what the layers keep of `tokens` more tokens. Without this check,
    /// the process would be aborted.
    pub fn check_memory(&self, tokens: usize) -> Result<()> {
        let before = self.len.next_multiple_of(BLOCK);
        if self.len + tokens <= before {
            return Ok(());
        }
        let of_position = |layer| numbers_of_position(&self.architecture, layer) as u64;
        let numbers: u64 = self.architecture.layers.iter().map(of_position).sum();
        let positions = ((self.len + tokens).next_multiple_of(BLOCK) - before) as u64;
        let bytes = numbers * positions * size_of::<f32>() as u64;
        if has_room(bytes) {
            return Ok(());
        }
        let megabytes = bytes >> 20;
        let why = format!("there is no memory for so long a text ({megabytes} MB more are needed); shorten it");
        Err(Error::Input(why))
    }

    /// See [`super::Engine::step`], which also checks `ids`.
    pub fn step(&mut self, ids: &[u32], logits: LogitsOf) -> Step {
        let step = self.run(ids, |_, _, _| {});
        self.with_logits(step, ids.len(), logits)
    }

    /// Adds the logits that are `wanted` of the `tokens` tokens that just ran.
    fn with_logits(&mut self, mut step: Step, tokens: usize, wanted: LogitsOf) -> Step {
        let from = wanted.from(tokens);
        if from < tokens {
            step.logits.resize((tokens - from) * self.architecture.vocabulary, 0.0);
            self.logits(tokens, from, &mut step.logits);
        }
        step
    }

    /// As [`Self::step`], of an engine whose experts are read on demand: a layer waits for those that its router chose.
    ///
    /// # Errors
    /// The model's files cannot be read any more. The text so far stays.
    pub async fn step_on_demand(&mut self, ids: &[u32], logits: LogitsOf) -> Result<Step> {
        let tokens = ids.len();
        let mut step = Step::new(&self.architecture, &self.settings);
        self.begin(ids);
        for n in 0..self.memory.len() {
            self.attend(n, tokens);
            self.mix_on_demand(n, ids).await?;
            self.record(n, tokens, &mut step);
        }
        self.len += tokens;
        Ok(self.with_logits(step, tokens, logits))
    }

    /// Logits of the tokens `from..tokens` of the step, `[tokens - from, V]`.
    fn logits(&self, tokens: usize, from: usize, logits: &mut [f32]) {
        let normed = &self.activations.rows[Rows::Normed as usize][..tokens * self.architecture.hidden];
        let (weights, scale) = (&self.weights, self.architecture.logit_scale);
        lm_head(from, normed, weights.head(), &weights.head_bias, scale, logits);
    }

    /// Runs `ids` through all layers and returns their routing. Calls `seen` with the activations on the way.
    fn run(&mut self, ids: &[u32], mut seen: impl FnMut(usize, Stage, &Activations)) -> Step {
        let tokens = ids.len();
        self.go_back();
        if self.architecture.is_recurrent()
            && let Some(slot) = self.rewind.keep(self.len)
        {
            self.memory.iter_mut().for_each(|memory| memory.kept[slot].clone_from(&memory.state));
        }
        let mut step = Step::new(&self.architecture, &self.settings);
        self.begin(ids);
        for n in 0..self.memory.len() {
            self.attend(n, tokens);
            seen(n, Stage::Attended, &self.activations);
            self.mix(n, ids);
            seen(n, Stage::Mixed(self.architecture.layers[n].moe.choices()), &self.activations);
            self.record(n, tokens, &mut step);
        }
        if self.architecture.is_recurrent() {
            self.rewind.ran(self.len, ids);
        }
        self.len += tokens;
        step
    }

    /// Makes the layers' states those of the text so far, where it was cut.
    fn go_back(&mut self) {
        if !self.architecture.is_recurrent() {
            return;
        }
        let Some((slot, from, ids)) = self.rewind.back(self.len) else { return };
        if let Some(slot) = slot {
            self.memory.iter_mut().for_each(|memory| memory.state.clone_from(&memory.kept[slot]));
        }
        self.len = from;
        ids.chunks(CHUNK).for_each(|ids| drop(self.run(ids, |_, _, _| {})));
    }

    /// The embeddings of `ids`, normed for the first layer.
    fn begin(&mut self, ids: &[u32]) {
        let (tokens, a) = (ids.len(), &self.architecture);
        embed(ids, &self.weights.embed, a.embedding_scale, &mut self.activations.x[..tokens * a.hidden]);
        self.norm(0, tokens);
    }

    /// Adds what the router of layer `n` decided to `step`, if the layer has one.
    fn record(&self, n: usize, tokens: usize, step: &mut Step) {
        let (moe, a) = (&self.architecture.layers[n].moe, &self.activations);
        if let Some(trace) = step.layers.iter_mut().find(|trace| trace.layer == n) {
            let (logits, assigned) = (&a.router_logits[..tokens * moe.router_rows()], tokens * moe.choices());
            let dropped = if is_limited(&self.settings[n]) { &a.dropped[..assigned] } else { &[] };
            record(moe, logits, &a.selected[..assigned], &a.route_weights[..assigned], dropped, trace);
        }
    }

    /// Norms the first `tokens` rows of x for the mixer of layer `n`, or for the output after the last one.
    fn norm(&mut self, n: usize, tokens: usize) {
        let (numbers, a) = (tokens * self.architecture.hidden, &mut self.activations);
        let normed = &mut a.rows[Rows::Normed as usize][..numbers];
        self.weights.norm_before(n).run(&a.x[..numbers], normed, self.architecture.norm_eps);
    }

    /// `x += mixer(normed)` in layer `n`, for the `tokens` tokens after those in the cache.
    fn attend(&mut self, n: usize, tokens: usize) {
        self.memory[n].grow(self.len + tokens, self.architecture.context);
        let programs = self.programs.clone();
        programs[n].mixer.iter().for_each(|operation| self.operate(operation, n, tokens, &[]));
    }

    /// `x += experts(norm(x))` in layer `n`, then the norm for the next layer or the output.
    fn mix(&mut self, n: usize, ids: &[u32]) {
        let programs = self.programs.clone();
        if programs[n].experts.iter().all(|operation| *operation != Operation::Route) {
            // A dense FFN: its one expert reads every token.
            let assigned = ids.len() * self.architecture.layers[n].moe.choices();
            self.activations.selected[..assigned].fill(0);
            self.activations.route_weights[..assigned].fill(1.0);
        }
        programs[n].experts.iter().for_each(|operation| self.operate(operation, n, ids.len(), ids));
    }

    /// As [`Self::mix`], where the experts of layer `n` may have to be read.
    async fn mix_on_demand(&mut self, n: usize, ids: &[u32]) -> Result<()> {
        let pool = self.pool.clone().filter(|pool| pool.borrow().has(n));
        let Some(pool) = pool else {
            self.mix(n, ids);
            return Ok(());
        };
        let programs = self.programs.clone();
        for operation in &programs[n].experts {
            match operation {
                Operation::Up(Ffn::Routed) => self.experts_on_demand(&pool, n, ids.len()).await?,
                // It is a part of the operation before.
                Operation::Down(Ffn::Routed) => {}
                operation => self.operate(operation, n, ids.len(), ids),
            }
        }
        Ok(())
    }

    /// Computes the experts that were chosen in layer `n`, in as many rounds as their slots make necessary.
    async fn experts_on_demand(&mut self, pool: &RefCell<ExpertPool>, n: usize, tokens: usize) -> Result<()> {
        let count = self.architecture.layers[n].moe.all_experts();
        let groups = self.activations.offsets[..=count].windows(2).zip(0u32..);
        let wanted: Vec<u32> = groups.filter(|(group, _)| group[0] < group[1]).map(|(_, expert)| expert).collect();
        let rounds = pool.borrow_mut().rounds(n, &wanted);
        for round in rounds {
            let experts = ExpertPool::bring(pool, n, &round).await?;
            self.activations.up(Ffn::Routed, &self.architecture, &experts, n, tokens);
            self.activations.down(Ffn::Routed, &self.architecture, &experts, n, tokens);
        }
        Ok(())
    }

    /// Runs one operation of layer `n` for `tokens` tokens; only routing uses their `ids`.
    fn operate(&mut self, operation: &Operation, n: usize, tokens: usize, ids: &[u32]) {
        let (architecture, layer, a) = (&self.architecture, &self.weights.layers[n], &mut self.activations);
        let (width, eps) = (architecture.hidden, architecture.norm_eps);
        match operation {
            Operation::Norm(of) => {
                let norm = match of {
                    NormOf::Experts => &layer.moe_norm,
                    NormOf::Next => self.weights.norm_before(n + 1),
                };
                let normed = &mut a.rows[Rows::Normed as usize][..tokens * width];
                norm.run(&a.x[..tokens * width], normed, eps);
            }
            Operation::Product(product) => a.multiply(product, layer, tokens),
            Operation::HeadProduct(product) => {
                let &HeadProduct { matrix, from, row, stride, to, heads, outputs, .. } = product;
                let mut rows = std::mem::take(&mut a.rows[to as usize]);
                let (x, y) = (&a.rows[from as usize][..tokens * row], &mut rows[..tokens * heads * outputs]);
                head_linear(x, layer.by_head(matrix), y, row, stride, &mut a.of_head);
                a.rows[to as usize] = rows;
            }
            Operation::NormRows(norm) => {
                let NormRows { rows, row, offset, count, scale, eps, .. } = *norm;
                norm_rows(&mut a.rows[rows as usize][..tokens * row], layer.vector(scale), row, offset, count, eps);
            }
            Operation::Copy(copy) => a.copy(copy, self.len, layer, &mut self.memory[n].cache, tokens),
            Operation::Qkv => {
                let Some(shape) = architecture.layers[n].attention() else { return };
                let (weights, bias) = layer.matrix(MatrixName::Qkv);
                let [normed, projected, ..] = &mut a.rows;
                let (normed, scratch) = (&normed[..tokens * width], &mut projected[..tokens * shape.qkv_rows()]);
                let q = &mut a.q[..tokens * shape.query_width()];
                qkv(self.len, shape, normed, weights, bias, &layer.angles, q, &mut self.memory[n].cache, scratch);
            }
            Operation::Attend => {
                let Some(shape) = architecture.layers[n].attention() else { return };
                let out = &mut a.rows[Rows::Mixed as usize][..tokens * shape.output_width()];
                let (q, sinks) = (&a.q[..tokens * shape.query_width()], layer.vector(VectorName::Sinks));
                attention(self.len, shape, q, &self.memory[n].cache, sinks, out, &mut a.scores);
            }
            Operation::GateRows(GateRows { from, row, width, silu }) => {
                let [rest @ .., mixed] = &mut a.rows;
                let gates = &rest[*from as usize][..tokens * row];
                gate_rows(gates, &mut mixed[..tokens * width], *row, *width, *silu);
            }
            Operation::ConvolveSilu | Operation::Scan => {
                let Mixer::StateSpace(shape) = &architecture.layers[n].mixer else { return };
                let [_, projected, .., convolved, mixed] = &mut a.rows;
                let (row, channels, inner) = (shape.rows(), shape.channels(), shape.inner());
                let (projected, convolved) = (&projected[..tokens * row], &mut convolved[..tokens * channels]);
                let ([state, tail], vector) = (&mut self.memory[n].state, |name| layer.vector(name));
                if *operation == Operation::Scan {
                    let [bias, decay, skip] = [VectorName::StepBias, VectorName::Decay, VectorName::Skip].map(vector);
                    let y = &mut mixed[..tokens * inner];
                    return scan(self.len, shape, convolved, projected, bias, decay, skip, state, y);
                }
                let (kernel, bias) = (vector(VectorName::Kernel), vector(VectorName::KernelBias));
                let (start, positions) = (self.len, shape.positions);
                convolve_silu(start, positions, projected, row, inner, kernel, bias, tail, convolved);
            }
            Operation::Hold => {
                let numbers = tokens * width;
                hold(&mut a.x[..numbers], &mut a.rows[Rows::Held as usize][..numbers]);
            }
            Operation::Release(scale) => {
                let numbers = tokens * width;
                let held = &a.rows[Rows::Held as usize][..numbers];
                release(layer.vector(*scale), &mut a.x[..numbers], held, eps);
            }
            Operation::Convolve => {
                let [_, projected, .., mixed] = &mut a.rows;
                let (kernel, bias) = (layer.vector(VectorName::Kernel), layer.vector(VectorName::KernelBias));
                let (parts, y) = (&projected[..3 * tokens * width], &mut mixed[..tokens * width]);
                convolve(self.len, kernel.len() / width, parts, kernel, bias, &mut self.memory[n].inputs, y);
            }
            Operation::Route => self.route(n, ids),
            Operation::WeighShared => {
                let normed = &a.rows[Rows::Normed as usize][..tokens * width];
                shared_gate(normed, &layer.shared_gate, &mut a.shared_weights[..tokens]);
            }
            Operation::Group(of) => a.group(*of, architecture, n, tokens),
            Operation::Up(of) => a.up(*of, architecture, layer.experts(*of), n, tokens),
            Operation::Down(of) => a.down(*of, architecture, layer.experts(*of), n, tokens),
            Operation::Combine(combine) => {
                let norm = combine.norm.then(|| self.weights.norm_before(n + 1).scale.as_slice());
                a.combine(combine, architecture, n, tokens, norm);
            }
        }
    }

    /// Computes the router logits of layer `n` and chooses experts by them.
    fn route(&mut self, n: usize, ids: &[u32]) {
        let (architecture, layer, a) = (&self.architecture, &self.weights.layers[n], &mut self.activations);
        let (shape, tokens) = (&architecture.layers[n].moe, ids.len());
        let Some(router) = &layer.router else { return };
        let assigned = tokens * shape.choices();
        let normed = &a.rows[Rows::Normed as usize][..tokens * architecture.hidden];
        let (selected, route_weights) = (&mut a.selected[..assigned], &mut a.route_weights[..assigned]);
        let batch = Batch { layer: n, start: self.len, ids };
        let (settings, vectors, room) = (&self.settings[n], &layer.gate, &mut a.choice);
        let router_logits = &mut a.router_logits[..tokens * shape.router_rows()];
        gate(batch, shape, settings, normed, router, vectors, room, router_logits, selected, route_weights);
        if needs_settling(settings) {
            let taken = CapacityState { history: &mut self.memory[n].history, dropped: &mut a.dropped[..assigned] };
            settle(batch, shape, settings, router_logits, vectors, room, taken, selected, route_weights);
        }
    }

    /// Sets the gates' settings and empties the cache. Buffers are kept where they are large enough.
    pub fn set_settings(&mut self, settings: Settings) {
        let choices = |architecture: &Architecture| -> Vec<usize> {
            architecture.layers.iter().map(|layer| layer.moe.top_k).collect()
        };
        let limited = |settings: &Settings| -> Vec<bool> { settings.iter().map(|s| is_limited(s)).collect() };
        let same_room = choices(&with_room(&self.architecture, &settings)) == choices(&self.architecture)
            && limited(&settings) == limited(&self.settings);
        if same_room {
            // A layer's state needs no clearing: only what was written for the current text is read.
            (self.settings, self.len) = (settings, 0);
        } else {
            *self = self.fork(settings);
        }
    }

    /// The settings of its gates.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether its weights are rounded to 8 bits.
    pub fn is_rounded(&self) -> bool {
        matches!(self.weights.embed, Stored::Int8(_))
    }

    /// The number of tokens in the cache.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the cache holds no token.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Keeps the first `len` tokens of the cache.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// The most tokens of a step.
    pub fn chunk(&self) -> usize {
        CHUNK
    }

    /// The architecture that it computes.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }
}

impl Norm {
    async fn arriving(weights: &NormWeights<'_>) -> Result<Self> {
        let NormWeights { scale, bias } = weights;
        Ok(Self { scale: values(Some(scale)).await?, bias: values(bias.as_ref()).await? })
    }

    fn run(&self, x: &[f32], y: &mut [f32], eps: f32) {
        if self.bias.is_empty() {
            rms_norm(x, &self.scale, y, eps);
        } else {
            layer_norm(x, &self.scale, &self.bias, y, eps);
        }
    }
}

impl Layer {
    /// With `pooled`, its experts are in a pool, and none are here.
    async fn arriving(
        weights: &LayerWeights<'_>,
        angles: Arc<Vec<[f32; 2]>>,
        pack: Pack,
        pooled: bool,
    ) -> Result<Self> {
        let LayerWeights { mixer_norm, matrices, vectors, moe_norm, ffn } = weights;
        let mut experts = Vec::new();
        for expert in ffn.experts.iter().filter(|_| !pooled) {
            experts.push(expert_arriving(expert, pack).await?);
        }
        let mut shared = Vec::new();
        if let Some(expert) = &ffn.shared {
            shared.push(expert_arriving(expert, pack).await?);
        }
        // In the order of a file's names, so that few tensors wait in memory for others that arrive later.
        let shared_gate = values(ffn.shared_gate.as_ref()).await?;
        let routers = ffn.routers();
        let router = if routers.is_empty() { None } else { Some(packed(Stored::wide, &routers).await?) };
        let gate = gate_vectors::arriving(ffn).await?;
        let mixer_norm = Norm::arriving(mixer_norm).await?;
        let moe_norm = Norm::arriving(moe_norm).await?;
        let (mut packed_matrices, mut by_head) = (Vec::new(), Vec::new());
        for MatrixWeights { name, tensors, bias } in matrices {
            if name.is_by_head() {
                let mut heads = Vec::new();
                for tensor in tensors {
                    heads.push(packed(pack, &[tensor]).await?);
                }
                by_head.push((*name, heads));
                continue;
            }
            let weights = packed(pack, &tensors.iter().collect::<Vec<_>>()).await?;
            packed_matrices.push((*name, weights, all_values(bias).await?));
        }
        let mut named_vectors = Vec::new();
        for (name, vector) in vectors {
            named_vectors.push((*name, values(Some(vector)).await?));
        }
        Ok(Self {
            experts,
            shared,
            shared_gate,
            router,
            gate,
            mixer_norm,
            moe_norm,
            matrices: packed_matrices,
            by_head,
            vectors: named_vectors,
            angles,
        })
    }

    /// A matrix that an operation of the layer uses, and its bias.
    fn matrix(&self, name: MatrixName) -> (&Stored, &[f32]) {
        let found = self.matrices.iter().find(|(of, ..)| *of == name);
        found.map(|(_, weights, bias)| (weights, bias.as_slice())).expect("a layer has what its operations ask for")
    }

    /// The matrices of all heads.
    fn by_head(&self, name: MatrixName) -> &[Stored] {
        self.by_head.iter().find(|(of, _)| *of == name).map_or(&[], |(_, heads)| heads)
    }

    /// A vector; empty where the layer has none.
    fn vector(&self, name: VectorName) -> &[f32] {
        self.vectors.iter().find(|(of, _)| *of == name).map_or(&[], |(_, vector)| vector)
    }
}

/// Whether so much memory can be had.
fn has_room(bytes: u64) -> bool {
    let mut room: Vec<u8> = Vec::new();
    let reserved = usize::try_from(bytes).is_ok_and(|bytes| room.try_reserve_exact(bytes).is_ok());
    // Without `black_box` the compiler removes an allocation that is never used.
    std::hint::black_box(&room);
    reserved
}

/// Returns an error if the weights do not fit into memory. Without this check, packing them would abort the process.
fn check_room(bytes: u64) -> Result<()> {
    if has_room(bytes) {
        return Ok(());
    }
    let why = format!(
        "need {} MB of memory, more than there is; take a smaller model, have them rounded to 8 bits, open the first \
         layers only, or keep a part of the experts in memory",
        bytes >> 20
    );
    Err(Error::model("the model's weights", why))
}

impl Memory {
    /// Makes room for `positions` positions, in blocks.
    fn grow(&mut self, positions: usize, context: usize) {
        let positions = positions.next_multiple_of(BLOCK).min(context);
        self.cache.grow(positions);
        let numbers = positions * self.width;
        if self.inputs.len() < numbers {
            self.inputs.reserve_exact(numbers - self.inputs.len());
            self.inputs.resize(numbers, 0.0);
        }
    }

    /// Copies the first `len` tokens of another layer of this shape.
    fn copy_from(&mut self, other: &Self, len: usize, top_k: usize) {
        self.cache.copy_from(&other.cache, len);
        let choices = (len * top_k).min(self.history.len());
        self.history[..choices].copy_from_slice(&other.history[..choices]);
        let inputs = self.width * len;
        self.inputs.resize(inputs.max(self.inputs.len()), 0.0);
        self.inputs[..inputs].copy_from_slice(&other.inputs[..inputs]);
    }
}

impl Packed {
    /// Packs each matrix as soon as it has arrived and those before it are packed, in the order of most files.
    /// With a pool and the share of the experts in memory, experts that a router chooses from go into the pool.
    async fn arriving(
        architecture: &Architecture,
        weights: &Weights<'_>,
        pack: Pack,
        mut pool: Option<(&mut ExpertPool, f64)>,
    ) -> Result<Self> {
        let mut pooled = vec![false; weights.layers.len()];
        if let Some((pool, resident)) = &mut pool {
            for (n, layer) in weights.layers.iter().enumerate() {
                pooled[n] = pool.add(layer, &architecture.layers[n].moe, *resident).await?;
            }
        }
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
            let rope = architecture.layers[n].attention().and_then(|shape| shape.rope.as_ref());
            let angles = tables.of(rope, |table| Ok(Arc::new(table)))?;
            layers[n] = Some(Layer::arriving(&weights.layers[n], angles, pack, pooled[n]).await?);
        }
        let layers = layers.into_iter().flatten().collect();
        let norm = Norm::arriving(&weights.norm).await?;
        Ok(Self { embed, unusable, layers, norm, lm_head, head_bias: values(weights.head_bias.as_ref()).await? })
    }

    /// The norm before layer `n`, and after the last one.
    fn norm_before(&self, n: usize) -> &Norm {
        self.layers.get(n).map_or(&self.norm, |layer| &layer.mixer_norm)
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
        let widths = crate::layer::widths(architecture);
        Self {
            x: floats(architecture.hidden),
            rows: widths.map(floats),
            q: floats(most(|l| l.attention().map_or(0, |s| s.query_width()))),
            scores: vec![0.0; scratch(architecture.context)],
            router_logits: floats(most(|l| l.moe.router_rows())),
            selected: ids(choices),
            route_weights: floats(choices),
            dropped: vec![false; CHUNK * choices],
            assignments: ids(choices.max(1)),
            offsets: vec![0; most(|l| l.moe.all_experts()) + 1],
            hidden: floats(most(|l| {
                let shared = l.moe.shared_ffn.map_or(0, |shared| shared.intermediate);
                shared.max(l.moe.choices() * l.moe.intermediate)
            })),
            y: floats(choices * architecture.hidden),
            choice: Room::default(),
            shared_weights: vec![1.0; CHUNK],
            shared_selected: ids(1),
            experts: expert_ffn::Scratch::default(),
            of_head: Vec::new(),
        }
    }

    /// Multiplies rows by a matrix of the layer.
    fn multiply(&mut self, product: &Product, layer: &Layer, tokens: usize) {
        let (weights, bias) = layer.matrix(product.matrix);
        match product.to {
            Target::Residual(scale) => {
                let from = &self.rows[product.from as usize][..tokens * product.inputs];
                linear_with(from, weights, bias, Some(scale), &mut self.x[..tokens * product.outputs]);
            }
            Target::Rows(to) => {
                let mut rows = std::mem::take(&mut self.rows[to as usize]);
                let from = &self.rows[product.from as usize][..tokens * product.inputs];
                linear_with(from, weights, bias, None, &mut rows[..tokens * product.outputs]);
                self.rows[to as usize] = rows;
            }
        }
    }

    /// Copies heads to the queries or into the cache of the text so far, `start` tokens.
    fn copy(&mut self, copy: &Copy, start: usize, layer: &Layer, cache: &mut KvCache, tokens: usize) {
        let Copy { from, heads, to, at, to_dim } = copy;
        let (x, angles) = (&self.rows[*from as usize][..tokens * heads.row], &layer.angles);
        match to {
            CacheSide::Queries => copy_heads(start, heads, x, angles, |t, head, i, x| {
                self.q[(t * heads.count + head) * to_dim + at + i] = x;
            }),
            CacheSide::Keys => copy_heads(start, heads, x, angles, |t, head, i, x| {
                cache.set_key(head, start + t, at + i, x);
            }),
            CacheSide::Values => copy_heads(start, heads, x, angles, |t, head, i, x| {
                cache.set_value_at(head, start + t, at + i, x);
            }),
            CacheSide::Rows(to) => {
                let mut rows = std::mem::take(&mut self.rows[*to as usize]);
                let x = &self.rows[*from as usize][..tokens * heads.row];
                copy_heads(start, heads, x, angles, |t, head, i, x| {
                    rows[(t * heads.count + head) * to_dim + at + i] = x;
                });
                self.rows[*to as usize] = rows;
            }
        }
    }

    /// Returns the number of choices per token, the number of experts, and their inner width.
    fn choices(of: Ffn, architecture: &Architecture, n: usize) -> (usize, usize, usize) {
        let moe = &architecture.layers[n].moe;
        match of {
            Ffn::Routed => (moe.choices(), moe.all_experts(), moe.intermediate),
            Ffn::Shared => (1, 1, moe.shared_ffn.map_or(0, |shared| shared.intermediate)),
        }
    }

    fn group(&mut self, of: Ffn, architecture: &Architecture, n: usize, tokens: usize) {
        let (choices, experts, _) = Self::choices(of, architecture, n);
        let assigned = tokens * choices;
        let (selected, weights) = match of {
            Ffn::Routed => (&self.selected, &self.route_weights),
            Ffn::Shared => (&self.shared_selected, &self.shared_weights),
        };
        let (assignments, offsets) = (&mut self.assignments[..assigned], &mut self.offsets[..=experts]);
        dispatch(&selected[..assigned], &weights[..assigned], assignments, offsets);
    }

    fn up(&mut self, of: Ffn, architecture: &Architecture, placed: &[impl Place], n: usize, tokens: usize) {
        let (choices, experts, inner) = Self::choices(of, architecture, n);
        let assigned = tokens * choices;
        let normed = &self.rows[Rows::Normed as usize][..tokens * architecture.hidden];
        let (assignments, offsets) = (&self.assignments[..assigned], &self.offsets[..=experts]);
        let (hidden, activation) = (&mut self.hidden[..assigned * inner], architecture.layers[n].moe.activation);
        expert_ffn::up(normed, assignments, offsets, placed, activation, hidden, &mut self.experts);
    }

    fn down(&mut self, of: Ffn, architecture: &Architecture, placed: &[impl Place], n: usize, tokens: usize) {
        let (choices, experts, inner) = Self::choices(of, architecture, n);
        let assigned = tokens * choices;
        let (assignments, offsets) = (&self.assignments[..assigned], &self.offsets[..=experts]);
        let (hidden, y) = (&self.hidden[..assigned * inner], &mut self.y[..assigned * architecture.hidden]);
        expert_ffn::down(hidden, assignments, offsets, placed, y, &mut self.experts);
    }

    fn combine(&mut self, c: &Combine, architecture: &Architecture, n: usize, tokens: usize, norm: Option<&[f32]>) {
        let (choices, ..) = Self::choices(c.of, architecture, n);
        let (width, assigned) = (architecture.hidden, tokens * choices);
        let weights = match c.of {
            Ffn::Routed => &self.route_weights[..assigned],
            Ffn::Shared => &self.shared_weights[..assigned],
        };
        let (x, y) = (&mut self.x[..tokens * width], &self.y[..assigned * width]);
        let normed = &mut self.rows[Rows::Normed as usize][..tokens * width];
        combine(y, weights, c.scale, x, norm.map(|scale| (scale, architecture.norm_eps)), normed);
    }
}

impl Layer {
    fn experts(&self, of: Ffn) -> &[Expert] {
        match of {
            Ffn::Routed => &self.experts,
            Ffn::Shared => &self.shared,
        }
    }
}
