//! The passes of a step, made once: which pipeline runs over which buffers, and how many workgroups.

use super::device::Gpu;
use super::limits::{AHEAD, TOKENS_WITH_LOGITS, most_tokens};
use super::pack::{groups, padded, panels};
use super::policy;
use super::profile::Clock;
use super::readback::ReadbackLayout;
use super::shader::kernel;
use super::tile::Tile;
use super::upload::{GpuWeights, LayerBuffers, Matrices};
use crate::engine::step::needs_settling;
use crate::error::Result;
use crate::shape::{Architecture, AttentionShape, Dtype, LayerShape, MoeShape, Setting, Settings};
use wgpu::{Buffer, BufferUsages};

const WORD: usize = 4;
/// Invocations of a workgroup in kernels that are not products.
const LANES: usize = 64;
/// Bytes of the indirect arguments of one dispatch.
const ARGUMENTS: u64 = 12;

/// Everything that a step needs.
pub struct Plan {
    /// The ids to run, of the most tokens of a step.
    pub ids: Buffer,
    /// Where a step's results are read: see `ReadbackLayout`.
    pub staging: Buffer,
    /// The same for steps of one token that are in flight together.
    pub flights: [Buffer; AHEAD],
    /// How a step draws the next token: temperature (f32), then the seed's halves.
    pub sampling: Buffer,
    one: Passes,
    many: Passes,
    /// The next token, into `ids`.
    sample: Pass,
    arguments: Buffer,
    routing: Vec<Routing>,
    logits: Buffer,
}

/// The dispatches of a step, for one token or for many.
struct Passes {
    /// From the ids to the normed residual stream after the last layer.
    layers: Vec<Pass>,
    /// The logits, where they are wanted.
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
    /// One a token.
    Token,
    /// `heads` by tokens, so many tokens together.
    HeadToken(u32, usize),
    /// As many as cover this many invocations a token.
    Invocations(usize),
    /// A product of such tiles with this many panels.
    Product(Tile, usize),
    /// A product with this many panels for each of so many experts of one token.
    Choices(usize, usize),
    /// As the indirect arguments at this offset say.
    Indirect(u64),
}

/// Where the routing of a layer is put.
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

/// Keys and values of a layer, `[context, kv_heads, head_dim]`.
struct Cache {
    keys: Buffer,
    values: Buffer,
}

/// Buffers that all layers share, for the numbers of a step's tokens.
struct Scratch {
    x: Buffer,
    normed: Buffer,
    q: Buffer,
    attended: Buffer,
    assignments: Buffer,
    tiles: Buffer,
    arguments: Buffer,
    hidden: Buffer,
    y: Buffer,
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
        let caches = a.layers.iter().map(|layer| Cache::new(gpu, a, &layer.attention)).collect::<Result<Vec<_>>>()?;
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
        let plan = Self { ids, staging, flights, sampling, one, many, sample, arguments, routing, logits };
        plan.set_settings(gpu, settings);
        Ok(plan)
    }

    /// Writes what the gates do, where there is a policy.
    pub fn set_settings(&self, gpu: &Gpu, settings: &Settings) {
        for (n, (routing, settings)) in self.routing.iter().zip(settings).enumerate() {
            let words = policy::words(n, settings);
            let bytes: &[u8] = bytemuck::cast_slice(&words);
            if routing.policy.size() as usize >= bytes.len() {
                gpu.queue.write_buffer(&routing.policy, 0, bytes);
            }
        }
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
            Grid::Token => compute.dispatch_workgroups(tokens as u32, 1, 1),
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

/// The constants of `shaders/shared/choose.wgsl` for a layer of this shape: its own way, or whatever a policy says.
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

/// What the passes work on, besides weights.
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

impl PassBuilder<'_> {
    fn passes(mut self) -> Passes {
        let (a, weights, Buffers { ids, scratch, logits, .. }) = (self.a, self.weights, self.buffers);
        let (dtype, embed) = &weights.embed;
        let embedded = Grid::Invocations(groups(a.hidden));
        self.pass("embed", *dtype, &[ids, embed, &scratch.x], embedded, &[("GROUPS", groups(a.hidden))]);
        self.norm(&weights.layers[0].attention_norm);
        for n in 0..a.layers.len() {
            self.attention(n);
            self.experts(n);
        }
        let (dtype, head) = &weights.head;
        let constants = [("GROUPS", groups(a.hidden)), ("OUTPUTS", a.vocabulary)];
        let buffers = [&scratch.normed, head, logits];
        let lm_head = self.product("lm_head", *dtype, &buffers, panels(a.vocabulary), &constants);
        Passes { layers: self.passes, lm_head }
    }

    /// The next token, drawn as `sampling` says.
    fn sample(&self, sampling: &Buffer) -> Pass {
        let buffers = [self.buffers.logits, sampling, self.buffers.ids];
        self.make("sample", Dtype::F32, &buffers, Grid::Single, &numbers(&[("VOCABULARY", self.a.vocabulary)]))
    }

    fn make(&self, name: &str, dtype: Dtype, buffers: &[&Buffer], grid: Grid, constants: &[(&str, f64)]) -> Pass {
        let kernel = kernel(name);
        // The gate works token by token, in a prefill too.
        let tile = if name == "gate" { Tile::One } else { self.tile };
        let pipeline = self.gpu.pipeline(kernel, dtype, tile, constants);
        let resources: Vec<_> = buffers.iter().map(|buffer| buffer.as_entire_binding()).collect();
        Pass { kernel: kernel.name, pipeline, bind_group: self.gpu.bind(kernel, &resources), grid }
    }

    fn pass(&mut self, name: &str, dtype: Dtype, buffers: &[&Buffer], grid: Grid, shapes: &[(&str, usize)]) {
        let pass = self.make(name, dtype, buffers, grid, &numbers(shapes));
        self.passes.push(pass);
    }

    fn product(&self, name: &str, dtype: Dtype, buffers: &[&Buffer], panels: usize, shapes: &[(&str, usize)]) -> Pass {
        let constants = [numbers(shapes), self.tile.constants(panels)].concat();
        self.make(name, dtype, buffers, Grid::Product(self.tile, panels), &constants)
    }

    /// Shape and constant of a norm over the residual stream.
    fn norm_constants(&self) -> Constants<'static> {
        let (width, eps) = (self.a.hidden, self.a.norm_eps);
        vec![("GROUPS", groups(width) as f64), ("WIDTH", width as f64), ("EPS", f64::from(eps))]
    }

    /// `normed = rms_norm(x)`
    fn norm(&mut self, scale: &Buffer) {
        let Scratch { x, normed, .. } = self.buffers.scratch;
        let constants = self.norm_constants();
        let pass = self.make("rms_norm", Dtype::F32, &[x, scale, normed], Grid::Token, &constants);
        self.passes.push(pass);
    }

    /// `x += attention(normed)`
    fn attention(&mut self, n: usize) {
        let (a, s, weights) = (self.a, &self.a.layers[n].attention, &self.weights.layers[n]);
        let (scratch, Cache { keys, values }) = (self.buffers.scratch, &self.buffers.caches[n]);
        let LayerBuffers { qkv: (qkv_dtype, qkv), output: (output_dtype, output), angles, .. } = weights;

        let heads = [("HEADS", s.heads), ("KV_HEADS", s.kv_heads), ("DIM", s.head_dim)];
        let constants = [&heads[..], &[("GROUPS", groups(a.hidden)), ("DIM_STRIDE", padded(s.head_dim))]].concat();
        let buffers = [&scratch.normed, qkv, angles, &scratch.q, keys, values];
        let pass = self.product("qkv", *qkv_dtype, &buffers, 2 * panels(s.qkv_rows() / 2), &constants);
        self.passes.push(pass);

        let window = s.window.unwrap_or(a.context).min(a.context);
        let stride = padded(s.query_width());
        let shapes = [("DIM_GROUPS", groups(s.head_dim)), ("STRIDE", stride), ("WINDOW", window)];
        let constants = [&heads[..], &shapes].concat();
        let buffers = [&scratch.q, keys, values, &scratch.attended];
        let grid = Grid::HeadToken(s.heads as u32, self.gpu.form.attended_together(self.tile));
        self.pass("attention", Dtype::F32, &buffers, grid, &constants);

        let constants = [("GROUPS", groups(s.query_width())), ("OUTPUTS", a.hidden), ("STRIDE", padded(a.hidden))];
        let buffers = [&scratch.attended, output, &scratch.x];
        let pass = self.product("linear", *output_dtype, &buffers, panels(a.hidden), &constants);
        self.passes.push(pass);
    }

    /// `x += experts(norm(x))`, normed for what comes next.
    fn experts(&mut self, n: usize) {
        let (width, moe, weights) = (self.a.hidden, &self.a.layers[n].moe, &self.weights.layers[n]);
        let (scratch, routing) = (self.buffers.scratch, &self.buffers.routing[n]);
        let LayerBuffers { moe_norm, router, vectors, up: (up_dtype, up), down: (down_dtype, down), .. } = weights;
        self.norm(moe_norm);
        if let Some(router) = router {
            self.gate(moe, router, vectors, routing);
            if self.policy || needs_settling(&self.settings[n]) {
                self.settle(moe, vectors, routing);
            }
        }
        // One token needs no grouping.
        let tiles = match self.tile {
            Tile::One => [&routing.selected, &routing.weights],
            Tile::Eight | Tile::Sixteen => {
                self.dispatch(moe, routing);
                [&scratch.assignments, &scratch.tiles]
            }
        };
        let inner = moe.intermediate;
        let constants = [("UP", 1), ("GROUPS", groups(width)), ("OUTPUTS", inner)];
        let constants = [&constants[..], &[("STRIDE", padded(inner)), ("SHARE", moe.choices())]].concat();
        let buffers = [&scratch.normed, tiles[0], tiles[1], up, &scratch.hidden];
        self.expert_product(*up_dtype, &buffers, 2 * panels(inner), moe, 0, &constants);
        let constants = [("UP", 0), ("GROUPS", groups(inner)), ("OUTPUTS", width)];
        let constants = [&constants[..], &[("STRIDE", padded(width)), ("SHARE", 1)]].concat();
        let buffers = [&scratch.hidden, tiles[0], tiles[1], down, &scratch.y];
        self.expert_product(*down_dtype, &buffers, panels(width), moe, ARGUMENTS, &constants);

        let next = self.weights.layers.get(n + 1).map_or(&self.weights.norm, |layer| &layer.attention_norm);
        let constants = [self.norm_constants(), numbers(&[("CHOICES", moe.choices())])].concat();
        let buffers = [&scratch.y, &routing.weights, &scratch.x, next, &scratch.normed];
        let pass = self.make("combine", Dtype::F32, &buffers, Grid::Token, &constants);
        self.passes.push(pass);
    }

    /// A product of the experts' matrices, as many workgroups as the token's choices take or `arguments` say.
    fn expert_product(
        &mut self,
        dtype: Dtype,
        buffers: &[&Buffer],
        panels: usize,
        moe: &MoeShape,
        arguments: u64,
        shapes: &[(&str, usize)],
    ) {
        let grid = match self.tile {
            Tile::One => Grid::Choices(panels, moe.choices()),
            Tile::Eight | Tile::Sixteen => Grid::Indirect(arguments),
        };
        let constants = [numbers(shapes), self.tile.constants(panels)].concat();
        let pass = self.make("expert_ffn", dtype, buffers, grid, &constants);
        self.passes.push(pass);
    }

    /// Assignments by expert, in tiles.
    fn dispatch(&mut self, moe: &MoeShape, routing: &Routing) {
        let constants = [
            ("ALL_EXPERTS", moe.all_experts()),
            ("CHOICES", moe.choices()),
            ("TILE", self.tile.tokens()),
            ("UP_WORKGROUPS", self.tile.workgroups(2 * panels(moe.intermediate)) as usize),
            ("DOWN_WORKGROUPS", self.tile.workgroups(panels(self.a.hidden)) as usize),
        ];
        let Scratch { assignments, tiles, arguments, .. } = self.buffers.scratch;
        let buffers = [&routing.selected, &routing.weights, assignments, tiles, arguments];
        self.pass("dispatch", Dtype::F32, &buffers, Grid::Single, &constants);
    }

    /// Router logits, and the experts chosen by them.
    fn gate(&mut self, moe: &MoeShape, (dtype, router): &Matrices, vectors: &Buffer, routing: &Routing) {
        let mut constants = choice_constants(moe, self.policy);
        constants.push(("GROUPS", groups(self.a.hidden) as f64));
        let Routing { router_logits, selected, weights, policy, .. } = routing;
        let Buffers { ids, scratch, .. } = self.buffers;
        let buffers = [&scratch.normed, router, vectors, policy, ids, router_logits, selected, weights];
        let pass = self.make("gate", *dtype, &buffers, Grid::Token, &constants);
        self.passes.push(pass);
    }

    /// Experts that are full, and those that choose.
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
    fn new(gpu: &Gpu, a: &Architecture, s: &AttentionShape) -> Result<Self> {
        let bytes = a.context * s.kv_heads * padded(s.head_dim) * WORD;
        Ok(Self { keys: gpu.zeros("keys", bytes)?, values: gpu.zeros("values", bytes)? })
    }
}

impl Scratch {
    fn new(gpu: &Gpu, a: &Architecture, tokens: usize) -> Result<Self> {
        let most = |f: fn(&LayerShape) -> usize| a.layers.iter().map(f).max().unwrap_or(0);
        let rows = |label, numbers: usize| gpu.zeros(label, tokens * numbers * WORD);
        let choices = most(|l| l.moe.choices());
        let usage = BufferUsages::STORAGE | BufferUsages::INDIRECT | BufferUsages::COPY_SRC;
        // Tiles: at most one an assignment.
        Ok(Self {
            x: rows("activations", padded(a.hidden))?,
            normed: rows("activations", padded(a.hidden))?,
            q: rows("activations", most(|l| l.attention.heads * padded(l.attention.head_dim)))?,
            attended: rows("activations", most(|l| padded(l.attention.query_width())))?,
            assignments: rows("assignments", choices)?,
            tiles: rows("tiles", choices * 4)?,
            arguments: gpu.buffer("arguments", 2 * ARGUMENTS as usize, usage)?,
            hidden: rows("activations", most(|l| l.moe.choices() * padded(l.moe.intermediate)))?,
            y: rows("activations", choices * padded(a.hidden))?,
        })
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
