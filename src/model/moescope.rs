//! Moescope's own family: Mixtral's keys and tensors, and a `router` that says how experts are chosen
//! (docs/model-format.md).

use super::backbone;
use super::mixtral::{self, read};
use super::tensors::Tensors;
use super::weights::{FfnWeights, Weights};
use crate::error::{Error, Result};
use crate::shape::{Architecture, Gate, MoeShape};
use serde::Deserialize;

#[derive(Deserialize)]
struct Config {
    router: Router,
}

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

/// The kinds, as `router.kind` names them.
const KINDS: [&str; 5] = ["softmax-top-k", "top-k-of-softmax", "noisy-top-k", "hierarchical", "sigmoid-bias"];

/// What a config asks to compute.
pub fn architecture(config: &serde_json::Value) -> Result<Architecture> {
    let Config { router } = read(config)?;
    let gate = gate(&router)?;
    let moe = MoeShape {
        gate: Some(gate),
        bias: matches!(gate, Gate::SigmoidBias { .. }),
        noise: router.kind == "noisy-top-k",
        shared: router.shared_experts,
        capacity_factor: router.capacity_factor,
        ..mixtral::moe(config)?
    };
    backbone::architecture(&read(config)?, &mixtral::DEFAULTS, moe)
}

fn gate(router: &Router) -> Result<Gate> {
    let needs = |key: &str| Error::model("config.json", format!("router.kind \"{}\" needs router.{key}", router.kind));
    if router.scale.is_some() && router.kind != "sigmoid-bias" {
        let why = format!(
            "router.scale is only known for \"sigmoid-bias\", and router.kind is \"{}\"; leave it out",
            router.kind
        );
        return Err(Error::model("config.json", why));
    }
    match router.kind.as_str() {
        "softmax-top-k" | "noisy-top-k" => Ok(Gate::SoftmaxTopK),
        "top-k-of-softmax" => Ok(Gate::TopKOfSoftmax),
        "sigmoid-bias" => Ok(Gate::SigmoidBias { scale: router.scale.unwrap_or(1.0) }),
        "hierarchical" => Ok(Gate::Hierarchical {
            groups: router.groups.ok_or_else(|| needs("groups"))?,
            groups_per_token: router.groups_per_token.ok_or_else(|| needs("groups_per_token"))?,
        }),
        kind => {
            let why = format!("router.kind is \"{kind}\", which is not known; known kinds: {}", KINDS.join(", "));
            Err(Error::model("config.json", why))
        }
    }
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
    if let Some(Gate::Hierarchical { groups, .. }) = moe.gate {
        ffn.group_router = Some(tensors.matrix(&format!("{at}.group_gate.weight"), groups, hidden)?);
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
