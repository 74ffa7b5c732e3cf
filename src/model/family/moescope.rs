//! Moescope's own family: Mixtral's keys and tensors, with a `router` that says how experts are chosen
//! (docs/model-format.md).

use super::backbone::{self, Names, sizes};
use super::mixtral;
use crate::error::{Error, Result};
use crate::model::keys::{Keys, wrong};
use crate::model::tensors::Tensors;
use crate::model::weights::{FfnWeights, Weights};
use crate::shape::{Architecture, Gate, GateKind, GroupLimit, MoeShape};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Router {
    kind: String,
    capacity_factor: Option<f32>,
    groups: Option<usize>,
    groups_per_token: Option<usize>,
    scale: Option<f32>,
    renormalise: Option<bool>,
    epsilon: Option<f32>,
    least_sum: Option<f32>,
    jitter: Option<f32>,
    group_limit: Option<GroupLimit>,
    #[serde(default)]
    router_bias: bool,
    #[serde(default)]
    expert_scale: bool,
    #[serde(default)]
    shared_experts: usize,
}

/// The architecture that a config describes.
pub fn architecture(config: &serde_json::Value) -> Result<Architecture> {
    let keys = Keys::of(config)?;
    let router = keys.get("router").ok_or_else(|| wrong("router is missing; it says how experts are chosen".into()))?;
    let router = Router::deserialize(router).map_err(|e| wrong(format!("router: {e}; see docs/model-format.md")))?;
    let gate = gate(&router)?;
    let most = *sizes::EXPERTS.end();
    if router.shared_experts > most {
        return Err(wrong(format!("router.shared_experts is {}; at most {most} fit", router.shared_experts)));
    }
    let moe = MoeShape {
        gate: Some(gate),
        bias: gate.kind.has_bias(),
        router_bias: router.router_bias,
        expert_scale: router.expert_scale,
        noise: gate.kind == GateKind::NoisyTopK,
        shared: router.shared_experts,
        capacity_factor: router.capacity_factor,
        ..mixtral::moe(&keys)?
    };
    let known = [&mixtral::KNOWN, ["router"].as_slice()].concat();
    backbone::architecture(&keys, &mixtral::DEFAULTS, |_| moe.clone(), &known)
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
    check(router, kind)?;
    let needs = |key: &str| Error::model("config.json", format!("router.kind \"{}\" needs router.{key}", router.kind));
    let gate = match kind {
        GateKind::Hierarchical => Gate::hierarchical(
            router.groups.ok_or_else(|| needs("groups"))?,
            router.groups_per_token.ok_or_else(|| needs("groups_per_token"))?,
        ),
        _ => Gate::new(kind),
    };
    Ok(Gate {
        scale: router.scale.unwrap_or(gate.scale),
        renormalise: router.renormalise.unwrap_or(gate.renormalise),
        epsilon: router.epsilon.unwrap_or(gate.epsilon),
        least_sum: router.least_sum.unwrap_or(gate.least_sum),
        jitter: router.jitter.unwrap_or(gate.jitter),
        group_limit: router.group_limit,
        ..gate
    })
}

/// Checks that all numbers are in a range that f32 can handle, and that the kind of gate has these keys.
fn check(router: &Router, kind: GateKind) -> Result<()> {
    let wrong = |why: String| Err(Error::model("config.json", why));
    let numbers = [
        ("scale", router.scale, 0.0, 1e6),
        ("epsilon", router.epsilon, 0.0, 1.0),
        ("least_sum", router.least_sum, f32::MIN_POSITIVE, 1.0),
        ("jitter", router.jitter, 0.0, 1.0),
    ];
    for (key, value, least, most) in numbers {
        if let Some(value) = value.filter(|value| !(least..=most).contains(value)) {
            return wrong(format!("router.{key} is {value}; it must be a number from {least:?} to {most}"));
        }
    }
    let of_scores = [
        ("scale", router.scale.is_some()),
        ("renormalise", router.renormalise.is_some()),
        ("epsilon", router.epsilon.is_some()),
        ("least_sum", router.least_sum.is_some()),
        ("group_limit", router.group_limit.is_some()),
    ];
    let given = of_scores.iter().find(|(_, is_given)| *is_given);
    if let Some((key, _)) = given.filter(|_| !kind.weighs_scores()) {
        return wrong(format!("router.{key} is not known for the kind \"{}\"; leave it out", router.kind));
    }
    if router.jitter.is_some() && kind != GateKind::SparseMixer {
        return wrong(format!(
            "router.jitter is only known for \"sparse-mixer\", not \"{}\"; leave it out",
            router.kind
        ));
    }
    Ok(())
}

/// Views of all tensors; checks their shapes.
pub fn weights<'a>(tensors: &'a Tensors, a: &Architecture) -> Result<Weights<'a>> {
    backbone::weights(tensors, a, &Names::PLAIN, |at, moe| {
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
    if moe.router_bias {
        ffn.router_bias = Some(tensors.vector(&format!("{at}.gate.router_bias"), moe.experts)?);
    }
    if moe.expert_scale {
        ffn.expert_scale = Some(tensors.vector(&format!("{at}.gate.expert_scale"), moe.experts)?);
    }
    for n in 0..moe.shared {
        let at = format!("{at}.shared_experts.{n}");
        ffn.experts.push(backbone::expert(tensors, &at, ["w1", "w2", "w3"], moe.intermediate, hidden)?);
    }
    Ok(())
}
