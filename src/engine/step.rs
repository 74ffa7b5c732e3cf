//! A step: which logits the caller asks an engine for, and what the engine returns.

use super::layer_trace::LayerTrace;
use crate::error::{Error, Result};
use crate::shape::{Architecture, Gate, MoeShape, Setting, Settings};

/// The tokens of a step after which logits are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogitsOf {
    /// None.
    #[default]
    None,
    /// The last token: `[1, V]`.
    Last,
    /// Every token: `[T, V]`.
    All,
}

impl LogitsOf {
    /// The index of the first of a step's `tokens` tokens whose logits are computed; `tokens` where none are.
    pub fn from(self, tokens: usize) -> usize {
        match self {
            Self::None => tokens,
            Self::Last => tokens - 1,
            Self::All => 0,
        }
    }
}

/// The result of a step.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// Logits of the requested tokens, row-major, one row of `V` for each.
    pub logits: Vec<f32>,
    /// Routing of the step's tokens, one entry for each layer that has experts.
    pub layers: Vec<LayerTrace>,
}

impl Step {
    /// An empty result, with rows as long as `settings` need.
    pub fn new(architecture: &Architecture, settings: &Settings) -> Self {
        let layers = architecture.layers.iter().zip(settings).enumerate();
        let routed = layers.filter_map(|(n, (layer, settings))| Some((n, &layer.moe, settings, layer.moe.gate?)));
        let trace = |(n, moe, settings, gate): (usize, &MoeShape, &Vec<Setting>, Gate)| LayerTrace {
            groups: gate.groups,
            ..LayerTrace::new(n, moe.experts, longest_row(settings))
        };
        Self { logits: Vec::new(), layers: routed.map(trace).collect() }
    }

    /// Rejects numbers that are not finite: the model or the policy leads to values beyond the range of f32.
    pub fn checked(self) -> Result<Self> {
        let bad = |numbers: &[f32]| numbers.iter().any(|x| !x.is_finite());
        let layer = self.layers.iter().find(|layer| bad(&layer.router_logits) || bad(&layer.weights));
        let at = match layer {
            Some(layer) => format!("in the router of layer {}", layer.layer),
            None if bad(&self.logits) => "in the logits".into(),
            None => return Ok(self),
        };
        Err(not_finite(&at))
    }
}

/// The error for numbers that are NaN or infinite; `at` says where.
pub(crate) fn not_finite(at: &str) -> Error {
    Error::Input(format!("the numbers are not finite {at}; check the model's config.json and weights, and the policy"))
}

/// The most experts that a token uses; 1 where there are no settings (a dense FFN).
fn longest_row(settings: &[Setting]) -> usize {
    settings.iter().map(Setting::row).max().unwrap_or(1)
}

/// Whether some setting has a capacity.
pub(super) fn is_limited(settings: &[Setting]) -> bool {
    settings.iter().any(|setting| setting.limit.is_some())
}

/// Whether the gate's choices can change afterwards, through a capacity or expert choice.
pub(super) fn needs_settling(settings: &[Setting]) -> bool {
    is_limited(settings) || settings.iter().any(Setting::experts_choose)
}

/// The architecture with as many choices as `settings` need.
pub(super) fn with_room(architecture: &Architecture, settings: &Settings) -> Architecture {
    let mut roomy = architecture.clone();
    for (layer, settings) in roomy.layers.iter_mut().zip(settings) {
        layer.moe.top_k = longest_row(settings);
    }
    roomy
}

/// Appends the routing of a step's tokens to a layer's trace. `router_logits` are `[T, R]`; `selected`, `weights` and
/// `dropped` are `[T, choices]`, of which the trace keeps the first `k` (without shared experts).
pub(super) fn record(
    shape: &MoeShape,
    router_logits: &[f32],
    selected: &[u32],
    weights: &[f32],
    dropped: &[bool],
    trace: &mut LayerTrace,
) {
    for row in router_logits.chunks_exact(shape.router_rows()) {
        let (experts, rest) = row.split_at(shape.experts);
        trace.router_logits.extend_from_slice(experts);
        trace.group_logits.extend_from_slice(&rest[..trace.groups]);
    }
    let (k, choices) = (trace.top_k, shape.choices());
    selected.chunks_exact(choices).for_each(|row| trace.selected.extend_from_slice(&row[..k]));
    weights.chunks_exact(choices).for_each(|row| trace.weights.extend_from_slice(&row[..k]));
    dropped.chunks_exact(choices).for_each(|row| trace.dropped.extend_from_slice(&row[..k]));
}
