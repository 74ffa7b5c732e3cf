//! Compares every WGSL kernel with its CPU twin, on usual sizes and unusual ones: one token, one expert, sizes that are
//! no multiple of a tile, every format of weights, all product forms. Fails for a shader without a twin or a case.

mod bench;
mod families;
#[path = "../golden/gate_cases.rs"]
mod gate_cases;

use bench::{Bench, Floats, Random};
use libtest_mimic::{Arguments, Trial};
use moescope::engine::gpu::pack;
use moescope::engine::gpu::policy::words as policy_words;
use moescope::engine::gpu::shader::{KERNELS, ROWS};
use moescope::engine::gpu::software::Form;
use moescope::engine::gpu::tile::Tile;
use moescope::engine::gpu::upload::gate_vectors as packed_vectors;
use moescope::kernels::attention::KvCache;
use moescope::kernels::choose::{GateVectors, Room, Scores, route};
use moescope::kernels::copy_heads::Heads;
use moescope::kernels::dispatch::tiles;
use moescope::kernels::expert_ffn::{Expert, Scratch};
use moescope::kernels::gate::Batch;
use moescope::kernels::settle::CapacityState;
use moescope::kernels::stored::Stored;
use moescope::kernels::{self, NAMES};
use moescope::routing::Policy;
use moescope::shape::{
    Activation, Architecture, AttentionShape, Dtype, Gate, GateKind, GroupLimit, GroupScore, LayerShape, MoeShape,
    NONE, Rope, Setting, StateSpaceShape, setting_at,
};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

const DTYPES: [Dtype; 12] = Dtype::ALL;

/// Runs the cases of one kernel.
type Case = fn(&mut Bench, &mut Random);

const CASES: [(&str, Case); 22] = [
    ("attention", attention),
    ("combine", combine),
    ("convolve", convolve),
    ("convolve_silu", convolve_silu),
    ("copy_heads", copy_heads),
    ("dispatch", dispatch),
    ("embed", embed),
    ("expert_ffn", expert_ffn),
    ("gate", gate),
    ("gate_rows", gate_rows),
    ("head_linear", head_linear),
    ("layer_norm", layer_norm),
    ("linear", linear),
    ("lm_head", lm_head),
    ("norm_rows", norm_rows),
    ("post_norm", post_norm),
    ("qkv", qkv),
    ("rms_norm", rms_norm),
    ("sample", sample),
    ("scan", scan),
    ("settle", settle),
    ("shared_gate", shared_gate),
];

/// The repository's path: MOESCOPE_ROOT, or the path at compile time.
fn root() -> PathBuf {
    std::env::var_os("MOESCOPE_ROOT").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
}

fn every_shader_has_a_twin_and_a_case() {
    let root = root();
    let files = |dir: &str, end: &str| -> BTreeSet<String> {
        let entries =
            std::fs::read_dir(root.join(dir)).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        entries.filter_map(|name| name.strip_suffix(end).map(str::to_owned)).collect()
    };
    let shaders = files("shaders", ".wgsl");
    let named = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!(shaders, named(NAMES.to_vec()), "shaders/ against kernels::NAMES");
    assert_eq!(shaders, named(CASES.iter().map(|(name, _)| *name).collect()), "shaders/ against the cases here");
    assert_eq!(
        shaders,
        named(KERNELS.iter().map(|kernel| kernel.name).collect()),
        "shaders/ against the engine's table"
    );
    let twins = files("src/kernels", ".rs");
    assert!(shaders.is_subset(&twins), "a shader has no twin in src/kernels: {:?}", shaders.difference(&twins));
}

/// The case of one kernel, as this form of it runs.
fn agrees_with_its_twin(name: &str, case: Case, form: Form) {
    let mut bench = Bench::open();
    bench.set_form(form);
    case(&mut bench, &mut Random(7));
    assert!(bench.compared > 0, "the case of {name} compared nothing");
}

fn gates_agree_with_the_routers_of_families() {
    let mut bench = Bench::open();
    bench.set_form(Form::Gpu);
    families::agrees_with_the_routers_of_families(&mut bench, &root());
}

/// Checks that on a software adapter the form with quads, which only software adapters use, is tested.
fn a_software_adapter_has_quads() {
    let bench = Bench::open();
    assert!(bench.form() == Form::Gpu || bench.forms().contains(&Form::Software { quads: true }), "no quads here");
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let test = |name: &str, run: fn()| {
        Trial::test(name, move || {
            run();
            Ok(())
        })
    };
    let mut tests = vec![
        test("every_shader_has_a_twin_and_a_case", every_shader_has_a_twin_and_a_case),
        test("a_software_adapter_has_quads", a_software_adapter_has_quads),
        test("gates_agree_with_the_routers_of_families", gates_agree_with_the_routers_of_families),
    ];
    for (name, case) in CASES {
        for form in Bench::open().forms() {
            let run = move || {
                agrees_with_its_twin(name, case, form);
                Ok(())
            };
            tests.push(Trial::test(format!("{name}::{}", form_name(form)), run));
        }
    }
    libtest_mimic::run(&arguments, tests).exit_code()
}

fn form_name(form: Form) -> &'static str {
    match form {
        Form::Gpu => "as_on_a_gpu",
        Form::Software { quads: false } => "as_on_a_software_adapter",
        Form::Software { quads: true } => "as_on_a_software_adapter_with_quads",
    }
}

/// Every format of weights with every form of a product.
fn forms(bench: &Bench) -> Vec<(Dtype, Tile)> {
    DTYPES.into_iter().flat_map(|dtype| bench.tiles().into_iter().map(move |tile| (dtype, tile))).collect()
}

/// The sizes to test for weights of `dtype`: only the first two for formats with blocks, which round them up.
fn some<S, const N: usize>(dtype: Dtype, sizes: [S; N]) -> impl Iterator<Item = S> {
    sizes.into_iter().take(if dtype.is_block() { 2 } else { N })
}

fn embed(bench: &mut Bench, random: &mut Random) {
    for dtype in DTYPES {
        for (vocabulary, width, tokens) in some(dtype, [(2048, 128, 64), (61, 30, 3), (5, 1, 1), (150_000, 4, 9)]) {
            let width = usize::next_multiple_of(width, dtype.block());
            let weights = random.matrix(dtype, vocabulary, width);
            let ids: Vec<u32> = (0..tokens).map(|_| random.below(vocabulary)).collect();
            let mut x = vec![0.0; tokens * width];
            kernels::embed::embed(&ids, &Stored::as_is(&[weights.view()]), 12.0, &mut x);
            let groups = width.div_ceil(4);
            let run = bench.kernel("embed", dtype, Tile::One).constant("GROUPS", groups);
            let run = run.real("SCALE", 12.0).tokens(0, tokens);
            let out =
                run.read(&ids).weights(&[&weights]).write(tokens * groups * 4).run([(tokens * groups).div_ceil(64), 1]);
            bench.same("embed", &out[0].rows(groups * 4, width), &x);
        }
    }
}

fn rms_norm(bench: &mut Bench, random: &mut Random) {
    for (width, tokens) in [(128, 64), (512, 1), (30, 5), (3, 2), (1, 1)] {
        let (x, scale) = (random.floats(tokens * width), random.floats(width));
        let mut y = vec![0.0; x.len()];
        kernels::rms_norm::rms_norm(&x, &scale, &mut y, 1e-5);
        let groups = width.div_ceil(4);
        let run = bench.kernel("rms_norm", Dtype::F32, Tile::One).constant("GROUPS", groups);
        let run = run.constant("WIDTH", width).real("EPS", 1e-5).tokens(0, tokens);
        let run = run.read_rows(&x, width).read_rows(&scale, width).write(tokens * groups * 4);
        let out = run.run([tokens, 1]);
        bench.same("rms_norm", &out[0].rows(groups * 4, width), &y);
    }
}

fn sample(bench: &mut Bench, random: &mut Random) {
    for vocabulary in [2048, 300, 61, 1, 150_000] {
        for (temperature, seed) in [(0.0f32, 1u64), (0.8, 1), (0.8, 1 << 40), (3.0, 7)] {
            for start in 0..8 {
                let logits: Vec<f32> = random.floats(2 * vocabulary).iter().map(|x| 4.0 * x).collect();
                let last = &logits[vocabulary..];
                let expected = kernels::sample::sample(last, temperature, seed, start + 3);
                let words = [temperature.to_bits(), seed as u32, (seed >> 32) as u32];
                let run = bench.kernel("sample", Dtype::F32, Tile::One).constant("VOCABULARY", vocabulary);
                let run = run.tokens(start, 3).logits_from(1).read(&logits).read(&words).write(1);
                let out = run.run([1, 1]);
                bench.equal("sample", &out[0].ids()[..1], &[expected]);
            }
        }
    }
    // The first of equal ones.
    let run = bench.kernel("sample", Dtype::F32, Tile::One).constant("VOCABULARY", 300).tokens(0, 1);
    let out = run.read(&[-1.0f32; 300]).read(&[0u32, 1, 0]).write(1).run([1, 1]);
    bench.equal("sample", &out[0].ids()[..1], &[kernels::sample::sample(&[-1.0; 300], 0.0, 1, 1)]);
}

/// Written or added, with and without a bias.
fn linear(bench: &mut Bench, random: &mut Random) {
    for (n, (dtype, tile)) in forms(bench).into_iter().enumerate() {
        let sizes = [(128, 256, 64), (30, 27, 3), (512, 100, 9), (7, 1, 1), (1, 17, 8)];
        for (inputs, outputs, tokens) in some(dtype, sizes) {
            let inputs = usize::next_multiple_of(inputs, dtype.block());
            let (add, has_bias) = ((n + outputs) % 3 > 0, (n + inputs) % 2 == 0);
            let weights = random.matrix(dtype, outputs, inputs);
            let (x, start) = (random.floats(tokens * inputs), random.floats(tokens * outputs));
            let bias = if has_bias { random.floats(outputs) } else { Vec::new() };
            let mut y = start.clone();
            let (stored, add_scale) = (Stored::as_is(&[weights.view()]), add.then_some(0.22));
            kernels::linear::linear_with(&x, &stored, &bias, add_scale, &mut y);
            let stride = outputs.next_multiple_of(4);
            let run = bench.kernel("linear", dtype, tile).constant("GROUPS", inputs.div_ceil(4));
            let run = run.constant("OUTPUTS", outputs).constant("STRIDE", stride);
            let run = run.constant("BIAS", usize::from(has_bias)).constant("ADD", usize::from(add));
            let run = run.real("MULTIPLIER", f64::from(0.22f32)).tokens(0, tokens).read_rows(&x, inputs);
            let run = run.weights(&[&weights]).read_vector(&bias).write_rows(&start, outputs);
            let out = run.product(outputs.div_ceil(ROWS), tokens.div_ceil(tile.tokens()));
            bench.same("linear", &out[0].rows(stride, outputs), &y);
        }
    }
}

fn lm_head(bench: &mut Bench, random: &mut Random) {
    for tile in bench.tiles() {
        for (inputs, vocabulary, tokens, from) in
            [(128, 2048, 20, 0), (128, 2048, 20, 19), (30, 61, 13, 4), (1, 1, 1, 0), (8, 150_000, 2, 1)]
        {
            let weights = random.matrix(Dtype::F16, vocabulary, inputs);
            let x = random.floats(tokens * inputs);
            let bias = if inputs == 30 { random.floats(vocabulary) } else { Vec::new() };
            let mut logits = vec![0.0; (tokens - from) * vocabulary];
            kernels::lm_head::lm_head(from, &x, &Stored::as_is(&[weights.view()]), &bias, 0.5, &mut logits);
            let run = bench.kernel("lm_head", Dtype::F16, tile).constant("GROUPS", inputs.div_ceil(4));
            let run = run.constant("OUTPUTS", vocabulary).tokens(0, tokens).logits_from(from);
            let run = run.real("SCALE", 0.5).constant("BIAS", usize::from(!bias.is_empty()));
            let run = run.read_rows(&x, inputs).weights(&[&weights]).read_vector(&bias).write(logits.len());
            let out = run.product(vocabulary.div_ceil(ROWS), (tokens - from).div_ceil(tile.tokens()));
            bench.same("lm_head", &out[0].floats()[..logits.len()], &logits);
        }
    }
}

fn layer_norm(bench: &mut Bench, random: &mut Random) {
    for (width, tokens) in [(128, 64), (512, 1), (30, 5), (3, 2)] {
        let (x, scale, bias) = (random.floats(tokens * width), random.floats(width), random.floats(width));
        let mut y = vec![0.0; x.len()];
        kernels::layer_norm::layer_norm(&x, &scale, &bias, &mut y, 1e-5);
        let groups = width.div_ceil(4);
        let run = bench.kernel("layer_norm", Dtype::F32, Tile::One).constant("GROUPS", groups);
        let run = run.constant("WIDTH", width).real("EPS", 1e-5).tokens(0, tokens).read_rows(&x, width);
        let run = run.read_rows(&scale, width).read_rows(&bias, width).write(tokens * groups * 4);
        let out = run.run([tokens, 1]);
        bench.same("layer_norm", &out[0].rows(groups * 4, width), &y);
    }
}

/// Heads one by one, all heads together, and a part of a row.
fn norm_rows(bench: &mut Bench, random: &mut Random) {
    for (row, offset, count, width, tokens) in
        [(128, 0, 8, 16, 64), (30, 10, 1, 13, 5), (9, 3, 2, 3, 1), (512, 0, 1, 512, 2)]
    {
        let (mut x, scale) = (random.floats(tokens * row), random.floats(width));
        let stride = row.next_multiple_of(4);
        let run = bench.kernel("norm_rows", Dtype::F32, Tile::One).constant("ROW", stride);
        let run = run.constant("OFFSET", offset).constant("WIDTH", width).real("EPS", 1e-5).tokens(0, tokens);
        let out = run.read_vector(&scale).write_rows(&x, row).run([count, tokens]);
        kernels::norm_rows::norm_rows(&mut x, &scale, row, offset, count, 1e-5);
        bench.same("norm_rows", &out[0].rows(stride, row), &x);
    }
}

/// Whole heads and parts of them, by halves and in pairs, to a step's rows and to a text's; one head for all.
fn copy_heads(bench: &mut Bench, random: &mut Random) {
    let heads = |row, offset, stride, count, dim, turned, interleaved| Heads {
        row,
        offset,
        stride,
        count,
        dim,
        turned,
        interleaved,
    };
    let cases = [
        (heads(64, 0, 16, 4, 16, (0, 16), false), 0, 16),
        (heads(65, 3, 10, 3, 10, (0, 4), true), 0, 10),
        (heads(40, 0, 20, 2, 12, (4, 8), true), 0, 12),
        (heads(6, 0, 0, 3, 6, (0, 6), true), 5, 11),
        (heads(30, 2, 14, 2, 7, (0, 0), false), 1, 9),
        (heads(48, 0, 12, 4, 12, (2, 6), false), 0, 12),
    ];
    for (heads, at, to_dim) in cases {
        for (is_cache, start, tokens) in [(false, 7, 9), (true, 7, 9), (true, 0, 1)] {
            let angles = kernels::angles::angles(start + tokens, &Rope::new(1e4, heads.turned.1));
            let (x, rows) = (random.floats(tokens * heads.row), if is_cache { start + tokens } else { tokens });
            let mut expected = vec![0.0; rows * heads.count * to_dim];
            kernels::copy_heads::copy_heads(start, &heads, &x, &angles, |t, head, i, x| {
                let row = if is_cache { start + t } else { t };
                expected[(row * heads.count + head) * to_dim + at + i] = x;
            });
            let stride = to_dim.next_multiple_of(4);
            let run = bench.kernel("copy_heads", Dtype::F32, Tile::One).constant("ROW", heads.row.next_multiple_of(4));
            let run = run.constant("OFFSET", heads.offset).constant("HEAD_STRIDE", heads.stride);
            let run = run.constant("HEADS", heads.count).constant("DIM", heads.dim).constant("FIRST", heads.turned.0);
            let run = run.constant("PAIRS", heads.turned.1 / 2).constant("AT", at).constant("TO_STRIDE", stride);
            let run = run.constant("INTERLEAVED", usize::from(heads.interleaved)).tokens(start, tokens);
            let run = run.constant("CACHE", usize::from(is_cache)).constant("TO_ROW", heads.count * stride);
            let run = run.read_rows(&x, heads.row);
            let run = run.read_vector(angles.as_flattened()).write(rows * heads.count * stride);
            let out = run.run([(tokens * heads.count * heads.dim).div_ceil(64), 1]);
            bench.same("copy_heads", &out[0].rows(stride, to_dim), &expected);
        }
    }
}

/// At the start of a text and later, with kernels longer than the text.
fn convolve(bench: &mut Bench, random: &mut Random) {
    for (width, positions, start, tokens) in [(64, 3, 0, 9), (30, 3, 5, 4), (7, 4, 1, 1), (5, 1, 2, 3), (4, 9, 0, 2)] {
        let context = start + tokens;
        let (parts, kernel) = (random.floats(tokens * 3 * width), random.floats(width * positions));
        let bias = if width == 30 { Vec::new() } else { random.floats(width) };
        let before = random.floats(context * width);
        let (mut inputs, mut y) = (before.clone(), vec![0.0; tokens * width]);
        kernels::convolve::convolve(start, positions, &parts, &kernel, &bias, &mut inputs, &mut y);
        let (row, stride) = ((3 * width).next_multiple_of(4), width.next_multiple_of(4));
        let run = bench.kernel("convolve", Dtype::F32, Tile::One).constant("WIDTH", width).constant("ROW", row);
        let run = run.constant("STRIDE", stride).constant("POSITIONS", positions).tokens(start, tokens);
        let run = run.constant("BIAS", usize::from(!bias.is_empty()));
        let run = run.read_rows(&parts, 3 * width).read_vector(&kernel).read_vector(&bias);
        let out = run.write_rows(&before, width).write(tokens * stride).run([(tokens * width).div_ceil(64), 1]);
        bench.same("convolve: inputs", &out[0].rows(stride, width), &inputs);
        bench.same("convolve", &out[1].rows(stride, width), &y);
    }
}

/// At the start of a text and later, steps shorter and longer than the kernel.
fn convolve_silu(bench: &mut Bench, random: &mut Random) {
    for (channels, positions, offset, start, tokens) in
        [(64, 4, 8, 0, 9), (30, 3, 5, 5, 4), (7, 4, 0, 1, 1), (100, 1, 3, 2, 3), (4, 9, 1, 7, 2)]
    {
        let row = offset + channels + 3;
        let (x, kernel) = (random.floats(tokens * row), random.floats(channels * positions));
        let bias = if channels == 30 { Vec::new() } else { random.floats(channels) };
        let before = random.floats((positions - 1) * channels);
        let (mut tail, mut y) = (before.clone(), vec![0.0; tokens * channels]);
        kernels::convolve_silu::convolve_silu(start, positions, &x, row, offset, &kernel, &bias, &mut tail, &mut y);
        let stride = channels.next_multiple_of(4);
        let run = bench.kernel("convolve_silu", Dtype::F32, Tile::One).constant("ROW", row.next_multiple_of(4));
        let run = run.constant("OFFSET", offset).constant("CHANNELS", channels).constant("STRIDE", stride);
        let run = run.constant("POSITIONS", positions).constant("BIAS", usize::from(!bias.is_empty()));
        let run = run.tokens(start, tokens).read_rows(&x, row).read_vector(&kernel).read_vector(&bias);
        let run = run.write_rows(&before, before.len().max(1)).write(tokens * stride);
        let out = run.run([channels.div_ceil(64), 1]);
        bench.same("convolve_silu: tail", &out[0].floats()[..tail.len()], &tail);
        bench.same("convolve_silu", &out[1].rows(stride, channels), &y);
    }
}

/// At the start of a text and later; step sizes that are large, small and negative.
fn scan(bench: &mut Bench, random: &mut Random) {
    for (heads, head_dim, numbers, start, tokens) in
        [(4, 16, 12, 0, 9), (3, 10, 7, 5, 4), (1, 1, 1, 1, 1), (6, 64, 128, 3, 20)]
    {
        let shape = StateSpaceShape { heads, head_dim, state: numbers, positions: 2, kernel_bias: false, bias: false };
        let (inner, channels, row) = (shape.inner(), shape.channels(), shape.rows());
        let x = random.floats(tokens * channels);
        let projected: Vec<f32> = random.floats(tokens * row).iter().map(|x| 12.0 * x).collect();
        let [bias, decay, skip] = [(); 3].map(|()| random.floats(heads));
        let before = random.floats(inner * numbers);
        let (mut state, mut y) = (before.clone(), vec![0.0; tokens * inner]);
        kernels::scan::scan(start, &shape, &x, &projected, &bias, &decay, &skip, &mut state, &mut y);
        let [x_stride, row_stride, stride] = [channels, row, inner].map(|n| n.next_multiple_of(4));
        let run = bench.kernel("scan", Dtype::F32, Tile::One).constant("HEAD_DIM", head_dim).constant("INNER", inner);
        let run = run.constant("STATE", numbers).constant("X_STRIDE", x_stride).constant("ROW", row_stride);
        let run = run.constant("OFFSET", row - heads).constant("STRIDE", stride).tokens(start, tokens);
        let run = run.read_rows(&x, channels).read_rows(&projected, row);
        let run = run.read_vector(&bias).read_vector(&decay).read_vector(&skip);
        let out = run.write_rows(&before, before.len()).write(tokens * stride).run([inner.div_ceil(64), 1]);
        bench.same("scan: state", &out[0].floats()[..state.len()], &state);
        bench.same("scan", &out[1].rows(stride, inner), &y);
    }
}

/// Gates in a row of their own and at the beginning of a longer one.
fn gate_rows(bench: &mut Bench, random: &mut Random) {
    for (width, row, tokens, silu) in [(128, 128, 9, false), (30, 37, 4, true), (1, 1, 1, true), (7, 9, 70, false)] {
        let gates: Vec<f32> = random.floats(tokens * row).iter().map(|x| 8.0 * x).collect();
        let before = random.floats(tokens * width);
        let mut y = before.clone();
        kernels::gate_rows::gate_rows(&gates, &mut y, row, width, silu);
        let stride = width.next_multiple_of(4);
        let run = bench.kernel("gate_rows", Dtype::F32, Tile::One).constant("ROW", row.next_multiple_of(4));
        let run = run.constant("WIDTH", width).constant("STRIDE", stride).constant("SILU", usize::from(silu));
        let run = run.tokens(0, tokens).read_rows(&gates, row).write_rows(&before, width);
        let out = run.run([(tokens * width).div_ceil(64), 1]);
        bench.same("gate_rows", &out[0].rows(stride, width), &y);
    }
}

/// Heads whose parts follow each other or have gaps, with every format; sizes that are no multiple of a panel.
fn head_linear(bench: &mut Bench, random: &mut Random) {
    for dtype in DTYPES {
        for (heads, inputs, outputs, gap, tokens) in
            some(dtype, [(4, 32, 16, 4, 9), (3, 12, 11, 0, 4), (1, 1, 1, 3, 1)])
        {
            let inputs = usize::next_multiple_of(inputs, dtype.block());
            let (stride, row) = (inputs + gap, heads * (inputs + gap));
            let matrices: Vec<_> = (0..heads).map(|_| random.matrix(dtype, outputs, inputs)).collect();
            let stored: Vec<Stored> = matrices.iter().map(|matrix| Stored::as_is(&[matrix.view()])).collect();
            let (x, mut y) = (random.floats(tokens * row), vec![0.0; tokens * heads * outputs]);
            kernels::head_linear::head_linear(&x, &stored, &mut y, row, stride, &mut Vec::new());
            let all = heads * outputs;
            let run = bench.kernel("head_linear", dtype, Tile::One).constant("ROW", row.next_multiple_of(4));
            let run = run.constant("HEAD_STRIDE", stride).constant("INPUTS", inputs).constant("OUTPUTS", outputs);
            let run = run.constant("GROUPS", inputs.div_ceil(4)).constant("HEADS", heads);
            let run = run.constant("STRIDE", all.next_multiple_of(4)).tokens(0, tokens).read_rows(&x, row);
            let views: Vec<_> = matrices.iter().map(|matrix| matrix.view()).collect();
            let run = run.read(&pack::stack(dtype, &views)).write(tokens * all.next_multiple_of(4));
            let out = run.run([(tokens * all).div_ceil(64), 1]);
            bench.same("head_linear", &out[0].rows(all.next_multiple_of(4), all), &y);
        }
    }
}

/// The residual stream is held, and comes back with a normed sum.
fn post_norm(bench: &mut Bench, random: &mut Random) {
    for (width, tokens, hold) in [(128, 64, true), (128, 64, false), (30, 5, true), (30, 5, false), (1, 1, false)] {
        let (mut x, mut held) = (random.floats(tokens * width), random.floats(tokens * width));
        let scale = random.floats(width);
        let groups = width.div_ceil(4);
        let run = bench.kernel("post_norm", Dtype::F32, Tile::One).constant("GROUPS", groups);
        let run = run.constant("WIDTH", width).real("EPS", 1e-5).constant("HOLD", usize::from(hold)).tokens(0, tokens);
        let out = run.read_rows(&scale, width).write_rows(&x, width).write_rows(&held, width).run([tokens, 1]);
        if hold {
            kernels::post_norm::hold(&mut x, &mut held);
        } else {
            kernels::post_norm::release(&scale, &mut x, &held, 1e-5);
        }
        bench.same("post_norm: x", &out[0].rows(groups * 4, width), &x);
        bench.same("post_norm: held", &out[1].rows(groups * 4, width), &held);
    }
}

fn shared_gate(bench: &mut Bench, random: &mut Random) {
    for (width, tokens) in [(128, 64), (30, 5), (1, 1)] {
        let (x, weights) = (random.floats(tokens * width), random.floats(width));
        let mut counts = vec![0.0; tokens];
        kernels::shared_gate::shared_gate(&x, &weights, &mut counts);
        let run = bench.kernel("shared_gate", Dtype::F32, Tile::One).constant("GROUPS", width.div_ceil(4));
        let out = run.tokens(0, tokens).read_rows(&x, width).read_rows(&weights, width).write(tokens).run([tokens, 1]);
        bench.same("shared_gate", &out[0].floats()[..tokens], &counts);
    }
}

/// Heads, key/value heads, the width of a head and a window: those of real models, odd ones, and wider than any.
const SHAPES: [(usize, usize, usize, Option<usize>); 9] = [
    (8, 2, 16, None),
    (4, 4, 32, Some(70)),
    (3, 1, 10, Some(5)),
    (1, 1, 2, None),
    (4, 2, 64, None),
    (2, 1, 128, None),
    (1, 1, 256, Some(66)),
    (2, 1, 258, None),
    (1, 1, 512, None),
];

fn attention_shape((heads, kv_heads, head_dim, window): (usize, usize, usize, Option<usize>)) -> AttentionShape {
    AttentionShape { window, ..AttentionShape::new(heads, kv_heads, head_dim, 1e4) }
}

fn qkv(bench: &mut Bench, random: &mut Random) {
    let (shapes, tiles) = (SHAPES.map(attention_shape), bench.tiles());
    for (shape, dtype, tile) in
        shapes.iter().cycle().zip(DTYPES).flat_map(|(s, dtype)| tiles.iter().map(move |&tile| (s, dtype, tile)))
    {
        for (width, start, tokens) in some(dtype, [(128, 0, 64), (7, 13, 9), (30, 70, 1)]) {
            let width = usize::next_multiple_of(width, dtype.block());
            let (context, dim) = (start + tokens, shape.head_dim);
            let stride = dim.next_multiple_of(4);
            let angles = kernels::angles::angles(context, shape.rope.as_ref().unwrap());
            let bias = if width == 30 { random.floats(shape.qkv_rows()) } else { Vec::new() };
            let (queries, keys) = (shape.query_width(), shape.kv_heads * dim);
            let matrices = [queries, keys, keys].map(|rows| random.matrix(dtype, rows, width));
            let views = matrices.each_ref().map(|matrix| matrix.view());
            let x = random.floats(tokens * width);
            let (mut q, mut scratch) = (vec![0.0; tokens * queries], vec![0.0; tokens * shape.qkv_rows()]);
            let mut cache = KvCache::new(context, shape);
            let panels = Stored::as_is(&views);
            kernels::qkv::qkv(start, shape, &x, &panels, &bias, &angles, &mut q, &mut cache, &mut scratch);
            let run = bench.kernel("qkv", dtype, tile).heads(shape).constant("DIM", dim).constant("DIM_STRIDE", stride);
            let run = run.constant("BIAS", usize::from(!bias.is_empty()));
            let run = run.constant("GROUPS", width.div_ceil(4)).tokens(start, tokens).read_rows(&x, width);
            let cached = context * shape.kv_heads * stride;
            let run = run
                .read(&pack::pairs(dtype, &views, dim))
                .read_vector(&bias)
                .read(angles.as_flattened())
                .write(tokens * shape.heads * stride)
                .write(cached)
                .write(cached);
            let out = run.product(2 * (shape.qkv_rows() / 2).div_ceil(ROWS), tokens.div_ceil(tile.tokens()));
            bench.same("qkv: q", &out[0].rows(stride, dim), &q);
            let (keys, values) = (out[1].rows(stride, dim), out[2].rows(stride, dim));
            let (mut expected_keys, mut expected_values) = (Vec::new(), Vec::new());
            for (position, head) in (0..context).flat_map(|p| (0..shape.kv_heads).map(move |h| (p, h))) {
                expected_keys.extend((0..dim).map(|i| cache.key(head, position, i)));
                expected_values.extend_from_slice(cache.value(head, position));
            }
            bench.same("qkv: keys", &keys, &expected_keys);
            bench.same("qkv: values", &values, &expected_values);
        }
    }
}

/// With values as wide as keys and of other widths, with and without sinks, with a scale of its own.
fn attention(bench: &mut Bench, random: &mut Random) {
    let widths = [None, None, Some(6), Some(12), None, Some(64), None, Some(20), None];
    for (n, (shape, value_dim)) in SHAPES.map(attention_shape).into_iter().zip(widths).enumerate() {
        let scale = if n % 2 == 0 { None } else { Some(0.3) };
        let shape = AttentionShape { value_dim: value_dim.unwrap_or(shape.value_dim), scale, ..shape };
        let sinks = if n % 3 == 1 { random.floats(shape.heads) } else { Vec::new() };
        for (start, tokens) in [(0, 1), (0, 64), (200, 3), (63, 2)] {
            let (context, dim, value_dim) = (start + tokens, shape.head_dim, shape.value_dim);
            let mut cache = KvCache::new(context, &shape);
            let (mut keys, mut values) = (Vec::new(), Vec::new());
            for (position, head) in (0..context).flat_map(|p| (0..shape.kv_heads).map(move |h| (p, h))) {
                let (key, value) = (random.floats(dim), random.floats(value_dim));
                key.iter().enumerate().for_each(|(i, &x)| cache.set_key(head, position, i, x));
                cache.set_value(head, position, &value);
                keys.extend(key);
                values.extend(value);
            }
            let q = random.floats(tokens * shape.query_width());
            let mut expected = vec![0.0; tokens * shape.output_width()];
            let mut scores = vec![0.0; kernels::attention::scratch(context)];
            kernels::attention::attention(start, &shape, &q, &cache, &sinks, &mut expected, &mut scores);
            let stride = shape.output_width().next_multiple_of(4);
            for tile in bench.tiles() {
                let together = bench.form().attended_together(tile);
                let run = bench.kernel("attention", Dtype::F32, tile).heads(&shape);
                let run = run.constant("DIM_GROUPS", dim.div_ceil(4)).constant("STRIDE", stride);
                let run = run.constant("VALUE_DIM", value_dim).constant("VALUE_GROUPS", value_dim.div_ceil(4));
                let run = run.real("SCALE", f64::from(shape.scale())).constant("SINKS", usize::from(!sinks.is_empty()));
                let run = run.constant("WINDOW", shape.window.unwrap_or(context)).tokens(start, tokens);
                let run = run.read_rows(&q, dim).read_rows(&keys, dim).read_rows(&values, value_dim);
                let run = run.read_vector(&sinks).write(tokens * stride);
                let out = run.run([shape.heads, tokens.div_ceil(together)]);
                bench.same("attention", &out[0].rows(stride, shape.output_width()), &expected);
            }
        }
    }
}

/// Every kind of gate, with and without shared experts.
/// The shapes of routed layers: gate, E, k, shared experts.
fn routed_shapes() -> Vec<MoeShape> {
    let (by_group, scaled) = (Gate::hierarchical(4, 2), Gate::sigmoid_bias(2.5));
    let shapes = [
        (Gate::new(GateKind::SoftmaxTopK), 8, 2, 0),
        (Gate::new(GateKind::SoftmaxTopK), 64, 8, 0),
        (Gate::new(GateKind::SoftmaxTopK), 1, 1, 0),
        (Gate::new(GateKind::SoftmaxTopK), 17, 17, 1),
        (Gate::new(GateKind::TopKOfSoftmax), 8, 1, 0),
        (Gate::new(GateKind::TopKOfSoftmax), 5, 3, 0),
        (by_group, 16, 4, 0),
        (by_group, 8, 2, 1),
        (scaled, 32, 8, 1),
        (scaled, 6, 6, 2),
        (Gate { renormalise: false, ..scaled }, 256, 10, 0),
        (limited(GroupScore::TwoBest, 8, 4, scaled), 256, 8, 0),
        (limited(GroupScore::TwoBest, 4, 2, Gate { epsilon: 1e-3, ..scaled }), 12, 4, 0),
        (limited(GroupScore::Max, 4, 1, Gate { scale: 1.5, ..Gate::softmax(false) }), 16, 3, 1),
        (Gate::new(GateKind::SoftmaxBias), 9, 3, 0),
        (Gate { least_sum: 0.5, ..Gate::new(GateKind::SoftmaxBias) }, 64, 6, 0),
        (Gate { least_sum: 0.3, epsilon: 0.01, ..Gate::softmax(true) }, 256, 10, 0),
        (Gate { renormalise: true, ..Gate::new(GateKind::SigmoidTopK) }, 12, 3, 0),
        (Gate::new(GateKind::SigmoidTopK), 16, 1, 1),
        (Gate { jitter: 0.2, ..Gate::new(GateKind::SparseMixer) }, 16, 2, 0),
        (Gate { jitter: 0.4, ..Gate::new(GateKind::SparseMixer) }, 7, 4, 0),
    ];
    let shape = |(gate, experts, top_k, shared)| MoeShape {
        gate: Some(gate),
        shared,
        noise: experts == 5,
        expert_scale: experts == 7 || experts == 9,
        router_bias: experts == 9 || experts == 17,
        ..MoeShape::mixtral(experts, top_k, 1)
    };
    shapes.map(shape).to_vec()
}

/// `gate`, but of `groups` groups only the experts of `per_token` may be chosen.
fn limited(score: GroupScore, groups: usize, per_token: usize, gate: Gate) -> Gate {
    Gate { group_limit: Some(GroupLimit { groups, per_token, score }), ..gate }
}

/// The vectors of a gate of this shape; some weights grow and some shrink by the experts' scales.
fn gate_vectors(shape: &MoeShape, random: &mut Random) -> GateVectors {
    let mut of = |is: bool, by: f32| match is {
        true => random.floats(shape.experts).iter().map(|x| by * x).collect(),
        false => Vec::new(),
    };
    let has_bias = shape.gate.is_some_and(|gate| gate.kind.has_bias());
    let mut vectors = GateVectors {
        bias: of(has_bias, 1.0),
        router_bias: of(shape.router_bias, 1.0),
        scale: of(shape.expert_scale, 0.5),
    };
    vectors.scale.iter_mut().for_each(|scale| *scale += 1.0);
    vectors
}

/// Policies for a layer of this shape: every field and every gate.
fn policies(shape: &MoeShape) -> Vec<Policy> {
    let experts = shape.experts;
    let mut rules = vec![
        r#"{"temperature": 0.5, "noise": 0.7, "seed": 3}"#.to_owned(),
        r#"{"capacity_factor": 0.6}"#.into(),
        r#"{"capacity_factor": 0.6, "overflow": "next-best"}"#.into(),
    ];
    if experts > 4 {
        rules.push(r#"{"swap": [[0, 3], [3, 4]], "capacity_factor": 0.7, "overflow": "next-best"}"#.into());
        let bias: Vec<f32> = (0..experts).map(|e| e as f32 * 0.1).collect();
        rules.push(format!(r#"{{"bias": {bias:?}}}"#));
        for gate in GateKind::OF_POLICIES.map(GateKind::name) {
            rules.push(format!(
                r#"{{"gate": "{gate}", "off": [2], "seed": 5{}}}"#,
                if gate == "soft" { "" } else { r#", "top_k": 2"# }
            ));
        }
        let tokens = r#"[{"gate": "softmax-top-k", "top_k": 3, "force": [4, 1]},
            {"tokens": [3, 9], "gate": "random", "top_k": 1},
            {"tokens": [8, 70], "gate": "expert-choice", "renormalise": true, "capacity_factor": 1.5}]"#;
        rules.push(tokens.into());
        rules.push(r#"{"gate": "top-k-of-softmax", "top_k": 4, "renormalise": true, "force": [1]}"#.into());
        rules.push(r#"{"gate": "sigmoid-bias", "top_k": 3, "renormalise": false}"#.into());
    }
    rules.iter().map(|rule| Policy::parse(rule).unwrap()).collect()
}

/// Each shape with the model's own gate and under valid policies: (shape with room, settings, whether a policy).
fn routings() -> Vec<(MoeShape, Vec<Setting>, bool)> {
    let mut routings = Vec::new();
    for (n, shape) in routed_shapes().into_iter().enumerate() {
        routings.push((shape.clone(), vec![Setting::own(&shape, 64)], false));
        // Only some shapes get policies, because compiling takes most of the time.
        if ![0, 5, 7, 9, 12, 14, 20].contains(&n) {
            continue;
        }
        let limited = MoeShape { capacity_factor: Some(0.7), ..shape.clone() };
        routings.push((limited.clone(), vec![Setting::own(&limited, 100)], false));
        let layers = vec![LayerShape::new(attention_shape((1, 1, 2, None)), shape.clone())];
        let model = Architecture { vocabulary: 1, hidden: 1, context: 128, layers, ..Architecture::default() };
        let settings = policies(&shape).into_iter().filter_map(|policy| policy.settings(&model).ok().flatten());
        let roomy = MoeShape { top_k: shape.experts, ..shape.clone() };
        routings.extend(settings.map(|mut layers| (roomy.clone(), layers.remove(0), true)));
    }
    assert!(routings.len() > 60, "only {} routings", routings.len());
    routings
}

fn gate(bench: &mut Bench, random: &mut Random) {
    for (n, (shape, settings, policy)) in routings().into_iter().enumerate() {
        let (width, tokens) = [(128, 64), (7, 1), (30, 5), (64, 33)][n % 4];
        let (rows, choices) = (shape.router_rows(), shape.choices());
        let weights = random.matrix(Dtype::F32, rows, width);
        let (x, vectors, start) = (random.floats(tokens * width), gate_vectors(&shape, random), [0, 9][n % 2]);
        let ids: Vec<u32> = (0..tokens).map(|_| random.below(50)).collect();
        let (mut logits, mut chosen) = (vec![0.0; tokens * rows], vec![0.0; tokens * choices]);
        let mut selected = vec![0; tokens * choices];
        let (twin, batch) = (Stored::as_is(&[weights.view()]), Batch { layer: 3, start, ids: &ids });
        let (room, logits_of) = (&mut Room::default(), &mut logits);
        kernels::gate::gate(batch, &shape, &settings, &x, &twin, &vectors, room, logits_of, &mut selected, &mut chosen);
        let run = bench.kernel("gate", Dtype::F32, Tile::One).choice(&shape, policy);
        let run = run.constant("GROUPS", width.div_ceil(4)).tokens(start, tokens).read_rows(&x, width);
        let run = run
            .weights(&[&weights])
            .read(&packed_vectors(shape.experts, &vectors))
            .read(&policy_words(3, &settings))
            .read(&ids);
        let out = run.write(logits.len()).write(chosen.len()).write(chosen.len()).run([tokens, 1]);
        bench.same("gate: router logits", &out[0].floats()[..logits.len()], &logits);
        bench.equal(&format!("gate: selected {settings:?}"), &out[1].ids()[..selected.len()], &selected);
        bench.same("gate: weights", &out[2].floats()[..chosen.len()], &chosen);
    }
    // All logits are equal, so the lower ids are chosen.
    let weights =
        bench::Weights { dtype: Dtype::F32, rows: 6, cols: 4, bytes: bytemuck::cast_slice(&[0.5f32; 24]).to_vec() };
    let shape = MoeShape::mixtral(6, 3, 1);
    let run = bench.kernel("gate", Dtype::F32, Tile::One).choice(&shape, false);
    let run = run.constant("GROUPS", 1).tokens(0, 1).read(&[1.0f32; 4]).weights(&[&weights]);
    let run = run.read(&packed_vectors(shape.experts, &GateVectors::default()));
    let out = run.read(&[0u32]).read(&[0u32]).write(6).write(3).write(3).run([1, 1]);
    bench.equal("gate: ties", &out[1].ids()[..3], &[0, 1, 2]);
}

/// Settles the gate's choices: under the model's own limits and policies, at the start of a text and later.
fn settle(bench: &mut Bench, random: &mut Random) {
    let (mut drops, mut shorter) = (0, 0);
    for (n, (shape, settings, policy)) in routings().into_iter().enumerate() {
        let limited = settings.iter().any(|setting| setting.limit.is_some());
        if !policy && !limited {
            continue;
        }
        let chooses = settings.iter().any(Setting::experts_choose);
        let (start, tokens) = if chooses { (0, 61) } else { [(0, 64), (30, 45), (63, 1), (60, 20)][n % 4] };
        let (rows, choices, context, k) = (shape.router_rows(), shape.choices(), 128, shape.top_k);
        // The state that the gate leaves.
        let (vectors, logits) = (gate_vectors(&shape, random), random.floats(tokens * rows));
        let mut room = Room::default();
        let ids: Vec<u32> = (0..tokens).map(|_| random.below(50)).collect();
        let batch = Batch { layer: 0, start, ids: &ids };
        let (mut selected, mut weights) = (vec![0; tokens * choices], vec![0.0; tokens * choices]);
        for t in 0..tokens {
            let scores = Scores { router_logits: &logits[t * rows..][..rows], vectors: &vectors, full: &[] };
            let (row, setting) = (t * choices..t * choices + k, setting_at(&settings, start + t));
            let (selected, weights) = (&mut selected[row.clone()], &mut weights[row]);
            route(setting, batch.place(t), &scores, &mut room, selected, weights);
        }
        for t in 0..tokens {
            for shared in 0..shape.shared {
                (selected[t * choices + k + shared], weights[t * choices + k + shared]) =
                    ((shape.experts + shared) as u32, 1.0);
            }
        }
        let (old_selected, old_weights) = (selected.clone(), weights.clone());
        let mut history: Vec<u32> = (0..context * k).map(|_| random.below(shape.experts)).collect();
        let old_history = history.clone();
        let mut dropped = vec![false; selected.len()];
        let taken = CapacityState { history: &mut history, dropped: &mut dropped };
        let (chosen, given) = (&mut selected, &mut weights);
        kernels::settle::settle(batch, &shape, &settings, &logits, &vectors, &mut room, taken, chosen, given);
        drops += dropped.iter().filter(|&&d| d).count();
        shorter += selected.iter().zip(&old_selected).filter(|(now, then)| **now == NONE && **then != NONE).count();

        let most = if policy { 0 } else { settings[0].limit.map_or(0, |limit| limit.most) };
        let run = bench.kernel("settle", Dtype::F32, Tile::One).choice(&shape, policy);
        let group = if policy { context } else { settings[0].limit.map_or(context, |limit| limit.group) };
        let run = run.constant("CAPACITY", most).constant("CONTEXT", group).tokens(start, tokens);
        let run = run
            .read(&logits)
            .read(&packed_vectors(shape.experts, &vectors))
            .read(&policy_words(0, &settings))
            .read(&ids);
        let run = run.read(&old_history).write(dropped.len()).read(&old_selected).read(&old_weights);
        let out = run.run([1, 1]);
        let what = format!("settle {settings:?} {shape:?} {start}+{tokens}");
        if limited {
            bench.equal(&format!("{what}: history"), &out[0].ids()[..history.len()], &history);
        }
        let flags: Vec<u32> = dropped.iter().map(|&flag| u32::from(flag)).collect();
        bench.equal(&format!("{what}: dropped"), &out[1].ids()[..flags.len()], &flags);
        bench.equal(&format!("{what}: selected"), &out[2].ids()[..selected.len()], &selected);
        bench.same("settle: weights", &out[3].floats()[..weights.len()], &weights);
    }
    assert!(drops > 0 && shorter > 0, "the cases should drop and shorten something");
}

/// With and without shared experts, dropped assignments and rows that end early.
fn dispatch(bench: &mut Bench, random: &mut Random) {
    let cases = [(8, 2, 0, 64), (100, 8, 0, 33), (1, 1, 0, 1), (5, 5, 1, 3), (4, 1, 0, 34), (4, 2, 1, 12)];
    for (tile, (experts, top_k, shared, tokens)) in bench.tiles().into_iter().flat_map(|t| cases.map(|c| (t, c))) {
        let (all, choices) = (experts + shared, top_k + shared);
        let row = |random: &mut Random| -> Vec<u32> {
            random.distinct(top_k, experts).into_iter().chain(experts as u32..all as u32).collect()
        };
        let mut selected: Vec<u32> = (0..tokens).flat_map(|_| row(random)).collect();
        let mut weights = random.floats(selected.len());
        weights.iter_mut().step_by(5).skip(1).for_each(|weight| *weight = 0.0);
        selected.iter_mut().step_by(7).skip(1).for_each(|expert| *expert = NONE);
        let (mut assignments, mut offsets) = (vec![0; selected.len()], vec![0; all + 1]);
        kernels::dispatch::dispatch(&selected, &weights, &mut assignments, &mut offsets);
        let expected = tiles(&offsets, tile.tokens());
        let run = bench.kernel("dispatch", Dtype::F32, tile).constant("ALL_EXPERTS", all);
        let run = run.constant("CHOICES", choices).constant("TILE", tile.tokens());
        let run = run.constant("UP_WORKGROUPS", 3).constant("DOWN_WORKGROUPS", 4).tokens(0, tokens);
        let run = run.read(&selected).read(&weights);
        let out = run.write(selected.len()).write(selected.len() * 4).write(6).run([1, 1]);
        let kept = *offsets.last().unwrap() as usize;
        bench.equal("dispatch: assignments", &out[0].ids()[..kept], &assignments[..kept]);
        let flat: Vec<u32> = expected.iter().flat_map(|&[expert, first, count]| [expert, first, count, 0]).collect();
        bench.equal("dispatch: tiles", &out[1].ids()[..flat.len()], &flat);
        let count = expected.len() as u32;
        bench.equal("dispatch: arguments", &out[2].ids()[..6], &[3, count, 1, 4, count, 1]);
    }
}

fn expert_ffn(bench: &mut Bench, random: &mut Random) {
    for (dtype, tile) in forms(bench) {
        // The form for one token runs one token only.
        let tokens = |many| if tile == Tile::One { 1 } else { many };
        let clamped = Activation::Clamped { alpha: 1.702, limit: 0.7 };
        let sizes = [
            (128, 256, 8, 2, tokens(64), Activation::SwiGlu),
            (30, 27, 5, 3, tokens(4), clamped),
            (4, 1, 1, 1, 1, Activation::SwiGlu),
            (12, 40, 16, 4, tokens(9), clamped),
        ];
        for (width, inner, experts, top_k, tokens, activation) in some(dtype, sizes) {
            let [width, inner] = [width, inner].map(|size| usize::next_multiple_of(size, dtype.block()));
            let has_bias = activation != Activation::SwiGlu;
            let (mut up_biases, mut down_biases) = (Vec::new(), Vec::new());
            if has_bias {
                (up_biases, down_biases) = (random.floats(experts * 2 * inner), random.floats(experts * width));
            }
            let matrices: Vec<[bench::Weights; 3]> = (0..experts)
                .map(|_| [(inner, width), (width, inner), (inner, width)].map(|(r, c)| random.matrix(dtype, r, c)))
                .collect();
            let of_expert = |biases: &[f32], e: usize| {
                let each = biases.len() / experts;
                biases[e * each..(e + 1) * each].to_vec()
            };
            let twin = |(e, [w1, w2, w3]): (usize, &[bench::Weights; 3])| Expert {
                up: Stored::as_is(&[w1.view(), w3.view()]),
                down: Stored::as_is(&[w2.view()]),
                up_bias: of_expert(&up_biases, e),
                down_bias: of_expert(&down_biases, e),
            };
            let twins: Vec<Expert> = matrices.iter().enumerate().map(twin).collect();
            let x = random.floats(tokens * width);
            let selected: Vec<u32> = (0..tokens).flat_map(|_| random.distinct(top_k, experts)).collect();
            let (mut assignments, mut offsets) = (vec![0; selected.len()], vec![0; experts + 1]);
            let mut weights = vec![1.0; selected.len()];
            // Dropped, unless it is the only one: its rows are not written.
            weights[selected.len() - 1] = if selected.len() > 1 { 0.0 } else { 1.0 };
            kernels::dispatch::dispatch(&selected, &weights, &mut assignments, &mut offsets);
            let mut scratch = Scratch::default();
            let (mut hidden, mut y) = (vec![0.0; selected.len() * inner], vec![0.0; selected.len() * width]);
            kernels::expert_ffn::up(&x, &assignments, &offsets, &twins, activation, &mut hidden, &mut scratch);
            kernels::expert_ffn::down(&hidden, &assignments, &offsets, &twins, &mut y, &mut scratch);

            let list = tiles(&offsets, tile.tokens());
            let flat: Vec<u32> = list.iter().flat_map(|&[expert, first, count]| [expert, first, count, 0]).collect();
            let rows = if tile == Tile::One { selected.len() } else { list.len() };
            let up = |[w1, _, w3]: &[bench::Weights; 3]| pack::alternate(dtype, &[w1.view(), w3.view()]);
            let down = |[_, w2, _]: &[bench::Weights; 3]| pack::stack(dtype, &[w2.view()]);
            let ups: Vec<u8> = matrices.iter().flat_map(up).collect();
            let downs: Vec<u8> = matrices.iter().flat_map(down).collect();
            let passes = [
                (1, &x, width, inner, top_k, ups, &up_biases, &hidden),
                (0, &hidden, inner, width, 1, downs, &down_biases, &y),
            ];
            for (up, input, inputs, outputs, share, matrices, biases, expected) in passes {
                let stride = outputs.next_multiple_of(4);
                let run = bench.kernel("expert_ffn", dtype, tile).constant("UP", up);
                let run = run.constant("GROUPS", inputs.div_ceil(4)).constant("OUTPUTS", outputs);
                let run = run.constant("STRIDE", stride).constant("SHARE", share).tokens(0, tokens);
                let flag = usize::from(has_bias);
                let run = run.constant("BIAS", flag).constant("CLAMPED", flag).real("ALPHA", 1.702).real("LIMIT", 0.7);
                let run = run.read_rows(input, inputs);
                let run = match tile {
                    Tile::One => run.read(&selected).read(&weights),
                    Tile::Eight | Tile::Sixteen => run.read(&assignments).read(&flat),
                };
                let run = run.read(&matrices).read_vector(biases).write(selected.len() * stride);
                let panels = outputs.div_ceil(ROWS) * (1 + up);
                let out = run.product(panels, rows);
                bench.same(if up == 1 { "up" } else { "down" }, &out[0].rows(stride, outputs), expected);
            }
        }
    }
}

fn combine(bench: &mut Bench, random: &mut Random) {
    for (width, top_k, tokens) in [(128, 2, 64), (512, 2, 1), (30, 3, 5), (1, 1, 1), (7, 8, 2)] {
        let (mut y, start) = (random.floats(tokens * top_k * width), random.floats(tokens * width));
        let (mut weights, scale) = (random.floats(tokens * top_k), random.floats(width));
        // A dropped assignment: weight 0, and a row that must not affect the result.
        weights[0] = 0.0;
        y[0] = f32::NAN;
        let (mut x, mut normed) = (start.clone(), vec![0.0; start.len()]);
        let norms = width != 30;
        let norm = norms.then_some((scale.as_slice(), 1e-5));
        kernels::combine::combine(&y, &weights, 0.22, &mut x, norm, &mut normed);
        let groups = width.div_ceil(4);
        let run = bench.kernel("combine", Dtype::F32, Tile::One).constant("GROUPS", groups);
        let run = run.constant("WIDTH", width).constant("CHOICES", top_k).real("EPS", 1e-5).tokens(0, tokens);
        let run = run.real("MULTIPLIER", f64::from(0.22f32)).constant("NORM", usize::from(norms));
        let run = run.read_rows(&y, width).read(&weights).write_rows(&start, width).read_rows(&scale, width);
        let out = run.write(tokens * groups * 4).run([tokens, 1]);
        bench.same("combine: x", &out[0].rows(groups * 4, width), &x);
        bench.same("combine: normed", &out[1].rows(groups * 4, width), &normed);
    }
}
