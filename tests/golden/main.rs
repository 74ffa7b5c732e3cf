//! Compares the engines with Hugging Face transformers, and for Moescope's own routers with `oracle.py`: every fixture
//! of `make.py`, on the CPU, on the GPU, and on a software adapter also in the form that real GPUs run. Logits and
//! router logits must agree within a tolerance; experts and drops must be the same. No decision in a fixture is a tie;
//! ties in the shipped model's texts are ignored.

mod drawing;
mod engines;
mod gate_cases;
mod gates;
mod policies;
mod synthetic;

use engines::{Kind, file};
use libtest_mimic::{Arguments, Trial};
use moescope::engine::cpu::CpuEngine;
use moescope::engine::gpu::GpuEngine;
use moescope::engine::gpu::device::Gpu;
use moescope::engine::gpu::profile::KernelTime;
use moescope::engine::{Engine, LogitsOf, Step};
use moescope::kernels::linear::weight_bytes_read;
use moescope::kernels::stored::Stored;
use moescope::model::{Model, files};
use moescope::routing::LayerTrace;
use moescope::session::Session;
use moescope::tokenizer::Tokenizer;
use safetensors::SafeTensors;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Choices of the shipped model closer than this are a tie that rounding may decide.
const TIE: f32 = 1e-4;
/// The fixtures are made so that no choice is close: every token is checked.
const NO_TIES: f32 = f32::NEG_INFINITY;

fn cases() -> Vec<PathBuf> {
    let dir = file("tests/golden/fixtures");
    let mut cases: Vec<PathBuf> =
        std::fs::read_dir(dir).expect("fixtures").map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 24, "fixtures are missing: run tests/golden/make.py");
    cases
}

fn case(name: &str) -> PathBuf {
    cases().into_iter().find(|case| case.ends_with(name)).unwrap_or_else(|| panic!("no fixture {name}"))
}

fn model(case: &Path) -> Model {
    Model::new(&files::read_dir(case).unwrap()).unwrap_or_else(|e| panic!("{}: {e}", case.display()))
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let gpus = Kind::gpus();
    let mut tests = vec![
        test("gates_agree_with_the_routers_of_families", gates::agree_with_the_routers_of_families),
        test("an_edited_text_equals_a_fresh_one", an_edited_text_equals_a_fresh_one),
        test("the_lens_agrees_with_the_trace", the_lens_agrees_with_the_trace),
        test("weights_kept_as_they_are_give_the_same_bits", weights_kept_as_they_are_give_the_same_bits),
        test("weights_rounded_to_8_bits_lose_little", weights_rounded_to_8_bits_lose_little),
    ];
    for case in cases() {
        let name = case.file_name().unwrap().to_string_lossy().into_owned();
        for kind in [Kind::Cpu].iter().chain(&gpus) {
            let case = case.clone();
            let run = move |kind| agrees_with_the_reference(&case, kind);
            tests.push(kind.test(&format!("agrees_with_the_reference::{name}"), run));
        }
        tests.push(test(&format!("decode_and_prefill_have_the_same_bits::{name}"), move || {
            decode_and_prefill_have_the_same_bits(&case);
        }));
    }
    for kind in [Kind::Cpu].iter().chain(&gpus) {
        tests.push(kind.test("the_shipped_model_agrees_on_the_examples", the_shipped_model_agrees_on_the_examples));
        tests.extend(policies::tests(*kind));
        tests.push(kind.test("a_text_of_more_than_4096_tokens", a_text_of_more_than_4096_tokens));
    }
    for kind in gpus {
        tests.extend([
            kind.test("gpu_is_deterministic", gpu_is_deterministic),
            kind.test("a_decoded_token_takes_eight_dispatches", a_decoded_token_takes_eight_dispatches_a_layer),
            kind.test("kernels_are_timed_beside_the_text", kernels_are_timed_beside_the_text),
        ]);
        tests.extend(shipped_models(&["main", "switch", "fine-grained"]).map(|name| {
            let run = move |kind| a_long_prompt_in_large_steps_has_the_same_bits(name, kind);
            kind.test(&format!("a_long_prompt_in_large_steps::{name}"), run)
        }));
        tests.extend(drawing::tests(kind));
        tests.extend(synthetic::tests(kind));
        tests.push(synthetic::speed(kind));
    }
    tests.extend(shipped_models(&["main", "switch", "hierarchical", "fine-grained", "dense"]).map(|name| {
        let run = move || a_decoded_token_reads_its_active_weights_once(name);
        test(&format!("a_decoded_token_reads_its_active_weights_once::{name}"), run)
    }));
    tests.push(synthetic::speed(Kind::Cpu));
    tests.push(test("a_real_gpu_is_there", a_real_gpu_is_there).with_ignored_flag(true));
    libtest_mimic::run(&arguments, tests).exit_code()
}

/// Those of the named models that are in `www/models`; a folder made by `cargo xtask gpu-check` has only some of them.
fn shipped_models(names: &'static [&'static str]) -> impl Iterator<Item = &'static str> {
    let packed = std::env::var_os("MOESCOPE_ROOT").is_some();
    names.iter().copied().filter(move |name| !packed || file("www/models").join(name).exists())
}

/// Only `cargo xtask gpu-check` runs this test, because its results on a software adapter would mean nothing.
fn a_real_gpu_is_there() {
    let gpu = pollster::block_on(Gpu::open()).unwrap();
    println!("adapter: {}", gpu.adapter);
    assert!(!gpu.software, "{} is a software adapter", gpu.adapter);
}

fn test(name: &str, test: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(name, move || {
        test();
        Ok(())
    })
}

struct Expected(Vec<u8>);

impl Expected {
    fn of(case: &Path) -> Self {
        Self(std::fs::read(case.join("expected.safetensors")).unwrap())
    }

    fn words(&self, name: &str) -> Vec<[u8; 4]> {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        tensors.tensor(name).unwrap().data().as_chunks().0.to_vec()
    }

    fn has(&self, name: &str) -> bool {
        SafeTensors::deserialize(&self.0).unwrap().tensor(name).is_ok()
    }

    /// Number of tensors named `kind.N`, one for each layer.
    fn layers(&self, kind: &str) -> usize {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        tensors.names().iter().filter(|name| name.split('.').next() == Some(kind)).count()
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        self.words(name).into_iter().map(f32::from_le_bytes).collect()
    }

    fn ids(&self, name: &str) -> Vec<u32> {
        self.words(name).into_iter().map(u32::from_le_bytes).collect()
    }
}

/// Runs `ids` in steps of at most `chunk` tokens.
async fn run(engine: &mut Engine, ids: &[u32], chunk: usize) -> Step {
    let mut all = Step::new(engine.architecture(), engine.settings());
    for ids in ids.chunks(chunk.min(engine.chunk(LogitsOf::All))) {
        let step = engine.step(ids, LogitsOf::All).await.unwrap();
        all.logits.extend(step.logits);
        all.layers.iter_mut().zip(&step.layers).for_each(|(all, layer)| all.extend(layer));
    }
    all
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, |m, d| if d > m || d.is_nan() { d } else { m })
}

fn check(case: &Path, got: &Step, tolerance: f32) {
    let expected = Expected::of(case);
    let name = case.file_name().unwrap().to_string_lossy();
    let difference = largest_difference(&got.logits, &expected.floats("logits"));
    assert!(difference < tolerance, "{name}: logits differ by {difference}");
    check_routing(&name, got, &expected, tolerance, NO_TIES);
}

/// Checks that router logits agree within `tolerance`, and that experts, weights and drops agree wherever the
/// reference's choice is not a tie.
fn check_routing(name: &str, got: &Step, expected: &Expected, tolerance: f32, tie: f32) {
    assert_eq!(got.layers.len(), expected.layers("router_logits"), "{name}: layers with experts");
    for layer in &got.layers {
        let n = layer.layer;
        let router_logits = expected.floats(&format!("router_logits.{n}"));
        let difference = largest_difference(&layer.router_logits, &router_logits);
        assert!(difference < tolerance, "{name}: router logits of layer {n} differ by {difference}");
        check_groups(name, layer, expected, tolerance);
        let (selected, weights) = (expected.ids(&format!("selected.{n}")), expected.floats(&format!("weights.{n}")));
        let dropped = dropped(expected, n);
        assert_eq!(layer.dropped.len(), dropped.len(), "{name}: layer {n} has a capacity or none");
        let k = layer.top_k;
        for (t, row) in router_logits.chunks_exact(layer.experts).enumerate() {
            if closest_ranks(row, k) <= tie {
                continue;
            }
            assert_eq!(layer.selected_of(t), &selected[t * k..][..k], "{name}: layer {n}, token {t}");
            let difference = largest_difference(layer.weights_of(t), &weights[t * k..][..k]);
            assert!(difference < tolerance, "{name}: weights of layer {n}, token {t} differ by {difference}");
            assert_eq!(layer.dropped_of(t), dropped.get(t * k..(t + 1) * k).unwrap_or(&[]), "{name}: {n}, token {t}");
        }
    }
}

/// Checks that the router logits of groups agree within `tolerance`, or that there are none where the router has no
/// groups.
fn check_groups(name: &str, layer: &LayerTrace, expected: &Expected, tolerance: f32) {
    let n = layer.layer;
    let group_logits = format!("group_logits.{n}");
    let expected = if expected.has(&group_logits) { expected.floats(&group_logits) } else { Vec::new() };
    let difference = largest_difference(&layer.group_logits, &expected);
    assert!(difference < tolerance, "{name}: group logits of layer {n} differ by {difference}");
}

/// Which assignments of layer `n` must be dropped, `[T, k]`; empty where there is no capacity.
fn dropped(expected: &Expected, n: usize) -> Vec<bool> {
    let name = format!("dropped.{n}");
    if expected.has(&name) { expected.ids(&name).iter().map(|&id| id == 1).collect() } else { Vec::new() }
}

/// The smallest difference between neighbours among the `k + 1` largest numbers.
fn closest_ranks(row: &[f32], k: usize) -> f32 {
    let mut row = row.to_vec();
    row.sort_by(|a, b| b.total_cmp(a));
    row.windows(2).take(k).map(|pair| pair[0] - pair[1]).fold(f32::INFINITY, f32::min)
}

fn bits(step: &Step) -> (Vec<u32>, Vec<u32>) {
    let bits = |floats: &[f32]| floats.iter().map(|x| x.to_bits()).collect();
    let of_layer = |l: &LayerTrace| [&l.router_logits, &l.group_logits, &l.weights].map(|floats| bits(floats)).concat();
    (bits(&step.logits), step.layers.iter().flat_map(of_layer).collect())
}

/// Checks a prefill at once and in odd chunks, decoding token by token, and truncating and running again.
async fn check_engine(case: &Path, engine: &mut Engine, tolerance: f32) {
    let ids = Expected::of(case).ids("ids");
    let prefill = run(engine, &ids, usize::MAX).await;
    check(case, &prefill, tolerance);
    for chunk in [1, 7] {
        engine.truncate(0);
        let again = run(engine, &ids, chunk).await;
        check(case, &again, tolerance);
        let difference = largest_difference(&again.logits, &prefill.logits);
        assert!(difference < tolerance, "chunks of {chunk} differ from one prefill by {difference}");
    }
    let keep = ids.len() / 2;
    engine.truncate(keep);
    let rest = run(engine, &ids[keep..], usize::MAX).await;
    let vocabulary = engine.architecture().vocabulary;
    let difference = largest_difference(&rest.logits, &prefill.logits[keep * vocabulary..]);
    assert!(difference < tolerance, "re-run after truncation differs by {difference}");
}

fn agrees_with_the_reference(case: &Path, kind: Kind) {
    let mut engine = kind.open(&model(case));
    pollster::block_on(check_engine(case, &mut engine, kind.tolerance()));
}

/// On the CPU, decoding token by token gives the same bits as a prefill, because the kernels sum in one order.
fn decode_and_prefill_have_the_same_bits(case: &Path) {
    let ids = Expected::of(case).ids("ids");
    let model = model(case);
    let (mut a, mut b) = (Engine::cpu(&model).unwrap(), Engine::cpu(&model).unwrap());
    let (a, b) = pollster::block_on(async { (run(&mut a, &ids, usize::MAX).await, run(&mut b, &ids, 1).await) });
    assert_eq!(bits(&a), bits(&b));
}

/// The GPU gives the same bits on every run: no float atomics.
fn gpu_is_deterministic(kind: Kind) {
    for name in ["many-experts", "capacity-top2"] {
        let case = case(name);
        let ids = Expected::of(&case).ids("ids");
        let mut engine = kind.open(&model(&case));
        let first = pollster::block_on(run(&mut engine, &ids, usize::MAX));
        for _ in 0..3 {
            engine.truncate(0);
            assert_eq!(bits(&pollster::block_on(run(&mut engine, &ids, usize::MAX))), bits(&first), "{name}");
        }
    }
}

/// A decode step has eight dispatches in each layer (q, k and v; attention; output; norm; gate; up; down; combine) and
/// three others: embedding, first norm, logits. A prefill step also groups its tokens by expert.
fn a_decoded_token_takes_eight_dispatches_a_layer(kind: Kind) {
    for name in ["basic", "many-experts"] {
        let model = model(&case(name));
        let layers = model.architecture.layers.len();
        let engine = kind.gpu_engine(&model);
        assert_eq!(engine.dispatches(1), 8 * layers + 3, "{name}");
        assert_eq!(engine.dispatches(2), 9 * layers + 3, "{name}");
    }
}

/// Where only the logits after the last token are wanted, a GPU runs larger steps; they give the same bits as smaller
/// ones.
fn a_long_prompt_in_large_steps_has_the_same_bits(name: &str, kind: Kind) {
    let model = model(&file("www/models").join(name));
    let (context, vocabulary) = (model.architecture.context as u32, model.architecture.vocabulary as u32);
    let ids: Vec<u32> = (0..context.min(230)).map(|n| n * n * 31 % vocabulary).collect();
    let mut session = Session::new(kind.open(&model));
    let [small, large] = [LogitsOf::All, LogitsOf::Last].map(|logits| session.engine().chunk(logits));
    assert!(small < ids.len() && ids.len() <= large, "{name}: {} tokens, {small} and {large}", ids.len());
    let expected = pollster::block_on(session.run(&ids, None, |_| {})).unwrap();
    let last = session.last_logits().to_vec();
    let trace = pollster::block_on(session.run_routing(&ids, None)).unwrap();
    assert!(trace.layers == expected.layers, "{name}");
    assert_eq!(session.last_logits(), last, "{name}");
}

/// Timing runs exactly the dispatches of the step, and leaves the text in the KV cache.
fn kernels_are_timed_beside_the_text(kind: Kind) {
    let case = case("basic");
    let ids = Expected::of(&case).ids("ids");
    let (head, rest) = ids.split_at(ids.len() / 2);
    let logits = |engine: &mut GpuEngine| {
        pollster::block_on(engine.step(head, LogitsOf::Last)).unwrap();
        let profile = pollster::block_on(engine.profile(head, 0)).unwrap();
        let one = pollster::block_on(engine.profile(&head[..1], 0)).unwrap();
        let step = pollster::block_on(engine.step(rest, LogitsOf::All)).unwrap();
        (profile, one, step.logits)
    };
    let mut engine = kind.gpu_engine(&model(&case));
    let (profile, one, after) = logits(&mut engine);
    let count = |times: &[KernelTime]| times.iter().map(|time| time.dispatches).sum::<usize>();
    assert_eq!((count(&profile), count(&one)), (engine.dispatches(head.len()), engine.dispatches(1)));
    assert!(profile.iter().any(|time| time.kernel == "expert_ffn" && time.ms > 0.0), "{profile:?}");
    assert!(profile.is_sorted_by(|a, b| a.ms >= b.ms), "{profile:?}");

    engine.truncate(0);
    pollster::block_on(engine.step(head, LogitsOf::Last)).unwrap();
    let expected = pollster::block_on(engine.step(rest, LogitsOf::All)).unwrap().logits;
    // The keys and values of the timed tokens are written again; a step of one token may round them differently.
    let difference = largest_difference(&expected, &after);
    assert!(difference < 1e-4, "logits after timing differ by {difference}");
}

/// A decode step reads the weights of its token's experts and of no others, each once; the excess is the padding of
/// panels.
fn a_decoded_token_reads_its_active_weights_once(name: &str) {
    let model = model(&file("www/models").join(name));
    let cost = model.architecture.cost();
    let parts = [&cost.attention, &cost.routers, &cost.experts, &cost.lm_head];
    let active: u64 = parts.iter().map(|part| 4 * part.active).sum();
    let mut engine = Engine::cpu(&model).unwrap();
    for id in [5, 9, 700] {
        let before = weight_bytes_read();
        pollster::block_on(engine.step(&[id], LogitsOf::Last)).unwrap();
        let read = (weight_bytes_read() - before) as f64 / active as f64;
        // A bias is an active weight but not part of a product.
        assert!((0.999..1.05).contains(&read), "{name}: {read} times the active weights");
    }
}

/// An edited text gives the same trace, guesses and surprise as a fresh session; where there is a capacity, the
/// experts' assignments are counted again.
/// The last tokens of a text of 4,500 tokens (long.py).
fn a_text_of_more_than_4096_tokens(kind: Kind) {
    let directory = file("tests/golden/long");
    let (model, expected) = (model(&directory), Expected::of(&directory));
    assert!(model.architecture.context > 4500);
    let (ids, logits) = (expected.ids("ids"), expected.floats("logits"));
    let mut last = Vec::new();
    let keep = |rows: &[f32]| last.extend_from_slice(rows);
    let trace = pollster::block_on(Session::new(kind.open(&model)).run(&ids, None, keep)).unwrap();
    assert_eq!(trace.len(), ids.len());
    let off = largest_difference(&last[last.len() - logits.len()..], &logits);
    assert!(off < kind.tolerance(), "{off}");
}

fn an_edited_text_equals_a_fresh_one() {
    for name in ["basic", "switch", "capacity-top2", "hierarchical", "llama", "granitehybrid"] {
        let case = case(name);
        for chunk in [8, usize::MAX] {
            for beside in [false, true] {
                check_edits(&model(&case), &Expected::of(&case).ids("ids"), chunk, beside);
            }
        }
    }
}

/// With `beside`, another text runs before every edit, and the session then returns to its own text.
fn check_edits(model: &Model, ids: &[u32], chunk: usize, beside: bool) {
    let mut changed = ids.to_vec();
    changed[15] = (changed[15] + 1) % model.architecture.vocabulary as u32;
    let edits = [&ids[..10], ids, &changed, &changed[..16], &changed[..5], &[], ids];
    let mut session = Session::new(Engine::cpu(model).unwrap());
    let mut trace = moescope::routing::Trace::default();
    for edit in edits {
        if beside {
            let page = session.ids().to_vec();
            pollster::block_on(session.run(ids, None, |_| {})).unwrap();
            session.set(page);
        }
        trace.truncate(session.set(edit.to_vec()));
        pollster::block_on(finish(&mut session, &mut trace, chunk));
        let mut fresh = Session::new(Engine::cpu(model).unwrap());
        let mut expected = moescope::routing::Trace::default();
        fresh.set(edit.to_vec());
        pollster::block_on(finish(&mut fresh, &mut expected, chunk));
        assert_eq!(trace.tokens, expected.tokens);
        assert_eq!(trace.surprise, expected.surprise, "surprise after an edit to {} tokens", edit.len());
        assert_eq!(trace.guesses, expected.guesses);
        for (a, b) in trace.layers.iter().zip(&expected.layers) {
            assert_eq!(a, b);
        }
        assert_eq!(session.last_logits(), fresh.last_logits());
    }
}

async fn finish(session: &mut Session, trace: &mut moescope::routing::Trace, chunk: usize) {
    while session.pending() > 0 {
        let pending = session.pending();
        trace.extend(&session.advance(None, chunk, |_| {}).await.unwrap());
        assert!(session.pending() < pending, "{pending} tokens are pending, and none ran");
    }
}

/// The lens shows the experts that the gate selected, and after the last layer the model's own guess; inspecting
/// tokens in any order gives the same results.
fn the_lens_agrees_with_the_trace() {
    let case = case("many-experts");
    let model = model(&case);
    let ids = Expected::of(&case).ids("ids");
    let mut session = Session::new(Engine::cpu(&model).unwrap());
    let mut trace = moescope::routing::Trace::default();
    session.set(ids.clone());
    pollster::block_on(finish(&mut session, &mut trace, 8));
    let mut lens = moescope::session::Lens::new(&model, session.engine()).unwrap();
    for position in [5, 20, 39, 5, 0] {
        let layers = lens.inspect(&ids[..=position], None).unwrap();
        assert_eq!(layers.len(), trace.layers.len());
        for (lens, layer) in layers.iter().zip(&trace.layers) {
            let experts: Vec<u32> = lens.experts.iter().map(|c| c.expert).collect();
            assert_eq!(experts, layer.selected_of(position));
            assert!(lens.attention > 0.0 && lens.experts.iter().all(|c| c.norm > 0.0));
            // The triangle inequality: the residual stream cannot grow by more than the parts that were added.
            let before = if lens.layer == 0 { f32::INFINITY } else { layers[lens.layer - 1].residual };
            let added = lens.attention + lens.experts.iter().map(|c| c.norm).sum::<f32>();
            assert!(lens.residual <= before + added + 1e-3);
        }
        assert_eq!(layers.last().unwrap().guesses, trace.guesses[position]);
    }
}

/// The shipped model, and the page's examples as its tokens.
fn shipped() -> (Model, Vec<(String, Vec<u32>)>) {
    let files = files::read_dir(&file("www/models/main")).unwrap();
    let model = Model::new(&files).unwrap();
    let tokenizer = Tokenizer::new(files.tokenizer.as_ref().unwrap(), model.architecture.vocabulary).unwrap();
    let examples: Vec<serde_json::Value> =
        serde_json::from_slice(&std::fs::read(file("www/examples.json")).unwrap()).unwrap();
    let text = |example: &serde_json::Value, key: &str| example[key].as_str().unwrap().to_owned();
    let texts = examples.iter().map(|e| (text(e, "id"), tokenizer.encode(&text(e, "text")).unwrap().0)).collect();
    (model, texts)
}

/// The shipped model on the page's examples: every engine picks the experts that `transformers` picks, wherever its
/// choice is not a tie, and has the same most probable next token. `shipped.py` wrote the expectations.
fn the_shipped_model_agrees_on_the_examples(kind: Kind) {
    let (model, texts) = shipped();
    let vocabulary = model.architecture.vocabulary;
    let (mut engine, tolerance) = (kind.open(&model), kind.tolerance());
    for (id, ids) in texts {
        let path = file(&format!("tests/golden/shipped/{id}.safetensors"));
        let expected = Expected(std::fs::read(path).unwrap());
        assert_eq!(ids, expected.ids("ids"), "{id}: token ids");
        engine.truncate(0);
        let step = pollster::block_on(run(&mut engine, &ids, usize::MAX));
        check_routing(&id, &step, &expected, tolerance, TIE);
        let last = &step.logits[(ids.len() - 1) * vocabulary..];
        let difference = largest_difference(last, &expected.floats("logits_last"));
        assert!(difference < tolerance, "{id}: last logits differ by {difference}");
    }
}

/// Weights in the file's own 16-bit format give the same bits as widened ones, in prefill and decoding, and half as
/// many bytes are read.
fn weights_kept_as_they_are_give_the_same_bits() {
    let (model, _) = shipped();
    let mut engines = [Stored::as_is, Stored::wide].map(|pack| CpuEngine::packed(&model, pack).unwrap());
    let prompt: Vec<u32> = (0..70).map(|n| 300 + n * n * 7 % 1500).collect();
    for ids in [&prompt[..], &[17], &[1999]] {
        let before = weight_bytes_read();
        let kept = engines[0].step(ids, LogitsOf::All);
        let between = weight_bytes_read();
        let wide = engines[1].step(ids, LogitsOf::All);
        let share = (between - before) as f64 / (weight_bytes_read() - between) as f64;
        assert!((0.5..0.51).contains(&share), "{share}: the router alone is wide in both");
        let bits = |step: &Step| step.logits.iter().map(|logit| logit.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&kept), bits(&wide));
        assert_eq!(kept.layers, wide.layers);
    }
}

/// Cross-entropy of the token `came`, in nats.
fn loss(logits: &[f32], came: usize) -> f64 {
    let (most, sum) = moescope::kernels::softmax::normaliser(logits);
    f64::from(sum).ln() - f64::from(logits[came] - most)
}

/// Weights rounded to 8 bits: a quarter of the bytes, nearly the same loss, and nearly always the same first experts.
/// Decoding and prefill have the same bits.
fn weights_rounded_to_8_bits_lose_little() {
    let (model, texts) = shipped();
    let vocabulary = model.architecture.vocabulary;
    let mut engines = [Engine::cpu(&model).unwrap(), Engine::cpu_int8(&model).unwrap()];
    let (mut losses, mut bytes, mut same, mut choices) = ([0.0; 2], [0; 2], 0, 0);
    for (_, ids) in texts {
        let steps = [0, 1].map(|n| {
            let before = weight_bytes_read();
            engines[n].truncate(0);
            let step = pollster::block_on(run(&mut engines[n], &ids, usize::MAX));
            bytes[n] += weight_bytes_read() - before;
            for (logits, &next) in step.logits.chunks_exact(vocabulary).zip(&ids[1..]) {
                losses[n] += loss(logits, next as usize);
            }
            step
        });
        for (exact, rounded) in steps[0].layers.iter().zip(&steps[1].layers) {
            for token in 0..exact.tokens() {
                same += usize::from(exact.selected_of(token)[0] == rounded.selected_of(token)[0]);
                choices += 1;
            }
        }
        engines[1].truncate(0);
        let one_by_one = pollster::block_on(run(&mut engines[1], &ids, 1));
        assert_eq!(one_by_one.logits, steps[1].logits, "one token at a time");
    }
    println!("loss {losses:?}, bytes {bytes:?}, {same} of {choices} first experts");
    let worse = losses[1] / losses[0] - 1.0;
    assert!(worse.abs() < 0.01, "the loss is {worse} higher");
    assert!(bytes[1] * 3 < bytes[0], "{bytes:?} bytes");
    assert!(same * 100 >= choices * 97, "{same} of {choices} first experts are the same");
}
