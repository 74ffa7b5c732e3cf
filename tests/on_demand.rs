//! Experts on demand: with a part of the experts in memory an engine gives the same bits as with all of them, and asks
//! for experts as the simulation over its trace says.

use futures::FutureExt;
use futures::future::{LocalBoxFuture, ready};
use moescope::engine::slots::slots_for;
use moescope::engine::{Engine, LogitsOf, Step};
use moescope::error::{Error, Result};
use moescope::model::Model;
use moescope::model::files::{Content, ModelFiles, all_of, read_dir};
use moescope::routing::{Trace, residency};
use moescope::session::{Lens, Session};
use std::borrow::Cow;
use std::cell::Cell;
use std::ops::Range;
use std::path::Path;
use std::rc::Rc;

const IDS: [u32; 14] = [5, 3, 8, 1, 9, 2, 5, 5, 7, 4, 0, 6, 3, 8];

fn files(name: &str) -> ModelFiles {
    read_dir(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/fixtures").join(name)).unwrap()
}

fn step(engine: &mut Engine, ids: &[u32]) -> Step {
    pollster::block_on(engine.step(ids, LogitsOf::All)).unwrap()
}

fn bits(step: &Step) -> Vec<u32> {
    let weights = step.layers.iter().flat_map(|layer| layer.weights.iter().chain(&layer.router_logits));
    step.logits.iter().chain(weights).map(|x| x.to_bits()).collect()
}

fn on_demand(model: &Model, share: f64) -> Engine {
    pollster::block_on(Engine::cpu_on_demand(model, share)).unwrap()
}

/// Beginnings of names: many experts and few, capacities, shared experts of the same width and of another, fused
/// experts, experts with biases, a dense layer among sparse ones, convolutions between them.
const FIXTURES: [&str; 9] =
    ["basic", "capacity", "many-experts", "qwen2-moe", "granitemoe", "gpt-oss", "deepseek-v2", "lfm2-moe", "switch"];

#[test]
fn a_part_of_the_experts_gives_the_same_bits_as_all() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/fixtures");
    let mut seen = 0;
    for entry in std::fs::read_dir(root).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !FIXTURES.iter().any(|start| name.starts_with(start)) {
            continue;
        }
        let model = Model::new(&files(&name)).unwrap();
        let context = model.architecture.context;
        if model.architecture.layers.iter().all(|layer| layer.moe.gate.is_none()) || context < IDS.len() {
            continue;
        }
        seen += 1;
        for share in [0.0, 0.5] {
            let mut whole = Engine::cpu(&model).unwrap();
            let mut part = on_demand(&model, share);
            // A prefill, whose tokens choose more experts together than there are slots, and then one by one.
            let (first, rest) = IDS.split_at(9);
            assert_eq!(bits(&step(&mut part, first)), bits(&step(&mut whole, first)), "{name}, {share}");
            for id in rest {
                assert_eq!(bits(&step(&mut part, &[*id])), bits(&step(&mut whole, &[*id])), "{name}, {share}");
            }
            let figures = part.pool().unwrap();
            assert!(figures.resident <= figures.slots && figures.slots <= figures.experts, "{name}: {figures:?}");
            assert!(figures.hits < figures.requests, "{name}: {figures:?}");
        }
    }
    assert!(seen >= 5, "{seen} fixtures");
}

#[test]
fn the_engine_asks_as_the_simulation_says() {
    let model = Model::new(&files("basic")).unwrap();
    for share in [0.25, 0.5, 1.0] {
        let mut engine = on_demand(&model, share);
        let mut trace = Trace::default();
        for id in IDS {
            let layers = step(&mut engine, &[id]).layers;
            match trace.layers.is_empty() {
                true => trace.layers = layers,
                false => trace.layers.iter_mut().zip(&layers).for_each(|(all, more)| all.extend(more)),
            }
        }
        let (figures, expected) = (engine.pool().unwrap(), residency(&trace, share));
        assert_eq!((figures.requests, figures.hits), (expected.requests(), expected.hits()), "{share}");
        let layer = &model.architecture.layers[0].moe;
        let slots = slots_for(layer.experts, layer.top_k, share) * model.architecture.layers.len();
        assert_eq!((figures.slots, figures.experts), (slots, layer.experts * model.architecture.layers.len()));
        assert!(figures.read_bytes >= figures.resident_bytes && figures.resident_bytes > 0);
    }
}

/// A file whose weights cannot be read any more.
struct Breaking {
    bytes: Vec<u8>,
    reads: Cell<usize>,
}

impl Content for Breaking {
    fn arrived(&self, _: u64) -> LocalBoxFuture<'_, u64> {
        ready(self.bytes.len() as u64).boxed_local()
    }

    fn read(&self, range: Range<u64>) -> LocalBoxFuture<'_, Result<Cow<'_, [u8]>>> {
        let Some(left) = self.reads.get().checked_sub(1) else {
            return ready(Err(Error::read("model.safetensors", "it changed on disk"))).boxed_local();
        };
        self.reads.set(left);
        ready(Ok(Cow::Borrowed(&self.bytes[range.start as usize..range.end as usize]))).boxed_local()
    }
}

#[test]
fn a_file_that_breaks_off_ends_the_step_and_not_the_text() {
    let files = files("basic");
    let bytes = pollster::block_on(all_of(&*files.weights[0].1)).unwrap().into_owned();
    let file = Rc::new(Breaking { bytes, reads: Cell::new(usize::MAX) });
    let weights = vec![("model.safetensors".to_owned(), file.clone() as Rc<dyn Content>)];
    let model = Model::new(&ModelFiles { weights, ..files }).unwrap();
    let mut engine = on_demand(&model, 0.25);
    let expected = bits(&step(&mut engine, &IDS[..1]));
    file.reads.set(0);
    let error = pollster::block_on(engine.step(&IDS[1..], LogitsOf::All)).err().unwrap();
    assert!(error.to_string().contains("changed on disk"), "{error}");
    assert_eq!(engine.len(), 1);
    file.reads.set(usize::MAX);
    let mut whole = Engine::cpu(&model).unwrap();
    assert_eq!(bits(&step(&mut whole, &IDS[..1])), expected);
    assert_eq!(bits(&step(&mut engine, &IDS[1..])), bits(&step(&mut whole, &IDS[1..])));
}

#[test]
fn a_session_runs_on_demand_and_inspection_says_why_it_cannot() {
    let model = Model::new(&files("basic")).unwrap();
    let run = |engine: Engine| pollster::block_on(Session::new(engine).run(&IDS, None, |_| {})).unwrap();
    assert!(run(on_demand(&model, 0.25)) == run(Engine::cpu(&model).unwrap()));
    let why = Lens::new(&model, &on_demand(&model, 0.25)).err().unwrap().to_string();
    assert!(why.contains("all experts in memory"), "{why}");
}

#[test]
fn the_first_layers_run_alone() {
    let files = files("basic");
    let mut model = Model::new(&files).unwrap();
    let all = model.architecture.layers.len();
    assert!(all > 1 && model.keep_layers(0).is_err() && model.keep_layers(all + 1).is_err());
    let whole = step(&mut Engine::cpu(&model).unwrap(), &IDS);
    model.keep_layers(1).unwrap();
    let part = step(&mut Engine::cpu(&model).unwrap(), &IDS);
    assert_eq!(part.layers.len(), 1);
    assert_eq!(part.layers[0].router_logits, whole.layers[0].router_logits, "the first layer decides as ever");
    assert!(part.logits != whole.logits);
    let info = model.info(moescope::model::Backend::Cpu, None);
    assert_eq!((info.layers, info.of_layers), (1, Some(all)));
}
