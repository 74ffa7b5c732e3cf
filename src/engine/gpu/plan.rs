//! The passes of a step, made once: which pipeline runs over which buffers, and how many workgroups.

use super::device::Gpu;
use super::limits::{AHEAD, TOKENS_WITH_LOGITS, most_tokens};
use super::pack::{groups, padded, panels};
use super::policy;
use super::profile::Clock;
use super::readback::ReadbackLayout;
use super::shader::kernel;
use super::tile::Tile;
use super::upload::{ExpertBuffers, GpuWeights, Matrices, Norm};
use crate::engine::rewind::KEPT;
use crate::engine::step::needs_settling;
use crate::error::Result;
use crate::layer::{
    CacheSide, Combine, Copy, Ffn, GateRows, HeadProduct, NormOf, NormRows, Operation, Product, Rows, Target, program,
    widths,
};
use crate::shape::{
    Activation, Architecture, Dtype, LayerShape, MatrixName, Mixer, MoeShape, Setting, Settings, VectorName,
};
use wgpu::{Buffer, BufferUsages};

const WORD: usize = 4;
/// Invocations of a workgroup in kernels that are not products.
const LANES: usize = 64;
/// Bytes of the indirect arguments of one dispatch.
const ARGUMENTS: u64 = 12;

/// Everything that a step needs.
pub struct Plan {
    /// The ids to run, with room for the longest step.
    pub ids: Buffer,
    /// The buffer from which a step's results are read: see `ReadbackLayout`.
    pub staging: Buffer,
    /// The same for steps of one token that are in flight together.
    pub flights: [Buffer; AHEAD],
    /// How a step draws the next token: temperature (f32), then the seed's halves.
    pub sampling: Buffer,
    one: Passes,
    many: Passes,
    /// Draws the next token and writes it to `ids`.
    sample: Pass,
    arguments: Buffer,
    routing: Vec<Routing>,
    caches: Vec<Cache>,
    logits: Buffer,
}

/// The dispatches of a step, for one token or for many.
struct Passes {
    /// From the ids to the normed residual stream after the last layer.
    layers: Vec<Pass>,
    /// The logits, for steps that return them.
    lm_head: Pass,
}

/// One dispatch of a kernel.
struct Pass {
    kernel: &'static str,
    pipeline: wgpu::ComputePipeline,
    bind_group: wgpu::BindGroup,
    grid: Grid,
}

/// How many workgroups a pass takes.
#[derive(Clone, Copy)]
enum Grid {
    /// One.
    Single,
    /// This many.
    Fixed(u32),
    /// One per token.
    Token,
    /// This many per token.
    Parts(u32),
    /// `heads` per tile of this many tokens.
    HeadToken(u32, usize),
    /// As many as give this many invocations per token.
    Invocations(usize),
    /// One for each tile of tokens and each of this many panels.
    Product(Tile, usize),
    /// One for each of this many panels and each of this many experts of one token.
    Choices(usize, usize),
    /// Read from the indirect arguments at this offset.
    Indirect(u64),
}

/// The buffers for the routing of a layer.
struct Routing {
    router_logits: Buffer,
    selected: Buffer,
    weights: Buffer,
    dropped: Buffer,
    /// Routed experts of the whole text, where an expert's tokens are limited.
    history: Buffer,
    /// The settings, where there is a policy.
    policy: Buffer,
}

/// Keys and values of a layer, `[context, kv_heads, head_dim]`; or what another mixer keeps in their place: a
/// convolution its inputs; a state-space mixer its states, and the last inputs of its convolution.
struct Cache {
    keys: Buffer,
    values: Buffer,
    /// Earlier states of a state-space mixer.
    kept: Vec<[Buffer; 2]>,
}

/// Buffers that all layers share, for the numbers of a step's tokens.
struct Scratch {
    x: Buffer,
    /// One buffer for each kind of [`Rows`], in its order.
    rows: [Buffer; Rows::COUNT],
    q: Buffer,
    assignments: Buffer,
    tiles: Buffer,
    arguments: Buffer,
    hidden: Buffer,
    y: Buffer,
    /// The index of the shared expert (all zeros), and its weight (1 where no gate computes one).
    shared_selected: Buffer,
    shared_weights: Buffer,
}

impl Plan {
    /// Makes every buffer, pipeline and bind group. `a` has room for as many choices as the settings make; with
    /// `policy` the settings may change later ([`Plan::set_settings`]).
    pub fn new(gpu: &Gpu, a: &Architecture, weights: &GpuWeights, settings: &Settings, policy: bool) -> Result<Self> {
        let tokens = most_tokens(a);
        let scratch = Scratch::new(gpu, a, tokens)?;
        let ids = gpu.zeros("ids", tokens * WORD)?;
        let logits = gpu.zeros("logits", TOKENS_WITH_LOGITS * a.vocabulary * WORD)?;
        let shapes = a.layers.iter().zip(settings);
        let routing: Vec<Routing> =
            shapes.map(|(layer, s)| Routing::new(gpu, a, &layer.moe, s, policy, tokens)).collect::<Result<_>>()?;
        let caches = a.layers.iter().map(|layer| Cache::new(gpu, a, layer)).collect::<Result<Vec<_>>>()?;
        let prefill = gpu.form.prefill();
        let sampling = gpu.zeros("sampling", 3 * WORD)?;
        let builder = |tile| {
            let buffers = Buffers { ids: &ids, scratch: &scratch, routing: &routing, caches: &caches, logits: &logits };
            PassBuilder { gpu, a, weights, settings, policy, tile, buffers, passes: Vec::new() }
        };
        let sample = builder(Tile::One).sample(&sampling);
        let [one, many] = [Tile::One, prefill].map(|tile| builder(tile).passes());
        let staging = |tokens, logits| {
            let bytes = ReadbackLayout::new(a, settings, tokens, logits, policy).drawing().bytes as usize;
            gpu.buffer("results", bytes, BufferUsages::MAP_READ | BufferUsages::COPY_DST)
        };
        let flights = (0..AHEAD).map(|_| staging(1, 1)).collect::<Result<Vec<_>>>()?;
        let flights = flights.try_into().expect("so many were made");
        let arguments = scratch.arguments.clone();
        let staging = staging(tokens, TOKENS_WITH_LOGITS)?;
        let plan = Self { ids, staging, flights, sampling, one, many, sample, arguments, routing, caches, logits };
        plan.set_settings(gpu, settings);
        Ok(plan)
    }

    /// Writes the gates' settings, where there is a policy.
    pub fn set_settings(&self, gpu: &Gpu, settings: &Settings) {
        for (n, (routing, settings)) in self.routing.iter().zip(settings).enumerate() {
            let words = policy::words(n, settings);
            let bytes: &[u8] = bytemuck::cast_slice(&words);
            if routing.policy.size() as usize >= bytes.len() {
                gpu.queue.write_buffer(&routing.policy, 0, bytes);
            }
        }
    }

    /// Keeps the layers' states in the place `slot`, or goes `back` to those that are there.
    pub fn keep_states(&self, gpu: &Gpu, slot: usize, back: bool) {
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        for Cache { keys, values, kept } in &self.caches {
            for (state, kept) in [keys, values].into_iter().zip(kept.get(slot).into_iter().flatten()) {
                let (from, to) = if back { (kept, state) } else { (state, kept) };
                encoder.copy_buffer_to_buffer(from, 0, to, 0, from.size());
            }
        }
        gpu.queue.submit([encoder.finish()]);
    }

    /// Dispatches of a step of so many tokens, the logits among them.
    pub fn dispatches(&self, tokens: usize) -> usize {
        self.passes(tokens).layers.len() + 1
    }

    fn passes(&self, tokens: usize) -> &Passes {
        if tokens == 1 { &self.one } else { &self.many }
    }

    /// The dispatches of a step: each with the tokens it is for.
    fn steps(&self, sections: &ReadbackLayout) -> impl Iterator<Item = (&Pass, usize)> {
        let passes = self.passes(sections.tokens);
        let head = (sections.logits > 0).then_some((&passes.lm_head, sections.logits));
        passes.layers.iter().map(|pass| (pass, sections.tokens)).chain(head)
    }

    /// The commands of a step without a readback, every dispatch a pass of its own; gives the kernels' names too.
    pub fn encode_timed(
        &self,
        gpu: &Gpu,
        sections: &ReadbackLayout,
        clock: &Clock,
    ) -> (wgpu::CommandBuffer, Vec<&'static str>) {
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        let mut names = Vec::new();
        for (n, (pass, tokens)) in self.steps(sections).enumerate() {
            pass.record(&mut clock.pass(&mut encoder, n), &self.arguments, tokens);
            names.push(pass.kernel);
        }
        clock.stop(&mut encoder);
        (encoder.finish(), names)
    }

    /// The commands of a step, whose results end in `staging`.
    pub fn encode(&self, gpu: &Gpu, sections: &ReadbackLayout, staging: &Buffer) -> wgpu::CommandBuffer {
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        let mut compute = encoder.begin_compute_pass(&Default::default());
        for (pass, tokens) in self.steps(sections) {
            pass.record(&mut compute, &self.arguments, tokens);
        }
        if sections.draws {
            self.sample.record(&mut compute, &self.arguments, 1);
        }
        drop(compute);
        let mut to = 0;
        let sources = self.routing.iter().flat_map(Routing::sections).chain([&self.logits, &self.ids]);
        for (from, &bytes) in sources.zip(&sections.sizes).filter(|(_, bytes)| **bytes > 0) {
            encoder.copy_buffer_to_buffer(from, 0, staging, to, bytes);
            to += bytes;
        }
        encoder.finish()
    }
}

impl Pass {
    fn record(&self, compute: &mut wgpu::ComputePass<'_>, arguments: &Buffer, tokens: usize) {
        compute.set_pipeline(&self.pipeline);
        compute.set_bind_group(0, &self.bind_group, &[]);
        match self.grid {
            Grid::Single => compute.dispatch_workgroups(1, 1, 1),
            Grid::Fixed(workgroups) => compute.dispatch_workgroups(workgroups, 1, 1),
            Grid::Token => compute.dispatch_workgroups(tokens as u32, 1, 1),
            Grid::Parts(parts) => compute.dispatch_workgroups(parts, tokens as u32, 1),
            Grid::HeadToken(heads, together) => compute.dispatch_workgroups(heads, tokens.div_ceil(together) as u32, 1),
            Grid::Invocations(each) => compute.dispatch_workgroups((each * tokens).div_ceil(LANES) as u32, 1, 1),
            Grid::Product(tile, panels) => {
                compute.dispatch_workgroups(tile.workgroups(panels), tokens.div_ceil(tile.tokens()) as u32, 1)
            }
            Grid::Choices(panels, choices) => {
                compute.dispatch_workgroups(Tile::One.workgroups(panels), choices as u32, 1)
            }
            Grid::Indirect(offset) => compute.dispatch_workgroups_indirect(arguments, offset),
        }
    }
}

/// The constants of `shaders/shared/choose.wgsl` for a layer of this shape: for its own gate, or for any policy.
pub fn choice_constants(shape: &MoeShape, policy: bool) -> Vec<(&'static str, f64)> {
    let own = Setting::own(shape, 1);
    let gate = own.gate;
    let (groups, per_token) = gate.group_limit.map_or((0, 0), |limit| (limit.groups, limit.per_token));
    vec![
        ("KIND", f64::from(policy::kind(gate.kind))),
        ("SCALE", f64::from(gate.scale)),
        ("RENORMALISE", f64::from(u32::from(gate.renormalise))),
        ("EPSILON", f64::from(gate.epsilon)),
        ("LEAST_SUM", f64::from(gate.least_sum)),
        ("JITTER", f64::from(gate.jitter)),
        ("GROUP_SCORE", f64::from(policy::group_score(gate.group_limit))),
        ("LIMIT_GROUPS", groups as f64),
        ("LIMIT_PER_TOKEN", per_token as f64),
        ("KEYS", (shape.experts + gate.groups.max(groups)) as f64),
        ("POLICY", f64::from(u32::from(policy))),
        ("EXPERT_GROUPS", gate.groups as f64),
        ("GROUPS_PER_TOKEN", gate.groups_per_token as f64),
        ("EXPERTS", shape.experts as f64),
        ("TOP_K", shape.top_k as f64),
        ("SHARED", shape.shared as f64),
        ("ROUTER_ROWS", shape.router_rows() as f64),
    ]
}

/// Makes the passes of a step of one form, in order.
struct PassBuilder<'a> {
    gpu: &'a Gpu,
    a: &'a Architecture,
    weights: &'a GpuWeights,
    settings: &'a Settings,
    policy: bool,
    tile: Tile,
    buffers: Buffers<'a>,
    passes: Vec<Pass>,
}

/// The buffers that the passes use, except the weights.
#[derive(Clone, Copy)]
struct Buffers<'a> {
    ids: &'a Buffer,
    scratch: &'a Scratch,
    routing: &'a [Routing],
    caches: &'a [Cache],
    logits: &'a Buffer,
}

/// Constants of a kernel.
type Constants<'c> = Vec<(&'c str, f64)>;

impl<'a> PassBuilder<'a> {
    fn passes(mut self) -> Passes {
        let (a, weights, Buffers { ids, scratch, logits, .. }) = (self.a, self.weights, self.buffers);
        let (dtype, embed) = &weights.embed;
        let embedded = Grid::Invocations(groups(a.hidden));
        let constants = [("GROUPS", groups(a.hidden) as f64), ("SCALE", f64::from(a.embedding_scale))];
        let pass = self.make("embed", *dtype, &[ids, embed, &scratch.x], embedded, &constants);
        self.passes.push(pass);
        self.norm(&weights.layers[0].mixer_norm);
        for n in 0..a.layers.len() {
            program(a, n).operations().for_each(|operation| self.operation(operation, n));
        }
        let (dtype, head) = &weights.head;
        let (bias, constant) = self.bias(weights.head_bias.as_ref());
        let constants = [numbers(&[("GROUPS", groups(a.hidden)), ("OUTPUTS", a.vocabulary)]), vec![constant]].concat();
        let constants = [constants, vec![("SCALE", f64::from(a.logit_scale))]].concat();
        let buffers = [scratch.of(Rows::Normed), head, bias, logits];
        let lm_head = self.product("lm_head", *dtype, &buffers, panels(a.vocabulary), &constants);
        Passes { layers: self.passes, lm_head }
    }

    /// A bias, and the constant that says whether there is one.
    fn bias(&self, bias: Option<&'a Buffer>) -> (&'a Buffer, (&'static str, f64)) {
        (bias.unwrap_or(&self.weights.none), ("BIAS", f64::from(u32::from(bias.is_some()))))
    }

    /// The next token, drawn as `sampling` says.
    fn sample(&self, sampling: &Buffer) -> Pass {
        let buffers = [self.buffers.logits, sampling, self.buffers.ids];
        self.make("sample", Dtype::F32, &buffers, Grid::Single, &numbers(&[("VOCABULARY", self.a.vocabulary)]))
    }

    fn make(&self, name: &str, dtype: Dtype, buffers: &[&Buffer], grid: Grid, constants: &[(&str, f64)]) -> Pass {
        let kernel = kernel(name);
        // The gate processes each token separately, also in a prefill.
        let tile = if name == "gate" { Tile::One } else { self.tile };
        let pipeline = self.gpu.pipeline(kernel, dtype, tile, constants);
        let resources: Vec<_> = buffers.iter().map(|buffer| buffer.as_entire_binding()).collect();
        Pass { kernel: kernel.name, pipeline, bind_group: self.gpu.bind(kernel, &resources), grid }
    }

    fn pass(&mut self, name: &str, dtype: Dtype, buffers: &[&Buffer], grid: Grid, shapes: &[(&str, usize)]) {
        let pass = self.make(name, dtype, buffers, grid, &numbers(shapes));
        self.passes.push(pass);
    }

    fn product(
        &self,
        name: &str,
        dtype: Dtype,
        buffers: &[&Buffer],
        panels: usize,
        constants: &[(&'static str, f64)],
    ) -> Pass {
        let constants = [constants.to_vec(), self.tile.constants(panels)].concat();
        self.make(name, dtype, buffers, Grid::Product(self.tile, panels), &constants)
    }

    /// Shape and constant of a norm over the residual stream.
    fn norm_constants(&self) -> Constants<'static> {
        let (width, eps) = (self.a.hidden, self.a.norm_eps);
        vec![("GROUPS", groups(width) as f64), ("WIDTH", width as f64), ("EPS", f64::from(eps))]
    }

    /// `normed = norm(x)`
    fn norm(&mut self, norm: &Norm) {
        let Scratch { x, .. } = self.buffers.scratch;
        let normed = self.buffers.scratch.of(Rows::Normed);
        let constants = self.norm_constants();
        let pass = match &norm.bias {
            None => self.make("rms_norm", Dtype::F32, &[x, &norm.scale, normed], Grid::Token, &constants),
            Some(bias) => self.make("layer_norm", Dtype::F32, &[x, &norm.scale, bias, normed], Grid::Token, &constants),
        };
        self.passes.push(pass);
    }

    /// The norm after layer `n`.
    fn next_norm(&self, n: usize) -> &'a Norm {
        self.weights.layers.get(n + 1).map_or(&self.weights.norm, |layer| &layer.mixer_norm)
    }

    /// The passes of one operation of layer `n`.
    fn operation(&mut self, operation: &Operation, n: usize) {
        let layer = &self.weights.layers[n];
        match operation {
            Operation::Norm(NormOf::Experts) => self.norm(&layer.moe_norm),
            Operation::Norm(NormOf::Next) => self.norm(self.next_norm(n)),
            Operation::Product(product) => self.matrix_product(product, n),
            Operation::HeadProduct(product) => self.head_product(product, n),
            Operation::NormRows(norm) => self.norm_rows(norm, n),
            Operation::Copy(copy) => self.copy_heads(copy, n),
            Operation::Qkv => self.qkv(n),
            Operation::Attend => self.attend(n),
            Operation::Convolve => self.convolve(n),
            Operation::ConvolveSilu => self.convolve_silu(n),
            Operation::Scan => self.scan(n),
            Operation::GateRows(gates) => self.gate_rows(gates),
            Operation::Hold => self.post_norm(None),
            Operation::Release(scale) => self.post_norm(layer.vector(*scale)),
            Operation::Route => self.route(n),
            Operation::WeighShared => self.weigh_shared(n),
            Operation::Group(of) => self.group(*of, n),
            Operation::Up(of) => self.up(*of, n),
            Operation::Down(of) => self.down(*of, n),
            Operation::Combine(combine) => self.combine(combine, n),
        }
    }

    fn matrix_product(&mut self, product: &Product, n: usize) {
        let Product { matrix, from, to, inputs, outputs } = *product;
        let ((dtype, matrix), bias) = self.weights.layers[n].matrix(matrix);
        let (bias, constant) = self.bias(bias);
        let scratch = self.buffers.scratch;
        let (to, add, multiplier) = match to {
            Target::Rows(rows) => (scratch.of(rows), 0.0, 1.0),
            Target::Residual(scale) => (&scratch.x, 1.0, f64::from(scale)),
        };
        let shapes = [("GROUPS", groups(inputs)), ("OUTPUTS", outputs), ("STRIDE", padded(outputs))];
        let constants = [numbers(&shapes), vec![constant, ("ADD", add), ("MULTIPLIER", multiplier)]].concat();
        let buffers = [scratch.of(from), matrix, bias, to];
        let pass = self.product("linear", *dtype, &buffers, panels(outputs), &constants);
        self.passes.push(pass);
    }

    fn head_product(&mut self, product: &HeadProduct, n: usize) {
        let &HeadProduct { matrix, from, row, stride, to, heads, inputs, outputs } = product;
        let ((dtype, matrix), _) = self.weights.layers[n].matrix(matrix);
        let shapes = [("ROW", padded(row)), ("HEAD_STRIDE", stride), ("INPUTS", inputs), ("GROUPS", groups(inputs))];
        let more = [("OUTPUTS", outputs), ("HEADS", heads), ("STRIDE", padded(heads * outputs))];
        let buffers = [self.buffers.scratch.of(from), matrix, self.buffers.scratch.of(to)];
        let shapes = [shapes.to_vec(), more.to_vec()].concat();
        self.pass("head_linear", *dtype, &buffers, Grid::Invocations(heads * outputs), &shapes);
    }

    fn norm_rows(&mut self, norm: &NormRows, n: usize) {
        let NormRows { rows, row, offset, count, width, scale, eps } = *norm;
        let scale = self.weights.layers[n].vector(scale).unwrap_or(&self.weights.none);
        let shapes = numbers(&[("ROW", padded(row)), ("OFFSET", offset), ("WIDTH", width)]);
        let constants = [shapes, vec![("EPS", f64::from(eps))]].concat();
        let buffers = [scale, self.buffers.scratch.of(rows)];
        let pass = self.make("norm_rows", Dtype::F32, &buffers, Grid::Parts(count as u32), &constants);
        self.passes.push(pass);
    }

    fn copy_heads(&mut self, copy: &Copy, n: usize) {
        let (scratch, cache) = (self.buffers.scratch, &self.buffers.caches[n]);
        let Copy { from, heads, to, at, to_dim } = copy;
        let (to, is_cache) = match to {
            CacheSide::Queries => (&scratch.q, 0),
            CacheSide::Keys => (&cache.keys, 1),
            CacheSide::Values => (&cache.values, 1),
            CacheSide::Rows(rows) => (scratch.of(*rows), 0),
        };
        // Heads of rows that are read again follow each other without a gap.
        let (stride, to_row) = match copy.to {
            CacheSide::Rows(_) => (*to_dim, padded(heads.count * to_dim)),
            _ => (padded(*to_dim), heads.count * padded(*to_dim)),
        };
        let shapes = [
            ("ROW", padded(heads.row)),
            ("OFFSET", heads.offset),
            ("HEAD_STRIDE", heads.stride),
            ("HEADS", heads.count),
            ("DIM", heads.dim),
            ("FIRST", heads.turned.0),
            ("PAIRS", heads.turned.1 / 2),
            ("INTERLEAVED", usize::from(heads.interleaved)),
            ("AT", *at),
            ("TO_STRIDE", stride),
            ("TO_ROW", to_row),
            ("CACHE", is_cache),
        ];
        let buffers = [scratch.of(*from), &self.weights.layers[n].angles, to];
        self.pass("copy_heads", Dtype::F32, &buffers, Grid::Invocations(heads.count * heads.dim), &shapes);
    }

    /// Queries, keys and values in one kernel.
    fn qkv(&mut self, n: usize) {
        let Some(s) = self.a.layers[n].attention() else { return };
        let (scratch, Cache { keys, values, .. }) = (self.buffers.scratch, &self.buffers.caches[n]);
        let layer = &self.weights.layers[n];
        let ((dtype, matrix), bias) = layer.matrix(MatrixName::Qkv);
        let (bias, constant) = self.bias(bias);
        let shapes = [("HEADS", s.heads), ("KV_HEADS", s.kv_heads), ("DIM", s.head_dim)];
        let more = [("GROUPS", groups(self.a.hidden)), ("DIM_STRIDE", padded(s.head_dim))];
        let constants = [numbers(&shapes), numbers(&more), vec![constant]].concat();
        let buffers = [scratch.of(Rows::Normed), matrix, bias, &layer.angles, &scratch.q, keys, values];
        let pass = self.product("qkv", *dtype, &buffers, 2 * panels(s.qkv_rows() / 2), &constants);
        self.passes.push(pass);
    }

    fn attend(&mut self, n: usize) {
        let Some(s) = self.a.layers[n].attention() else { return };
        let (scratch, Cache { keys, values, .. }) = (self.buffers.scratch, &self.buffers.caches[n]);
        let sinks = self.weights.layers[n].vector(VectorName::Sinks);
        let shapes = [
            ("HEADS", s.heads),
            ("KV_HEADS", s.kv_heads),
            ("DIM_GROUPS", groups(s.head_dim)),
            ("VALUE_DIM", s.value_dim),
            ("VALUE_GROUPS", groups(s.value_dim)),
            ("STRIDE", padded(s.output_width())),
            ("WINDOW", s.window.unwrap_or(self.a.context).min(self.a.context)),
            ("SINKS", usize::from(sinks.is_some())),
        ];
        let constants = [numbers(&shapes), vec![("SCALE", f64::from(s.scale()))]].concat();
        let sinks = sinks.unwrap_or(&self.weights.none);
        let buffers = [&scratch.q, keys, values, sinks, scratch.of(Rows::Mixed)];
        let grid = Grid::HeadToken(s.heads as u32, self.gpu.form.attended_together(self.tile));
        let pass = self.make("attention", Dtype::F32, &buffers, grid, &constants);
        self.passes.push(pass);
    }

    fn convolve(&mut self, n: usize) {
        let Mixer::Convolution(shape) = &self.a.layers[n].mixer else { return };
        let (width, scratch, layer) = (self.a.hidden, self.buffers.scratch, &self.weights.layers[n]);
        let vector = |name| layer.vector(name).unwrap_or(&self.weights.none);
        let buffers = [
            scratch.of(Rows::Projected),
            vector(VectorName::Kernel),
            vector(VectorName::KernelBias),
            &self.buffers.caches[n].keys,
            scratch.of(Rows::Mixed),
        ];
        let shapes = [("WIDTH", width), ("ROW", padded(3 * width)), ("STRIDE", padded(width))];
        let has_bias = usize::from(layer.vector(VectorName::KernelBias).is_some());
        let shapes = [&shapes[..], &[("POSITIONS", shape.positions), ("BIAS", has_bias)]].concat();
        self.pass("convolve", Dtype::F32, &buffers, Grid::Invocations(width), &shapes);
    }

    fn convolve_silu(&mut self, n: usize) {
        let Mixer::StateSpace(shape) = &self.a.layers[n].mixer else { return };
        let (scratch, layer, channels) = (self.buffers.scratch, &self.weights.layers[n], shape.channels());
        let vector = |name| layer.vector(name).unwrap_or(&self.weights.none);
        let buffers = [
            scratch.of(Rows::Projected),
            vector(VectorName::Kernel),
            vector(VectorName::KernelBias),
            &self.buffers.caches[n].values,
            scratch.of(Rows::Convolved),
        ];
        let shapes = [("ROW", padded(shape.rows())), ("OFFSET", shape.inner()), ("CHANNELS", channels)];
        let more = [("STRIDE", padded(channels)), ("POSITIONS", shape.positions)];
        let shapes = [&shapes[..], &more, &[("BIAS", usize::from(shape.kernel_bias))]].concat();
        self.pass("convolve_silu", Dtype::F32, &buffers, Grid::Fixed(channels.div_ceil(LANES) as u32), &shapes);
    }

    fn scan(&mut self, n: usize) {
        let Mixer::StateSpace(shape) = &self.a.layers[n].mixer else { return };
        let (scratch, layer, inner) = (self.buffers.scratch, &self.weights.layers[n], shape.inner());
        let vector = |name| layer.vector(name).unwrap_or(&self.weights.none);
        let buffers = [
            scratch.of(Rows::Convolved),
            scratch.of(Rows::Projected),
            vector(VectorName::StepBias),
            vector(VectorName::Decay),
            vector(VectorName::Skip),
            &self.buffers.caches[n].keys,
            scratch.of(Rows::Mixed),
        ];
        let shapes = [("HEAD_DIM", shape.head_dim), ("INNER", inner), ("STATE", shape.state)];
        let rows = [("X_STRIDE", padded(shape.channels())), ("ROW", padded(shape.rows())), ("STRIDE", padded(inner))];
        let shapes = [&shapes[..], &rows, &[("OFFSET", shape.rows() - shape.heads)]].concat();
        self.pass("scan", Dtype::F32, &buffers, Grid::Fixed(inner.div_ceil(LANES) as u32), &shapes);
    }

    fn gate_rows(&mut self, gates: &GateRows) {
        let GateRows { from, row, width, silu } = *gates;
        let shapes = [("ROW", padded(row)), ("WIDTH", width), ("STRIDE", padded(width)), ("SILU", usize::from(silu))];
        let buffers = [self.buffers.scratch.of(from), self.buffers.scratch.of(Rows::Mixed)];
        self.pass("gate_rows", Dtype::F32, &buffers, Grid::Invocations(width), &shapes);
    }

    /// Holds the residual stream, or norms what was added to it since with this scale.
    fn post_norm(&mut self, scale: Option<&'a Buffer>) {
        let constants = [self.norm_constants(), vec![("HOLD", f64::from(u32::from(scale.is_none())))]].concat();
        let scratch = self.buffers.scratch;
        let buffers = [scale.unwrap_or(&self.weights.none), &scratch.x, scratch.of(Rows::Held)];
        let pass = self.make("post_norm", Dtype::F32, &buffers, Grid::Token, &constants);
        self.passes.push(pass);
    }

    /// The router of layer `n`, and the pass that settles its choices.
    fn route(&mut self, n: usize) {
        let (layer, moe, routing) = (&self.weights.layers[n], &self.a.layers[n].moe, &self.buffers.routing[n]);
        if let Some(router) = &layer.router {
            self.gate(moe, router, &layer.gate_vectors, routing);
            if self.policy || needs_settling(&self.settings[n]) {
                self.settle(moe, &layer.gate_vectors, routing);
            }
        }
    }

    fn weigh_shared(&mut self, n: usize) {
        let gate = self.weights.layers[n].shared_gate.as_ref().unwrap_or(&self.weights.none);
        let scratch = self.buffers.scratch;
        let buffers = [scratch.of(Rows::Normed), gate, &scratch.shared_weights];
        self.pass("shared_gate", Dtype::F32, &buffers, Grid::Token, &[("GROUPS", groups(self.a.hidden))]);
    }

    /// Returns the experts of each token and their weights, the number of choices per token, of experts, and their
    /// inner width.
    fn chosen(&self, of: Ffn, n: usize) -> ([&'a Buffer; 2], [usize; 3]) {
        let (moe, routing, scratch) = (&self.a.layers[n].moe, &self.buffers.routing[n], self.buffers.scratch);
        match of {
            Ffn::Routed => {
                ([&routing.selected, &routing.weights], [moe.choices(), moe.all_experts(), moe.intermediate])
            }
            Ffn::Shared => {
                let inner = moe.shared_ffn.map_or(0, |shared| shared.intermediate);
                ([&scratch.shared_selected, &scratch.shared_weights], [1, 1, inner])
            }
        }
    }

    /// How the experts' products are divided into workgroups. One token needs no grouping.
    fn tiles(&self, of: Ffn, n: usize) -> [&'a Buffer; 2] {
        match self.tile {
            Tile::One => self.chosen(of, n).0,
            Tile::Eight | Tile::Sixteen => [&self.buffers.scratch.assignments, &self.buffers.scratch.tiles],
        }
    }

    fn experts(&self, of: Ffn, n: usize) -> &'a ExpertBuffers {
        let layer = &self.weights.layers[n];
        match (of, &layer.shared) {
            (Ffn::Shared, Some(shared)) => shared,
            _ => &layer.experts,
        }
    }

    fn up(&mut self, of: Ffn, n: usize) {
        let (scratch, [tiles, more], width) = (self.buffers.scratch, self.tiles(of, n), self.a.hidden);
        let (_, [choices, _, inner]) = self.chosen(of, n);
        let ExpertBuffers { up: (dtype, up), bias, .. } = self.experts(of, n);
        let (bias, constant) = self.bias(bias.as_ref().map(|[up, _]| up));
        let (clamped, alpha, limit) = match self.a.layers[n].moe.activation {
            Activation::SwiGlu => (0.0, 1.0, 1.0),
            Activation::Clamped { alpha, limit } => (1.0, f64::from(alpha), f64::from(limit)),
        };
        let shapes = [("UP", 1), ("GROUPS", groups(width)), ("OUTPUTS", inner)];
        let shapes = [&shapes[..], &[("STRIDE", padded(inner)), ("SHARE", choices)]].concat();
        let variant = vec![constant, ("CLAMPED", clamped), ("ALPHA", alpha), ("LIMIT", limit)];
        let buffers = [scratch.of(Rows::Normed), tiles, more, up, bias, &scratch.hidden];
        let constants = [numbers(&shapes), variant].concat();
        self.expert_product(*dtype, &buffers, 2 * panels(inner), choices, 0, &constants);
    }

    fn down(&mut self, of: Ffn, n: usize) {
        let (scratch, [tiles, more], width) = (self.buffers.scratch, self.tiles(of, n), self.a.hidden);
        let (_, [choices, _, inner]) = self.chosen(of, n);
        let ExpertBuffers { down: (dtype, down), bias, .. } = self.experts(of, n);
        let (bias, constant) = self.bias(bias.as_ref().map(|[_, down]| down));
        let shapes = [("UP", 0), ("GROUPS", groups(inner)), ("OUTPUTS", width)];
        let shapes = [&shapes[..], &[("STRIDE", padded(width)), ("SHARE", 1)]].concat();
        let variant = vec![constant, ("CLAMPED", 0.0), ("ALPHA", 1.0), ("LIMIT", 1.0)];
        let buffers = [&scratch.hidden, tiles, more, down, bias, &scratch.y];
        let constants = [numbers(&shapes), variant].concat();
        self.expert_product(*dtype, &buffers, panels(width), choices, ARGUMENTS, &constants);
    }

    fn combine(&mut self, combine: &Combine, n: usize) {
        let ([_, weights], [choices, ..]) = self.chosen(combine.of, n);
        let scratch = self.buffers.scratch;
        let constants = [self.norm_constants(), numbers(&[("CHOICES", choices)])].concat();
        let multiplier = ("MULTIPLIER", f64::from(combine.scale));
        let constants = [constants, vec![multiplier, ("NORM", f64::from(u32::from(combine.norm)))]].concat();
        let buffers = [&scratch.y, weights, &scratch.x, &self.next_norm(n).scale, scratch.of(Rows::Normed)];
        let pass = self.make("combine", Dtype::F32, &buffers, Grid::Token, &constants);
        self.passes.push(pass);
    }

    /// A product with the experts' matrices. One token's choices, or else `arguments`, give the number of workgroups.
    fn expert_product(
        &mut self,
        dtype: Dtype,
        buffers: &[&Buffer],
        panels: usize,
        choices: usize,
        arguments: u64,
        constants: &[(&'static str, f64)],
    ) {
        let grid = match self.tile {
            Tile::One => Grid::Choices(panels, choices),
            Tile::Eight | Tile::Sixteen => Grid::Indirect(arguments),
        };
        let constants = [constants.to_vec(), self.tile.constants(panels)].concat();
        let pass = self.make("expert_ffn", dtype, buffers, grid, &constants);
        self.passes.push(pass);
    }

    /// Groups assignments by expert, in tiles; one token needs no grouping.
    fn group(&mut self, of: Ffn, n: usize) {
        if self.tile == Tile::One {
            return;
        }
        let ([selected, weights], [choices, experts, inner]) = self.chosen(of, n);
        let constants = [
            ("ALL_EXPERTS", experts),
            ("CHOICES", choices),
            ("TILE", self.tile.tokens()),
            ("UP_WORKGROUPS", self.tile.workgroups(2 * panels(inner)) as usize),
            ("DOWN_WORKGROUPS", self.tile.workgroups(panels(self.a.hidden)) as usize),
        ];
        let Scratch { assignments, tiles, arguments, .. } = self.buffers.scratch;
        let buffers = [selected, weights, assignments, tiles, arguments];
        self.pass("dispatch", Dtype::F32, &buffers, Grid::Single, &constants);
    }

    /// Computes router logits and chooses experts by them.
    fn gate(&mut self, moe: &MoeShape, (dtype, router): &Matrices, vectors: &Buffer, routing: &Routing) {
        let mut constants = choice_constants(moe, self.policy);
        constants.push(("GROUPS", groups(self.a.hidden) as f64));
        let Routing { router_logits, selected, weights, policy, .. } = routing;
        let Buffers { ids, scratch, .. } = self.buffers;
        let buffers = [scratch.of(Rows::Normed), router, vectors, policy, ids, router_logits, selected, weights];
        let pass = self.make("gate", *dtype, &buffers, Grid::Token, &constants);
        self.passes.push(pass);
    }

    /// Applies capacities and expert choice.
    fn settle(&mut self, moe: &MoeShape, vectors: &Buffer, routing: &Routing) {
        let mut constants = choice_constants(moe, self.policy);
        let capacity = if self.policy { 0 } else { moe.capacity(self.a.context).unwrap_or(0) };
        constants.extend([("CAPACITY", capacity as f64), ("CONTEXT", self.a.context as f64)]);
        let Routing { router_logits, selected, weights, dropped, history, policy } = routing;
        let buffers = [router_logits, vectors, policy, self.buffers.ids, history, dropped, selected, weights];
        let pass = self.make("settle", Dtype::F32, &buffers, Grid::Single, &constants);
        self.passes.push(pass);
    }
}

fn numbers<'c>(shapes: &[(&'c str, usize)]) -> Constants<'c> {
    shapes.iter().map(|&(name, n)| (name, n as f64)).collect()
}

impl Cache {
    fn new(gpu: &Gpu, a: &Architecture, layer: &LayerShape) -> Result<Self> {
        let rows = |label, numbers: usize| gpu.zeros(label, a.context * numbers * WORD);
        let [keys, values] = match &layer.mixer {
            Mixer::Attention(s) => [s.head_dim, s.value_dim].map(|dim| s.kv_heads * padded(dim)),
            Mixer::Convolution(_) => [padded(a.hidden), 0],
            Mixer::StateSpace(s) => {
                let (states, tail) = s.kept();
                let both = || {
                    let zeros = |numbers: usize| gpu.zeros("states", numbers.saturating_mul(WORD));
                    Ok([zeros(states)?, zeros(tail)?])
                };
                let [keys, values] = both()?;
                return Ok(Self { keys, values, kept: (0..KEPT).map(|_| both()).collect::<Result<_>>()? });
            }
        };
        Ok(Self { keys: rows("keys", keys)?, values: rows("values", values)?, kept: Vec::new() })
    }
}

impl Scratch {
    fn new(gpu: &Gpu, a: &Architecture, tokens: usize) -> Result<Self> {
        let most = |f: fn(&LayerShape) -> usize| a.layers.iter().map(f).max().unwrap_or(0);
        let rows = |label, numbers: usize| gpu.zeros(label, tokens * numbers * WORD);
        let choices = most(|l| l.moe.choices());
        let usage = BufferUsages::STORAGE | BufferUsages::INDIRECT | BufferUsages::COPY_SRC;
        let mut kinds = widths(a).into_iter();
        let mut next = || rows("activations", padded(kinds.next().unwrap_or(0)));
        let kinds = [next()?, next()?, next()?, next()?, next()?, next()?, next()?, next()?, next()?, next()?];
        // There is at most one tile per assignment.
        Ok(Self {
            x: rows("activations", padded(a.hidden))?,
            rows: kinds,
            q: rows("activations", most(|l| l.attention().map_or(0, |s| s.heads * padded(s.head_dim))))?,
            assignments: rows("assignments", choices.max(1))?,
            tiles: rows("tiles", choices.max(1) * 4)?,
            arguments: gpu.buffer("arguments", 2 * ARGUMENTS as usize, usage)?,
            hidden: rows(
                "activations",
                most(|l| {
                    let shared = l.moe.shared_ffn.map_or(0, |shared| padded(shared.intermediate));
                    shared.max(l.moe.choices() * padded(l.moe.intermediate))
                }),
            )?,
            y: rows("activations", choices.max(1) * padded(a.hidden))?,
            shared_selected: rows("shared", 1)?,
            shared_weights: gpu.filled("shared", bytemuck::cast_slice(&vec![1.0f32; tokens]))?,
        })
    }

    /// Rows of this kind.
    fn of(&self, rows: Rows) -> &Buffer {
        &self.rows[rows as usize]
    }
}

impl Routing {
    fn new(
        gpu: &Gpu,
        a: &Architecture,
        moe: &MoeShape,
        settings: &[Setting],
        policy: bool,
        tokens: usize,
    ) -> Result<Self> {
        let rows = |numbers: usize| gpu.zeros("routing", tokens * numbers * WORD);
        let settles = usize::from(!settings.is_empty() && (policy || needs_settling(settings)));
        Ok(Self {
            router_logits: rows(moe.router_rows())?,
            selected: rows(moe.choices())?,
            // A dense FFN has no gate to write them.
            weights: gpu.filled("routing", bytemuck::cast_slice(&vec![1.0f32; tokens * moe.choices()]))?,
            dropped: rows(settles * moe.choices())?,
            history: gpu.zeros("routing", settles * a.context * moe.top_k * WORD)?,
            policy: gpu.zeros("policy", if policy { policy::room(moe.experts) * WORD } else { 0 })?,
        })
    }

    /// The sections of a readback, in order.
    fn sections(&self) -> [&Buffer; 4] {
        [&self.router_logits, &self.selected, &self.weights, &self.dropped]
    }
}
