//! Compares policies and gates with `policy.py`, an oracle written from docs/gates.md alone: every case of
//! `policies/cases.json`, on the CPU and on the GPU.

use super::engines::{Kind, file};
use super::{Expected, largest_difference, model, run};
use libtest_mimic::Trial;
use moescope::engine::{Engine, Step};
use moescope::model::Model;
use moescope::routing::Policy;
use moescope::shape::{NONE, experts_choose};
use std::collections::BTreeMap;
use std::path::PathBuf;

struct Case {
    name: String,
    policy: Policy,
}

fn directory() -> PathBuf {
    file("tests/golden/policies")
}

/// The cases of each model.
fn cases() -> BTreeMap<String, Vec<Case>> {
    let json = std::fs::read(directory().join("cases.json")).expect("policies/cases.json: run tests/golden/make.py");
    let list: Vec<serde_json::Value> = serde_json::from_slice(&json).unwrap();
    assert!(list.len() >= 100, "cases are missing: run tests/golden/make.py");
    let mut cases = BTreeMap::<String, Vec<Case>>::new();
    for case in list {
        let text = |key: &str| case[key].as_str().unwrap().to_owned();
        let policy = Policy::parse(&case["policy"].to_string()).unwrap_or_else(|e| panic!("{}: {e}", text("name")));
        cases.entry(text("model")).or_default().push(Case { name: text("name"), policy });
    }
    cases
}

fn open(name: &str) -> Model {
    let own = directory().join(name);
    model(&if own.is_dir() { own } else { directory().with_file_name("fixtures").join(name) })
}

fn expected(case: &Case) -> Expected {
    Expected(std::fs::read(directory().join(format!("{}.safetensors", case.name))).unwrap())
}

fn check(case: &Case, got: &Step, tolerance: f32) {
    let expected = expected(case);
    let name = &case.name;
    let difference = largest_difference(&got.logits, &expected.floats("logits"));
    assert!(difference < tolerance, "{name}: logits differ by {difference}");
    assert_eq!(got.layers.len(), expected.layers("router_logits"), "{name}: layers with experts");
    for layer in &got.layers {
        let n = layer.layer;
        let tensor = |kind: &str| format!("{kind}.{n}");
        let difference = largest_difference(&layer.router_logits, &expected.floats(&tensor("router_logits")));
        assert!(difference < tolerance, "{name}: router logits of layer {n} differ by {difference}");
        let (selected, weights) = (expected.ids(&tensor("selected")), expected.floats(&tensor("weights")));
        let dropped = if expected.has(&tensor("dropped")) { expected.ids(&tensor("dropped")) } else { Vec::new() };
        let row = selected.len() / layer.tokens();
        for t in 0..layer.tokens() {
            let wanted = &selected[t * row..][..row];
            let count = wanted.iter().position(|&expert| expert == NONE).unwrap_or(row);
            assert_eq!(layer.selected_of(t), &wanted[..count], "{name}: layer {n}, token {t}");
            let difference = largest_difference(layer.weights_of(t), &weights[t * row..][..count]);
            assert!(difference < tolerance, "{name}: weights of layer {n}, token {t} differ by {difference}");
            let flags: Vec<bool> = dropped.iter().skip(t * row).take(count).map(|&flag| flag == 1).collect();
            // With `next-best`, a capacity drops nothing.
            if !flags.is_empty() {
                assert_eq!(layer.dropped_of(t), flags, "{name}: drops of layer {n}, token {t}");
            } else {
                assert!(layer.dropped_of(t).iter().all(|flag| !flag), "{name}: layer {n}, token {t} drops something");
            }
        }
    }
}

/// Runs all cases of a model on one engine: as a prefill, and token by token unless expert choice needs later tokens.
fn check_engine(engine: &Engine, cases: &[Case], tolerance: f32, one_by_one: bool) {
    pollster::block_on(async {
        let mut fork: Option<Engine> = None;
        for case in cases {
            let settings = case.policy.settings(engine.architecture());
            let settings = settings.unwrap_or_else(|e| panic!("{}: {e}", case.name));
            let settings = settings.unwrap_or_else(|| engine.settings().clone());
            let chooses = experts_choose(&settings);
            let fork = match &mut fork {
                Some(fork) => {
                    fork.set_settings(settings);
                    fork
                }
                none => none.insert(engine.fork(settings).await.unwrap()),
            };
            let ids = expected(case).ids("ids");
            check(case, &run(fork, &ids, usize::MAX).await, tolerance);
            if one_by_one && !chooses {
                fork.truncate(0);
                check(case, &run(fork, &ids, 1).await, tolerance);
            }
        }
    });
}

/// The cases of each model on one engine.
pub fn tests(kind: Kind) -> Vec<Trial> {
    let test = |(name, cases): (String, Vec<Case>)| {
        kind.test(&format!("agrees_with_the_oracle_under_policies::{name}"), move |kind| {
            check_engine(&kind.open(&open(&name)), &cases, kind.tolerance(), kind == Kind::Cpu);
        })
    };
    cases().into_iter().map(test).collect()
}
