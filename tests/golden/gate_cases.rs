//! Compares gates with the routers of transformers' families on given router logits: the files of `gates/`, written by
//! `gates.py`.

use moescope::kernels::choose::GateVectors;
use moescope::shape::{Gate, GateKind, MoeShape};
use safetensors::SafeTensors;
use serde_json::Value;
use std::path::Path;

/// One router.
pub struct GateCase {
    /// What it is called.
    pub name: String,
    /// Its gate, experts and k.
    pub shape: MoeShape,
    /// Its bias and scale; a bias of its product is in the logits.
    pub vectors: GateVectors,
    /// `[T, E]`
    pub logits: Vec<f32>,
    /// `[T, k]`
    pub selected: Vec<u32>,
    /// `[T, k]`
    pub weights: Vec<f32>,
}

impl GateCase {
    /// How far weights may be off that are as large as these.
    pub fn tolerance(&self, one: f32) -> f32 {
        one * self.shape.gate.map_or(1.0, |gate| gate.scale.max(1.0))
    }
}

/// All of them, of the directory `gates`.
pub fn read(gates: &Path) -> Vec<GateCase> {
    let json = std::fs::read(gates.join("cases.json")).expect("gates/cases.json: run tests/golden/make.py");
    let cases: Vec<Value> = serde_json::from_slice(&json).unwrap();
    assert!(cases.len() >= 28, "cases are missing: run tests/golden/make.py");
    cases.iter().map(|case| read_case(gates, case)).collect()
}

fn read_case(gates: &Path, case: &Value) -> GateCase {
    let name = case["name"].as_str().unwrap().to_owned();
    let file = std::fs::read(gates.join(format!("{name}.safetensors"))).unwrap();
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let words = |tensor: &str| tensors.tensor(tensor).map(|tensor| tensor.data().as_chunks().0.to_vec());
    let floats = |tensor: &str| words(tensor).unwrap_or_default().into_iter().map(f32::from_le_bytes).collect();
    let [experts, k] = ["experts", "k"].map(|key| case[key].as_u64().unwrap() as usize);
    GateCase {
        shape: MoeShape { gate: Some(gate_of(&case["router"])), ..MoeShape::mixtral(experts, k, 1) },
        vectors: GateVectors { bias: floats("bias"), router_bias: Vec::new(), scale: floats("scale") },
        logits: floats("logits"),
        selected: words("selected").unwrap().into_iter().map(u32::from_le_bytes).collect(),
        weights: floats("weights"),
        name,
    }
}

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
