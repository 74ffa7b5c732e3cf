//! The JSON of a trace, the same for the command line and `window.moescope`.

use super::balance::{Balance, balance};
use super::policy::Policy;
use super::trace::Trace;
use crate::engine::LayerTrace;
use crate::error::{Error, Result};
use crate::model::{Backend, ModelInfo};
use crate::shape::NONE;
use serde::{Deserialize, Serialize};

/// The JSON document of a trace.
#[derive(Serialize)]
pub struct Document<'a> {
    schema: u32,
    model: ModelJson<'a>,
    engine: String,
    #[serde(skip_serializing_if = "serde_json::Value::is_null")]
    policy: serde_json::Value,
    tokens: Vec<TokenJson<'a>>,
    layers: Vec<LayerJson<'a>>,
    /// Logits after the last token, `[V]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logits_last: Option<&'a [f32]>,
    /// Logits after every token, `[T][V]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logits: Option<Vec<&'a [f32]>>,
}

#[derive(Serialize)]
struct ModelJson<'a> {
    name: &'a str,
    family: &'a str,
    layers: usize,
    /// Layers of the checkpoint, where only the first ones ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    of_layers: Option<usize>,
    experts: usize,
    top_k: usize,
    router: &'a str,
    shared_experts: usize,
    parameters: u64,
    active_parameters: u64,
}

#[derive(Serialize)]
struct TokenJson<'a> {
    id: u32,
    text: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    control: bool,
}

#[derive(Serialize)]
struct LayerJson<'a> {
    layer: usize,
    router_logits: Vec<&'a [f32]>,
    selected: Vec<&'a [u32]>,
    weights: Vec<&'a [f32]>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    group_logits: Vec<&'a [f32]>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dropped: Vec<&'a [bool]>,
    balance: Balance,
}

impl<'a> Document<'a> {
    /// The document of `trace`, which ran under `policy`, without logits.
    pub fn new(model: &'a ModelInfo, policy: &Policy, trace: &'a Trace) -> Self {
        Self {
            schema: 1,
            model: ModelJson {
                name: &model.name,
                family: &model.family,
                layers: model.layers,
                of_layers: model.of_layers,
                experts: model.experts,
                top_k: model.top_k,
                router: &model.router,
                shared_experts: model.shared_experts,
                parameters: model.cost.parameters(),
                active_parameters: model.cost.active_parameters(),
            },
            engine: engine_name(&model.backend),
            policy: policy.to_json(),
            tokens: trace.tokens.iter().map(|t| TokenJson { id: t.id, text: &t.text, control: t.control }).collect(),
            layers: trace.layers.iter().map(LayerJson::new).collect(),
            logits_last: None,
            logits: None,
        }
    }
}

impl<'a> LayerJson<'a> {
    fn new(layer: &'a LayerTrace) -> Self {
        let rows = || 0..layer.tokens();
        Self {
            layer: layer.layer,
            router_logits: layer.router_logits.chunks_exact(layer.experts).collect(),
            selected: rows().map(|t| layer.selected_of(t)).collect(),
            weights: rows().map(|t| layer.weights_of(t)).collect(),
            group_logits: layer.group_logits.chunks_exact(layer.groups.max(1)).collect(),
            dropped: if layer.dropped.is_empty() { Vec::new() } else { rows().map(|t| layer.dropped_of(t)).collect() },
            balance: balance(layer),
        }
    }
}

/// "cpu", "cpu-int8", or "gpu (adapter name)".
fn engine_name(backend: &Backend) -> String {
    match backend {
        Backend::Cpu => "cpu".into(),
        Backend::CpuInt8 => "cpu-int8".into(),
        Backend::Gpu { adapter } => format!("gpu ({adapter})"),
    }
}

/// Reads which experts were chosen from the JSON of a trace. Tokens, weights and logits stay empty.
///
/// # Errors
/// It is not the JSON of a trace.
pub fn read_choices(json: &str) -> Result<Trace> {
    #[derive(Deserialize)]
    struct Read {
        layers: Vec<Layer>,
    }
    #[derive(Deserialize)]
    struct Layer {
        layer: usize,
        router_logits: Vec<Vec<f32>>,
        selected: Vec<Vec<u32>>,
        #[serde(default)]
        dropped: Vec<Vec<bool>>,
    }
    let wrong = |why: String| Error::model("the trace", format!("{why}; it must be the JSON of `moescope trace`"));
    let read: Read = serde_json::from_str(json).map_err(|e| wrong(format!("cannot be read ({e})")))?;
    let mut trace = Trace::default();
    for Layer { layer, router_logits, selected, dropped } in read.layers {
        let experts = router_logits.first().map_or(0, Vec::len);
        let top_k = selected.iter().map(Vec::len).max().unwrap_or(0);
        if selected.iter().flatten().any(|expert| *expert as usize >= experts) {
            return Err(wrong(format!("names an expert in layer {layer} that has no router logit")));
        }
        let mut of = LayerTrace::new(layer, experts, top_k);
        for (token, row) in selected.iter().enumerate() {
            of.selected.extend(row.iter().copied().chain(std::iter::repeat(NONE)).take(top_k));
            if !dropped.is_empty() {
                let flags = dropped.get(token).map_or(&[][..], Vec::as_slice);
                of.dropped.extend(flags.iter().copied().chain(std::iter::repeat(false)).take(top_k));
            }
        }
        trace.layers.push(of);
    }
    Ok(trace)
}
