//! The gates against the routers of transformers' families: every case of `gates/cases.json`, on given router logits.

use super::engines::file;
use super::{Expected, largest_difference};
use moescope::kernels::choose::{GateVectors, Room, RoutedToken, Scores, route};
use moescope::shape::{Gate, GateKind, MoeShape, Setting};
use serde_json::Value;

const TOLERANCE: f32 = 2e-6;

/// The gate that a `router` of docs/model-format.md describes.
fn gate_of(router: &Value) -> Gate {
    let name = router["kind"].as_str().unwrap();
    let gate = Gate::new(GateKind::OF_MODELS.into_iter().find(|kind| kind.name() == name).unwrap());
    let number = |key: &str, own: f32| router[key].as_f64().map_or(own, |number| number as f32);
    Gate {
        renormalise: router["renormalise"].as_bool().unwrap_or(gate.renormalise),
        scale: number("scale", gate.scale),
        epsilon: number("epsilon", gate.epsilon),
        least_sum: number("least_sum", gate.least_sum),
        jitter: number("jitter", gate.jitter),
        group_limit: serde_json::from_value(router["group_limit"].clone()).unwrap(),
        ..gate
    }
}

/// Every case: the same experts, and their weights, up to rounding.
pub fn agree_with_the_routers_of_families() {
    let directory = file("tests/golden/gates");
    let json = std::fs::read(directory.join("cases.json")).expect("gates/cases.json: run tests/golden/make.py");
    let cases: Vec<Value> = serde_json::from_slice(&json).unwrap();
    assert!(cases.len() >= 28, "cases are missing: run tests/golden/make.py");
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let expected = Expected(std::fs::read(directory.join(format!("{name}.safetensors"))).unwrap());
        let vector = |tensor: &str| if expected.has(tensor) { expected.floats(tensor) } else { Vec::new() };
        let vectors = GateVectors { bias: vector("bias"), router_bias: Vec::new(), scale: vector("scale") };
        let [experts, k] = ["experts", "k"].map(|key| case[key].as_u64().unwrap() as usize);
        let gate = gate_of(&case["router"]);
        let setting = Setting::own(&MoeShape { gate: Some(gate), ..MoeShape::mixtral(experts, k, 1) }, 64);
        let (ids, weights) = (expected.ids("selected"), expected.floats("weights"));
        let (mut selected, mut given, mut room) = (vec![0; k], vec![0.0; k], Room::default());
        for (t, logits) in expected.floats("logits").chunks_exact(experts).enumerate() {
            let scores = Scores { router_logits: logits, vectors: &vectors, full: &[] };
            route(&setting, RoutedToken::default(), &scores, &mut room, &mut selected, &mut given);
            assert_eq!(selected, ids[t * k..][..k], "{name}: token {t}");
            let difference = largest_difference(&given, &weights[t * k..][..k]);
            assert!(
                difference < TOLERANCE * gate.scale.max(1.0),
                "{name}: weights of token {t} differ by {difference}"
            );
        }
    }
}
