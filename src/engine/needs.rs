//! What a model needs to run, known from its config and the headers of its files, before its weights are read.

use super::rewind::KEPT;
use crate::error::Result;
use crate::model::{Model, Tensor};
use crate::shape::{Architecture, LayerShape, Mixer};
use serde::{Deserialize, Serialize};

/// The most tokens of a step of the CPU engine: enough that each read of an expert's weights serves many tokens.
/// Callers that must react to a changed text sooner use shorter steps.
pub const CHUNK: usize = 256;

/// What a layer keeps of a text has room for so many more positions at a time.
pub const BLOCK: usize = 256;

/// Models with fewer bytes of weights are widened to f32 on the CPU: they stay in the processor's caches, so that
/// reading them costs little.
const SMALL: u64 = 32 << 20;

/// What one layer needs, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerNeeds {
    /// Weights of its experts that a router chooses from.
    pub experts: u64,
    /// Its other weights.
    pub rest: u64,
    /// The largest stack of matrices that a GPU has in one buffer.
    pub largest: u64,
    /// What it keeps of a text's first [`BLOCK`] positions.
    pub cache: u64,
    /// Activations of a step.
    pub activations: u64,
}

/// What a model needs, in bytes. Weights count as they are stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    /// Each layer's needs.
    pub layers: Vec<LayerNeeds>,
    /// Embeddings, output and last norm.
    pub outside: u64,
    /// The largest of these.
    pub largest: u64,
}

impl Needs {
    /// The needs of a model, whose headers must have been read.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn of(model: &Model) -> Result<Self> {
        let weights = model.weights()?;
        let bytes = |tensor: &Tensor<'_>| tensor.bytes() as u64;
        let layers = weights.layers.iter().zip(&model.architecture.layers).map(|(layer, shape)| {
            let all: u64 = layer.all().map(bytes).sum();
            let is_routed = shape.moe.gate.is_some();
            let experts = &layer.ffn.experts;
            let (ups, downs) = experts.iter().fold((0, 0), |(ups, downs), expert| {
                (ups + bytes(&expert.w1) + bytes(&expert.w3), downs + bytes(&expert.w2))
            });
            let routed = if is_routed { ups + downs } else { 0 };
            let (cache, activations) = working_bytes(&model.architecture, shape);
            LayerNeeds { experts: routed, rest: all - routed, largest: ups.max(downs), cache, activations }
        });
        let layers = layers.collect();
        let head = weights.lm_head.iter().chain(&weights.head_bias);
        let outside: Vec<u64> = [&weights.embed].into_iter().chain(weights.norm.all()).chain(head).map(bytes).collect();
        let largest = outside.iter().copied().max().unwrap_or(0);
        Ok(Self { layers, outside: outside.iter().sum(), largest })
    }

    /// Whether the CPU engine widens the weights to f32.
    pub fn is_small(&self) -> bool {
        self.weights(1.0) < SMALL
    }

    /// The needs of the first `count` layers alone, with what is outside of layers.
    pub fn first(&self, count: usize) -> Self {
        Self { layers: self.layers.iter().take(count).copied().collect(), ..self.clone() }
    }

    /// Weights with the share `resident` of the experts, 0 to 1.
    pub fn weights(&self, resident: f64) -> u64 {
        let of = |layer: &LayerNeeds| layer.rest + (layer.experts as f64 * resident).ceil() as u64;
        self.outside + self.layers.iter().map(of).sum::<u64>()
    }

    /// Memory that the CPU engine takes, with the share `resident` of the experts: the weights, which it widens where
    /// they are small, what layers keep of the beginning of a text, and activations.
    pub fn on_cpu(&self, resident: f64) -> u64 {
        let weights = self.weights(resident);
        // Numbers of 16 bits become f32.
        let widened = if self.is_small() { 2 * weights } else { weights };
        let cache: u64 = self.layers.iter().map(|layer| layer.cache).sum();
        widened + cache + self.layers.iter().map(|layer| layer.activations).max().unwrap_or(0)
    }

    /// The largest buffer on a GPU.
    pub fn largest_buffer(&self) -> u64 {
        self.layers.iter().map(|layer| layer.largest).max().unwrap_or(0).max(self.largest)
    }
}

/// How many numbers a layer keeps of each position of a text.
pub fn numbers_of_position(a: &Architecture, layer: &LayerShape) -> usize {
    match &layer.mixer {
        Mixer::Attention(s) => s.kv_heads * (s.head_dim + s.value_dim),
        Mixer::Convolution(_) => a.hidden,
        Mixer::StateSpace(_) => 0,
    }
}

/// Bytes of what a layer keeps of a text's first [`BLOCK`] positions, and of its activations. Some configs make these
/// much larger than the weights.
fn working_bytes(a: &Architecture, layer: &LayerShape) -> (u64, u64) {
    let states = match &layer.mixer {
        Mixer::Attention(_) | Mixer::Convolution(_) => 0,
        Mixer::StateSpace(s) => (1 + KEPT as u64) * (s.kept().0 as u64 + s.kept().1 as u64),
    };
    let moe = &layer.moe;
    let cache = a.context.min(BLOCK) as u64 * numbers_of_position(a, layer) as u64 + states;
    (4 * cache, 4 * (CHUNK * moe.choices()) as u64 * (moe.intermediate + a.hidden) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::files::read_dir;
    use std::path::Path;

    #[test]
    fn needs_are_the_sums_of_the_files() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/fixtures/basic");
        let model = Model::new(&read_dir(&directory).unwrap()).unwrap();
        let needs = Needs::of(&model).unwrap();
        assert_eq!(needs.weights(1.0), model.tensors().bytes());
        assert_eq!(needs.layers.len(), model.architecture.layers.len());
        let experts: u64 = needs.layers.iter().map(|layer| layer.experts).sum();
        assert_eq!(experts, 4 * model.architecture.cost().experts.total, "numbers of 4 bytes");
        assert_eq!(needs.weights(1.0) - needs.weights(0.5), experts / 2);
        let one = needs.first(1);
        assert_eq!(one.weights(1.0), needs.outside + needs.layers[0].experts + needs.layers[0].rest);
        assert!(one.on_cpu(1.0) > one.weights(1.0) && needs.on_cpu(1.0) > one.on_cpu(1.0));
        assert!(needs.largest_buffer() >= needs.largest);
    }
}
