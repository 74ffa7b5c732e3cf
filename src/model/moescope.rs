//! Moescope's own family: Mixtral's keys and tensors, and a `router` that says how experts are chosen
//! (docs/model-format.md).

use super::backbone::{self, MOST_EXPERTS};
use super::keys::{Keys, wrong};
use super::mixtral;
use super::tensors::Tensors;
use super::weights::{FfnWeights, Weights};
use crate::error::{Error, Result};
use crate::shape::{Architecture, Gate, GateKind, MoeShape};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Router {
    kind: String,
    capacity_factor: Option<f32>,
    groups: Option<usize>,
    groups_per_token: Option<usize>,
    scale: Option<f32>,
    #[serde(default)]
    shared_experts: usize,
}

/// What a config asks to compute.
pub fn architecture(config: &serde_json::Value) -> Result<Architecture> {
    let keys = Keys::of(config)?;
    let router = keys.get("router").ok_or_else(|| wrong("router is missing; it says how experts are chosen".into()))?;
    let router = Router::deserialize(router).map_err(|e| wrong(format!("router: {e}; see docs/model-format.md")))?;
    let gate = gate(&router)?;
    if router.shared_experts > MOST_EXPERTS {
        return Err(wrong(format!("router.shared_experts is {}; at most {MOST_EXPERTS} fit", router.shared_experts)));
    }
    let moe = MoeShape {
        gate: Some(gate),
        bias: gate.kind == GateKind::SigmoidBias,
        noise: gate.kind == GateKind::NoisyTopK,
        shared: router.shared_experts,
        capacity_factor: router.capacity_factor,
        ..mixtral::moe(&keys)?
    };
    backbone::architecture(&keys, &mixtral::DEFAULTS, moe, &[&mixtral::KNOWN, ["router"].as_slice()].concat())
}

fn gate(router: &Router) -> Result<Gate> {
    let wrong = |why: String| Err(Error::model("config.json", why));
    let known = || GateKind::OF_MODELS.map(GateKind::name);
    let Some(kind) = GateKind::OF_MODELS.into_iter().find(|kind| kind.name() == router.kind) else {
        return wrong(format!(
            "router.kind is \"{}\", which is not known; known kinds: {}",
            router.kind,
            known().join(", ")
        ));
    };
    if router.scale.is_some() && kind != GateKind::SigmoidBias {
        return wrong(format!(
            "router.scale is only known for \"sigmoid-bias\", and router.kind is \"{}\"; leave it out",
            router.kind
        ));
    }
    if let Some(scale) = router.scale.filter(|scale| !(0.0..=1e6).contains(scale)) {
        return wrong(format!("router.scale is {scale}; it must be a number from 0 to 1000000"));
    }
    let needs = |key: &str| Error::model("config.json", format!("router.kind \"{}\" needs router.{key}", router.kind));
    Ok(match kind {
        GateKind::SigmoidBias => Gate::sigmoid_bias(router.scale.unwrap_or(1.0)),
        GateKind::Hierarchical => Gate::hierarchical(
            router.groups.ok_or_else(|| needs("groups"))?,
            router.groups_per_token.ok_or_else(|| needs("groups_per_token"))?,
        ),
        _ => Gate::new(kind),
    })
}

/// Views of all tensors, with their shapes checked.
pub fn weights<'a>(tensors: &'a Tensors, a: &Architecture) -> Result<Weights<'a>> {
    backbone::weights(tensors, a, |at, moe| {
        let mut ffn = mixtral::ffn(tensors, at, moe, a.hidden)?;
        add_extras(tensors, at, moe, a.hidden, &mut ffn)?;
        Ok(ffn)
    })
}

fn add_extras<'a>(
    tensors: &'a Tensors,
    at: &str,
    moe: &MoeShape,
    hidden: usize,
    ffn: &mut FfnWeights<'a>,
) -> Result<()> {
    let at = format!("{at}.block_sparse_moe");
    if let Some(gate) = moe.gate.filter(|gate| gate.kind == GateKind::Hierarchical) {
        ffn.group_router = Some(tensors.matrix(&format!("{at}.group_gate.weight"), gate.groups, hidden)?);
    }
    if moe.noise {
        ffn.noise_router = Some(tensors.matrix(&format!("{at}.noise.weight"), moe.experts, hidden)?);
    }
    if moe.bias {
        ffn.bias = Some(tensors.vector(&format!("{at}.gate.bias"), moe.experts)?);
    }
    for n in 0..moe.shared {
        let at = format!("{at}.shared_experts.{n}");
        ffn.experts.push(backbone::expert(tensors, &at, ["w1", "w2", "w3"], moe.intermediate, hidden)?);
    }
    Ok(())
}
