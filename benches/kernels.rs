//! Times every kernel of the CPU engine, on the shapes of a Mixtral of width 512 with 8 experts of width 1,024 and a
//! vocabulary of 8,192, for one token and for a prompt. Also times what recording a token's routing adds. Run it with
//! `cargo bench --bench kernels`.
#![allow(missing_docs, reason = "criterion_group! makes a function without a comment")]

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use moescope::engine::{Engine, LogitsOf};
use moescope::kernels;
use moescope::kernels::attention::KvCache;
use moescope::kernels::choose::{GateVectors, Room};
use moescope::kernels::expert_ffn::{Expert, Scratch};
use moescope::kernels::gate::Batch;
use moescope::kernels::panels::Panels;
use moescope::kernels::settle::CapacityState;
use moescope::kernels::stored::Stored;
use moescope::model::{AttentionShape, Model, MoeShape, files};
use moescope::session::Session;
use moescope::shape::{Activation, NONE, Rope, Setting};
use std::hint::black_box;
use std::path::Path;

const WIDTH: usize = 512;
const VOCABULARY: usize = 8192;
const CONTEXT: usize = 512;
const ATTENTION: AttentionShape = AttentionShape::new(8, 8, 64, 10_000.0);
/// Tokens of a step: a decode step and a prefill step.
const TOKENS: [usize; 2] = [1, 256];

type Group<'a> = BenchmarkGroup<'a, criterion::measurement::WallTime>;

fn experts_shape() -> MoeShape {
    MoeShape::mixtral(8, 2, 1024)
}

/// Numbers in `-0.5..0.5`, the same in every run.
fn floats(count: usize) -> Vec<f32> {
    (0..count as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 16) as f32 / 65_536.0 - 0.5).collect()
}

fn panels(rows: usize, cols: usize) -> Stored {
    Stored::F32(Panels::from_rows(rows, cols, &floats(rows * cols)))
}

/// Times a kernel that reads `weights` weights once in a step.
fn each(criterion: &mut Criterion, name: &str, weights: usize, mut case: impl FnMut(&mut Group<'_>, String, usize)) {
    let mut group = criterion.benchmark_group(name);
    for tokens in TOKENS {
        match tokens {
            1 => group.throughput(Throughput::Bytes(4 * weights as u64)),
            _ => group.throughput(Throughput::Elements((weights * tokens) as u64)),
        };
        case(&mut group, format!("{tokens} tokens"), tokens);
    }
}

fn products(criterion: &mut Criterion) {
    let (output, head, x) = (panels(WIDTH, WIDTH), panels(VOCABULARY, WIDTH), floats(256 * WIDTH));
    each(criterion, "linear", WIDTH * WIDTH, |group, name, tokens| {
        let mut y = vec![0.0; tokens * WIDTH];
        group.bench_function(name, |bencher| {
            bencher.iter(|| kernels::linear::linear_add(&x[..tokens * WIDTH], &output, &mut y));
        });
    });
    each(criterion, "lm_head", VOCABULARY * WIDTH, |group, name, tokens| {
        let mut logits = vec![0.0; tokens * VOCABULARY];
        group.bench_function(name, |bencher| {
            bencher.iter(|| kernels::lm_head::lm_head(0, &x[..tokens * WIDTH], &head, &[], 1.0, &mut logits));
        });
    });
    each(criterion, "embed", 1, |group, name, tokens| {
        let ids: Vec<u32> = (0..tokens as u32).map(|n| n * 31 % VOCABULARY as u32).collect();
        let mut x = vec![0.0; tokens * WIDTH];
        group.bench_function(name, |bencher| bencher.iter(|| kernels::embed::embed(&ids, &head, 1.0, &mut x)));
    });
}

fn attention(criterion: &mut Criterion) {
    let (weights, x) = (panels(ATTENTION.qkv_rows(), WIDTH), floats(256 * WIDTH));
    let angles = kernels::angles::angles(CONTEXT, &Rope::new(10_000.0, ATTENTION.head_dim));
    let mut cache = KvCache::new(CONTEXT, &ATTENTION);
    each(criterion, "qkv", ATTENTION.qkv_rows() * WIDTH, |group, name, tokens| {
        let (mut q, mut scratch) = (vec![0.0; tokens * WIDTH], vec![0.0; tokens * ATTENTION.qkv_rows()]);
        group.bench_function(name, |bencher| {
            let x = &x[..tokens * WIDTH];
            bencher.iter(|| {
                kernels::qkv::qkv(0, &ATTENTION, x, &weights, &[], &angles, &mut q, &mut cache, &mut scratch);
            });
        });
    });
    // After 256 tokens.
    each(criterion, "attention", 256 * 2 * WIDTH, |group, name, tokens| {
        let (mut out, mut scores) = (vec![0.0; tokens * WIDTH], vec![0.0; kernels::attention::scratch(CONTEXT)]);
        group.bench_function(name, |bencher| {
            let q = &x[..tokens * WIDTH];
            bencher.iter(|| kernels::attention::attention(256, &ATTENTION, q, &cache, &[], &mut out, &mut scores));
        });
    });
    each(criterion, "rms_norm", WIDTH, |group, name, tokens| {
        let (scale, mut y) = (vec![1.0; WIDTH], vec![0.0; tokens * WIDTH]);
        group.bench_function(name, |bencher| {
            bencher.iter(|| kernels::rms_norm::rms_norm(&x[..tokens * WIDTH], &scale, &mut y, 1e-5));
        });
    });
}

/// Times the kernels of a layer's experts, each on the output of the one before it.
fn experts(criterion: &mut Criterion) {
    let shape = experts_shape();
    let (experts, choices, inner) = (shape.experts, shape.top_k, shape.intermediate);
    let (router, x) = (panels(experts, WIDTH), floats(256 * WIDTH));
    let expert = || Expert {
        up: panels(2 * inner, WIDTH),
        down: panels(WIDTH, inner),
        up_bias: Vec::new(),
        down_bias: Vec::new(),
    };
    let weights: Vec<Expert> = (0..experts).map(|_| expert()).collect();
    let settings = [Setting::own(&shape, CONTEXT)];
    let ids = vec![5; 256];
    for tokens in TOKENS {
        let (x, assigned) = (&x[..tokens * WIDTH], tokens * choices);
        let batch = Batch { layer: 0, start: 0, ids: &ids[..tokens] };
        let mut router_logits = vec![0.0; tokens * experts];
        let (mut selected, mut route_weights) = (vec![0; assigned], vec![0.0; assigned]);
        let (mut history, mut dropped) = (vec![NONE; CONTEXT * choices], vec![false; assigned]);
        let (mut assignments, mut offsets) = (vec![0; assigned], vec![0; experts + 1]);
        let (mut hidden, mut y) = (vec![0.0; assigned * inner], vec![0.0; assigned * WIDTH]);
        let (mut out, mut normed, mut scratch) = (x.to_vec(), x.to_vec(), Scratch::default());
        let (none, mut room) = (GateVectors::default(), Room::default());
        let name = format!("{tokens} tokens");

        criterion.benchmark_group("gate").bench_function(&name, |bencher| {
            let (logits, selected, weights) = (&mut router_logits, &mut selected, &mut route_weights);
            bencher.iter(|| {
                let room = &mut room;
                kernels::gate::gate(batch, &shape, &settings, x, &router, &none, room, logits, selected, weights);
            });
        });
        criterion.benchmark_group("settle").bench_function(&name, |bencher| {
            let (selected, weights) = (&mut selected, &mut route_weights);
            bencher.iter(|| {
                let taken = CapacityState { history: &mut history, dropped: &mut dropped };
                let (logits, room) = (&router_logits, &mut room);
                kernels::settle::settle(batch, &shape, &settings, logits, &none, room, taken, selected, weights);
            });
        });
        criterion.benchmark_group("dispatch").bench_function(&name, |bencher| {
            bencher.iter(|| kernels::dispatch::dispatch(&selected, &route_weights, &mut assignments, &mut offsets));
        });
        let mut group = criterion.benchmark_group("expert_ffn");
        group.throughput(match tokens {
            1 => Throughput::Bytes((4 * choices * 2 * inner * WIDTH) as u64),
            _ => Throughput::Elements((assigned * 2 * inner * WIDTH) as u64),
        });
        group.bench_function(format!("up, {name}"), |bencher| {
            bencher.iter(|| {
                let swiglu = Activation::SwiGlu;
                kernels::expert_ffn::up(x, &assignments, &offsets, &weights, swiglu, &mut hidden, &mut scratch);
            });
        });
        group.throughput(match tokens {
            1 => Throughput::Bytes((4 * choices * inner * WIDTH) as u64),
            _ => Throughput::Elements((assigned * inner * WIDTH) as u64),
        });
        group.bench_function(format!("down, {name}"), |bencher| {
            bencher.iter(|| {
                kernels::expert_ffn::down(&hidden, &assignments, &offsets, &weights, &mut y, &mut scratch);
            });
        });
        group.finish();
        criterion.benchmark_group("combine").bench_function(&name, |bencher| {
            let scale = vec![1.0; WIDTH];
            bencher.iter(|| {
                kernels::combine::combine(&y, &route_weights, 1.0, &mut out, Some((&scale, 1e-5)), &mut normed);
            });
        });
    }
}

/// Times a decode step of the shipped model by the engine alone, and by a session, which records the routing in a
/// trace.
fn recording(criterion: &mut Criterion) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("www/models/main");
    let model = Model::new(&files::read_dir(&directory).expect("the shipped model")).expect("it is whole");
    let mut group = criterion.benchmark_group("a token of main");
    let mut engine = Engine::cpu(&model).expect("it fits");
    group.bench_function("engine", |bencher| {
        bencher.iter(|| {
            engine.truncate(0);
            pollster::block_on(engine.step(black_box(&[300]), LogitsOf::Last)).expect("it runs");
        });
    });
    let mut session = Session::new(Engine::cpu(&model).expect("it fits"));
    group.bench_function("session, with its trace", |bencher| {
        bencher.iter(|| pollster::block_on(session.run_routing(black_box(&[300]), None)).expect("it runs"));
    });
}

criterion_group!(benches, products, attention, experts, recording);
criterion_main!(benches);
