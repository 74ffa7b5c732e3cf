//! The passes of a step, made once: which pipeline runs over which buffers, and how many workgroups.

use super::CHUNK;
use super::device::Gpu;
use super::pack;
use super::shader::{Tile, kernel};
use crate::engine::{Step, record};
use crate::error::Result;
use crate::kernels::rope::angles;
use crate::model::{Architecture, Dtype, FfnWeights, LayerShape, LayerWeights, Matrix, MoeShape, Weights};
use crate::routing::Gate;
use bytemuck::pod_collect_to_vec;
use wgpu::{Buffer, BufferUsages};

const WORD: usize = 4;
/// Invocations of a workgroup in kernels that are not products.
const LANES: usize = 64;
/// Bytes of the indirect arguments of one dispatch.
const ARGUMENTS: u64 = 12;

/// Everything that a step needs.
pub struct Plan {
    /// The ids to run, `[CHUNK]`.
    pub ids: Buffer,
    /// Where a step's results are read: see [`Sections`].
    pub staging: Buffer,
    passes: Vec<Pass>,
    output: Vec<Pass>,
    arguments: Buffer,
    routing: Vec<Routing>,
    logits: Buffer,
}

/// One dispatch of a kernel, in its form for one token and for many.
struct Pass {
    one: wgpu::ComputePipeline,
    many: wgpu::ComputePipeline,
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
    /// `heads` by tokens.
    HeadToken(u32),
    /// As many as cover this many invocations a token.
    Invocations(usize),
    /// A product with this many outputs.
    Product(usize),
    /// As the indirect arguments at this offset say.
    Indirect(u64),
}

/// Where the routing of a layer is put.
struct Routing {
    router_logits: Buffer,
    selected: Buffer,
    weights: Buffer,
    dropped: Buffer,
    /// Routed experts of the whole text, where there is a capacity.
    history: Buffer,
}

/// Buffers that all layers share, for the numbers of a step's tokens.
struct Scratch {
    x: Buffer,
    normed: Buffer,
    qkv: Buffer,
    q: Buffer,
    attended: Buffer,
    assignments: Buffer,
    tiles: Buffer,
    arguments: Buffer,
    hidden: Buffer,
    y: Buffer,
}

impl Plan {
    /// Uploads the weights and makes every buffer, pipeline and bind group.
    pub fn new(gpu: &mut Gpu, a: &Architecture, weights: &Weights<'_>) -> Result<Self> {
        let scratch = Scratch::new(gpu, a)?;
        let ids = gpu.zeros("ids", CHUNK * WORD)?;
        let logits = gpu.zeros("logits", CHUNK * a.vocabulary * WORD)?;
        let routing = a.layers.iter().map(|layer| Routing::new(gpu, a, &layer.moe)).collect::<Result<Vec<_>>>()?;
        let (embed_dtype, embed) = upload(gpu, "embeddings", pack::stack(&[&weights.embed]))?;
        let (head_dtype, head) = match &weights.lm_head {
            None => (embed_dtype, embed.clone()),
            Some(matrix) => upload(gpu, "output weights", pack::stack(&[matrix]))?,
        };
        let norm = upload_vector(gpu, &weights.norm)?;
        let mut make = Maker { gpu, a, passes: Vec::new() };
        make.pass(
            "embed",
            "main",
            embed_dtype,
            &[&ids, &embed, &scratch.x],
            Grid::Invocations(groups(a.hidden)),
            &[("GROUPS", groups(a.hidden))],
        );
        for ((shape, weights), routing) in a.layers.iter().zip(&weights.layers).zip(&routing) {
            make.attention(shape, weights, &scratch)?;
            make.experts(shape, weights, &scratch, routing)?;
        }
        let passes = std::mem::take(&mut make.passes);
        make.norm(&norm, &scratch);
        let shapes = [("GROUPS", groups(a.hidden)), ("OUTPUTS", a.vocabulary)];
        make.pass(
            "lm_head",
            "main",
            head_dtype,
            &[&scratch.normed, &head, &logits],
            Grid::Product(a.vocabulary),
            &shapes,
        );
        let output = std::mem::take(&mut make.passes);
        let bytes = Sections::new(a, CHUNK, CHUNK).bytes as usize;
        let staging = gpu.buffer("results", bytes, BufferUsages::MAP_READ | BufferUsages::COPY_DST)?;
        Ok(Self { ids, staging, passes, output, arguments: scratch.arguments, routing, logits })
    }

    /// The commands of a step.
    pub fn encode(&self, gpu: &Gpu, sections: &Sections) -> wgpu::CommandBuffer {
        let mut encoder = gpu.device.create_command_encoder(&Default::default());
        let mut compute = encoder.begin_compute_pass(&Default::default());
        for pass in &self.passes {
            pass.record(&mut compute, &self.arguments, sections.tokens);
        }
        if sections.logits > 0 {
            let (norm, head) = (&self.output[0], &self.output[1]);
            norm.record(&mut compute, &self.arguments, sections.tokens);
            head.record(&mut compute, &self.arguments, sections.logits);
        }
        drop(compute);
        let mut to = 0;
        let sources = self.routing.iter().flat_map(Routing::sections).chain([&self.logits]);
        for (from, &bytes) in sources.zip(&sections.sizes).filter(|(_, bytes)| **bytes > 0) {
            encoder.copy_buffer_to_buffer(from, 0, &self.staging, to, bytes);
            to += bytes;
        }
        encoder.finish()
    }
}

impl Pass {
    fn record(&self, compute: &mut wgpu::ComputePass<'_>, arguments: &Buffer, tokens: usize) {
        let tile = tile_for(tokens);
        compute.set_pipeline(if tile == Tile::One { &self.one } else { &self.many });
        compute.set_bind_group(0, &self.bind_group, &[]);
        match self.grid {
            Grid::Single => compute.dispatch_workgroups(1, 1, 1),
            Grid::Token => compute.dispatch_workgroups(tokens as u32, 1, 1),
            Grid::HeadToken(heads) => compute.dispatch_workgroups(heads, tokens as u32, 1),
            Grid::Invocations(each) => compute.dispatch_workgroups((each * tokens).div_ceil(LANES) as u32, 1, 1),
            Grid::Product(outputs) => {
                compute.dispatch_workgroups(tile.workgroups(outputs), tokens.div_ceil(tile.tokens()) as u32, 1)
            }
            Grid::Indirect(offset) => compute.dispatch_workgroups_indirect(arguments, offset),
        }
    }
}

/// What `shaders/gate.wgsl` calls a gate.
pub fn gate_constants(gate: Gate) -> Vec<(&'static str, f64)> {
    let (kind, groups, groups_per_token, scale) = match gate {
        Gate::SoftmaxTopK => (0.0, 0, 1, 1.0),
        Gate::TopKOfSoftmax => (1.0, 0, 1, 1.0),
        Gate::Hierarchical { groups, groups_per_token } => (2.0, groups, groups_per_token, 1.0),
        Gate::SigmoidBias { scale } => (3.0, 0, 1, scale),
    };
    let (groups, per_token) = (groups as f64, groups_per_token as f64);
    vec![("KIND", kind), ("EXPERT_GROUPS", groups), ("GROUPS_PER_TOKEN", per_token), ("SCALE", f64::from(scale))]
}

/// The products' form for a step of so many tokens.
fn tile_for(tokens: usize) -> Tile {
    if tokens == 1 { Tile::One } else { Tile::Eight }
}

/// Makes passes, in order.
struct Maker<'a> {
    gpu: &'a mut Gpu,
    a: &'a Architecture,
    passes: Vec<Pass>,
}

impl Maker<'_> {
    fn pass(
        &mut self,
        name: &str,
        entry: &str,
        dtype: Dtype,
        buffers: &[&Buffer],
        grid: Grid,
        shapes: &[(&str, usize)],
    ) {
        let constants: Vec<(&str, f64)> = shapes.iter().map(|&(name, n)| (name, n as f64)).collect();
        self.variants(name, entry, dtype, buffers, grid, |_| constants.clone());
    }

    /// A pass whose constants depend on the tile.
    fn variants<'c>(
        &mut self,
        name: &str,
        entry: &str,
        dtype: Dtype,
        buffers: &[&Buffer],
        grid: Grid,
        constants: impl Fn(Tile) -> Vec<(&'c str, f64)>,
    ) {
        let kernel = kernel(name);
        // The gate works token by token, in a prefill too.
        let many = if name == "gate" { Tile::One } else { Tile::Eight };
        let one = self.gpu.pipeline(kernel, entry, dtype, Tile::One, &constants(Tile::One));
        let many = self.gpu.pipeline(kernel, entry, dtype, many, &constants(Tile::Eight));
        let resources: Vec<_> = buffers.iter().map(|buffer| buffer.as_entire_binding()).collect();
        let bind_group = self.gpu.bind(kernel, &resources);
        self.passes.push(Pass { one, many, bind_group, grid });
    }

    /// `normed = rms_norm(x)`
    fn norm(&mut self, scale: &Buffer, scratch: &Scratch) {
        let (width, eps) = (self.a.hidden, self.a.norm_eps);
        let constants = |_| vec![("GROUPS", groups(width) as f64), ("WIDTH", width as f64), ("EPS", f64::from(eps))];
        self.variants("rms_norm", "main", Dtype::F32, &[&scratch.x, scale, &scratch.normed], Grid::Token, constants);
    }

    /// `x += attention(norm(x))`
    fn attention(&mut self, shape: &LayerShape, weights: &LayerWeights<'_>, scratch: &Scratch) -> Result<()> {
        let (a, s) = (self.a, &shape.attention);
        let norm = upload_vector(self.gpu, &weights.attention_norm)?;
        let [q, k, v] = &weights.qkv;
        let (qkv_dtype, qkv) = upload(self.gpu, "attention weights", pack::stack(&[q, k, v]))?;
        let (output_dtype, output) = upload(self.gpu, "attention weights", pack::stack(&[&weights.output]))?;
        let angles = angles(a.context, s.head_dim, s.rope_theta);
        let angles = self.gpu.filled("angles", &pod_collect_to_vec(&angles))?;
        let cache_bytes = a.context * s.kv_heads * padded(s.head_dim) * WORD;
        let (keys, values) = (self.gpu.zeros("keys", cache_bytes)?, self.gpu.zeros("values", cache_bytes)?);

        self.norm(&norm, scratch);
        let shapes = [("GROUPS", groups(a.hidden)), ("OUTPUTS", s.qkv_rows()), ("STRIDE", padded(s.qkv_rows()))];
        self.pass(
            "linear",
            "main",
            qkv_dtype,
            &[&scratch.normed, &qkv, &scratch.qkv],
            Grid::Product(s.qkv_rows()),
            &shapes,
        );
        let pairs = s.qkv_rows() / 2;
        let heads = [("HEADS", s.heads), ("KV_HEADS", s.kv_heads), ("DIM", s.head_dim)];
        let shapes = [&heads[..], &[("DIM_STRIDE", padded(s.head_dim)), ("QKV_STRIDE", padded(s.qkv_rows()))]].concat();
        let buffers = [&angles, &scratch.qkv, &scratch.q, &keys, &values];
        self.pass("rope", "main", Dtype::F32, &buffers, Grid::Invocations(pairs), &shapes);
        let window = s.window.unwrap_or(a.context).min(a.context);
        let stride = padded(s.query_width());
        let shapes =
            [&heads[..], &[("DIM_GROUPS", groups(s.head_dim)), ("STRIDE", stride), ("WINDOW", window)]].concat();
        let buffers = [&scratch.q, &keys, &values, &scratch.attended];
        self.pass("attention", "main", Dtype::F32, &buffers, Grid::HeadToken(s.heads as u32), &shapes);
        let shapes =
            [("GROUPS", groups(s.query_width())), ("OUTPUTS", a.hidden), ("STRIDE", padded(a.hidden)), ("ADD", 1)];
        self.pass(
            "linear",
            "main",
            output_dtype,
            &[&scratch.attended, &output, &scratch.x],
            Grid::Product(a.hidden),
            &shapes,
        );
        Ok(())
    }

    /// `x += experts(norm(x))`
    fn experts(
        &mut self,
        shape: &LayerShape,
        weights: &LayerWeights<'_>,
        scratch: &Scratch,
        routing: &Routing,
    ) -> Result<()> {
        let (width, moe) = (self.a.hidden, &shape.moe);
        let norm = upload_vector(self.gpu, &weights.moe_norm)?;
        let ffn = &weights.ffn;
        let ups: Vec<&Matrix<'_>> = ffn.experts.iter().flat_map(|e| [&e.w1, &e.w3]).collect();
        let downs: Vec<&Matrix<'_>> = ffn.experts.iter().map(|e| &e.w2).collect();
        let (up_dtype, up) = upload(self.gpu, "expert weights", pack::sequence(&ups))?;
        let (down_dtype, down) = upload(self.gpu, "expert weights", pack::sequence(&downs))?;

        self.norm(&norm, scratch);
        if let Some(gate) = moe.gate {
            self.gate(gate, moe, ffn, scratch, routing)?;
        }
        let capacity = moe.capacity(self.a.context).unwrap_or(0);
        let constants = |tile: Tile| {
            vec![
                ("EXPERTS", moe.experts as f64),
                ("ALL_EXPERTS", moe.all_experts() as f64),
                ("TOP_K", moe.top_k as f64),
                ("CHOICES", moe.choices() as f64),
                ("CAPACITY", capacity as f64),
                ("TILE", tile.tokens() as f64),
                ("UP_WORKGROUPS", f64::from(tile.workgroups(moe.intermediate))),
                ("DOWN_WORKGROUPS", f64::from(tile.workgroups(width))),
            ]
        };
        let Routing { selected, weights, dropped, history, .. } = routing;
        let buffers = [selected, history, dropped, weights, &scratch.assignments, &scratch.tiles, &scratch.arguments];
        self.variants("dispatch", "main", Dtype::F32, &buffers, Grid::Single, constants);
        let shapes = [
            ("GROUPS", groups(width)),
            ("OUTPUTS", moe.intermediate),
            ("STRIDE", padded(moe.intermediate)),
            ("SHARE", moe.choices()),
        ];
        let buffers = [&scratch.normed, &scratch.assignments, &scratch.tiles, &up, &scratch.hidden];
        self.pass("expert_ffn", "up", up_dtype, &buffers, Grid::Indirect(0), &shapes);
        let shapes =
            [("GROUPS", groups(moe.intermediate)), ("OUTPUTS", width), ("STRIDE", padded(width)), ("SHARE", 1)];
        let buffers = [&scratch.hidden, &scratch.assignments, &scratch.tiles, &down, &scratch.y];
        self.pass("expert_ffn", "down", down_dtype, &buffers, Grid::Indirect(ARGUMENTS), &shapes);
        let shapes = [("GROUPS", groups(width)), ("CHOICES", moe.choices())];
        let grid = Grid::Invocations(groups(width));
        self.pass("combine", "main", Dtype::F32, &[&scratch.y, &routing.weights, &scratch.x], grid, &shapes);
        Ok(())
    }

    fn gate(
        &mut self,
        gate: Gate,
        moe: &MoeShape,
        ffn: &FfnWeights<'_>,
        scratch: &Scratch,
        routing: &Routing,
    ) -> Result<()> {
        let routers: Vec<&Matrix<'_>> = ffn.router.iter().chain(&ffn.group_router).collect();
        let (dtype, router) = upload(self.gpu, "router weights", pack::stack(&routers))?;
        let bias: Vec<f32> = ffn.bias.iter().flat_map(|bias| bias.values()).collect();
        let bias = self.gpu.filled("router bias", bytemuck::cast_slice(&bias))?;
        let mut constants = gate_constants(gate);
        let shapes = [
            ("GROUPS", groups(self.a.hidden)),
            ("EXPERTS", moe.experts),
            ("TOP_K", moe.top_k),
            ("SHARED", moe.shared),
            ("ROUTER_ROWS", moe.router_rows()),
        ];
        constants.extend(shapes.map(|(name, n)| (name, n as f64)));
        let Routing { router_logits, selected, weights, .. } = routing;
        let buffers = [&scratch.normed, &router, &bias, router_logits, selected, weights];
        self.variants("gate", "main", dtype, &buffers, Grid::Token, |_| constants.clone());
        Ok(())
    }
}

impl Scratch {
    fn new(gpu: &Gpu, a: &Architecture) -> Result<Self> {
        let most = |f: fn(&LayerShape) -> usize| a.layers.iter().map(f).max().unwrap_or(0);
        let rows = |label, numbers: usize| gpu.zeros(label, CHUNK * numbers * WORD);
        let choices = most(|l| l.moe.choices());
        let usage = BufferUsages::STORAGE | BufferUsages::INDIRECT | BufferUsages::COPY_SRC;
        // Tiles: at most one an assignment.
        Ok(Self {
            x: rows("activations", padded(a.hidden))?,
            normed: rows("activations", padded(a.hidden))?,
            qkv: rows("activations", most(|l| padded(l.attention.qkv_rows())))?,
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
    fn new(gpu: &Gpu, a: &Architecture, moe: &MoeShape) -> Result<Self> {
        let rows = |numbers: usize| gpu.zeros("routing", CHUNK * numbers * WORD);
        let limited = usize::from(moe.capacity_factor.is_some());
        Ok(Self {
            router_logits: rows(moe.router_rows())?,
            selected: rows(moe.choices())?,
            // A dense FFN has no gate to write them.
            weights: gpu.filled("routing", bytemuck::cast_slice(&vec![1.0f32; CHUNK * moe.choices()]))?,
            dropped: rows(limited * moe.choices())?,
            history: gpu.zeros("routing", limited * a.context * moe.top_k * WORD)?,
        })
    }

    /// The sections of a readback, in order.
    fn sections(&self) -> [&Buffer; 4] {
        [&self.router_logits, &self.selected, &self.weights, &self.dropped]
    }

    /// Numbers of a token in each section.
    fn widths(moe: &MoeShape) -> [usize; 4] {
        let routed = if moe.gate.is_some() { moe.choices() } else { 0 };
        let limited = if moe.capacity_factor.is_some() { routed } else { 0 };
        [moe.router_rows(), routed, routed, limited]
    }
}

/// What a step's readback holds: for each routed layer router logits `[T, E + G]`, selected, weights and (with a
/// capacity) dropped, `[T, choices]`; then logits `[L, V]`.
pub struct Sections {
    tokens: usize,
    logits: usize,
    sizes: Vec<u64>,
    /// All of them.
    pub bytes: u64,
}

impl Sections {
    /// For `tokens` tokens, `logits` of which want logits.
    pub fn new(a: &Architecture, tokens: usize, logits: usize) -> Self {
        let routing = a.layers.iter().flat_map(|l| Routing::widths(&l.moe)).map(|numbers| numbers * tokens);
        let sizes: Vec<u64> = routing.chain([logits * a.vocabulary]).map(|numbers| (numbers * WORD) as u64).collect();
        Self { tokens, logits, bytes: sizes.iter().sum(), sizes }
    }

    /// The step in `bytes`.
    pub fn step(&self, a: &Architecture, mut bytes: &[u8]) -> Step {
        let mut step = Step::new(a);
        let mut sizes = self.sizes.iter();
        let mut next = || {
            let (section, rest) = bytes.split_at(*sizes.next().expect("as many sections as were made") as usize);
            bytes = rest;
            section
        };
        let mut traces = step.layers.iter_mut();
        for moe in a.layers.iter().map(|layer| &layer.moe) {
            let [logits, selected, weights, dropped] = std::array::from_fn(|_| next());
            if moe.gate.is_some() {
                let (logits, weights): (Vec<f32>, Vec<f32>) = (pod_collect_to_vec(logits), pod_collect_to_vec(weights));
                let (selected, dropped): (Vec<u32>, Vec<u32>) =
                    (pod_collect_to_vec(selected), pod_collect_to_vec(dropped));
                let dropped: Vec<bool> = dropped.iter().map(|&flag| flag != 0).collect();
                record(
                    moe,
                    &logits,
                    &selected,
                    &weights,
                    &dropped,
                    traces.next().expect("a trace for every routed layer"),
                );
            }
        }
        step.logits = pod_collect_to_vec(next());
        step
    }
}

/// Groups of four numbers that hold `n`.
fn groups(n: usize) -> usize {
    n.div_ceil(4)
}

/// `n` rounded up to whole groups.
fn padded(n: usize) -> usize {
    groups(n) * 4
}

fn upload(gpu: &Gpu, label: &str, (dtype, bytes): (Dtype, Vec<u8>)) -> Result<(Dtype, Buffer)> {
    Ok((dtype, gpu.filled(label, &bytes)?))
}

fn upload_vector(gpu: &Gpu, vector: &Matrix<'_>) -> Result<Buffer> {
    let mut values: Vec<f32> = vector.values().collect();
    values.resize(padded(values.len()), 0.0);
    gpu.filled("norms", bytemuck::cast_slice(&values))
}
