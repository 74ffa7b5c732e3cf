//! The description of a loaded model that the page and the command line show.

use crate::shape::{Architecture, Cost, LayerShape, Mixer};
use serde::{Deserialize, Serialize};

/// The engine in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Backend {
    /// The CPU engine.
    Cpu,
    /// The CPU engine with weights rounded to 8 bits.
    CpuInt8,
    /// The GPU engine, on this adapter.
    Gpu {
        /// The adapter's name as the driver gives it.
        adapter: String,
    },
}

/// A loaded model, as the page and the command line present it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// The directory's name, or the file's.
    pub name: String,
    /// `model_type` of its config, "mixtral" for example.
    pub family: String,
    /// Transformer layers.
    pub layers: usize,
    /// The number of layers of the checkpoint, where only the first [`Self::layers`] of them are run.
    #[serde(default)]
    pub of_layers: Option<usize>,
    /// Experts of the layer that has most of them; 0 for a dense model.
    pub experts: usize,
    /// Routed experts per token in that layer.
    pub top_k: usize,
    /// That layer's router, as docs/model-format.md names it; "none" for a dense model.
    pub router: String,
    /// Shared experts of that layer, which every token uses in addition.
    pub shared_experts: usize,
    /// Capacity: the most tokens of a text that an expert of that layer takes, if limited.
    pub capacity: Option<usize>,
    /// All layers, in order. They may differ: in some models the first layer is dense.
    pub each_layer: Vec<LayerInfo>,
    /// Size of the vocabulary.
    pub vocabulary: usize,
    /// Longest text in tokens.
    pub context: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Counts of parameters by part.
    pub cost: Cost,
    /// Width of the stored weights: "f32", "f16", "bf16" or "f8_e4m3".
    pub dtype: String,
    /// Bytes of the weights as stored.
    pub weight_bytes: u64,
    /// The engine in use.
    pub backend: Backend,
    /// Why the requested engine is not in use, in one sentence.
    pub note: Option<String>,
}

/// The experts of one layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerInfo {
    /// Experts; 0 for a dense layer.
    pub experts: usize,
    /// Routed experts per token; 0 for a dense layer.
    pub top_k: usize,
    /// The router's kind as docs/model-format.md names it; "none" for a dense layer.
    pub router: String,
    /// Shared experts, which every token uses in addition.
    pub shared_experts: usize,
    /// Capacity: the most tokens of a text that an expert takes, if limited.
    pub capacity: Option<usize>,
    /// The kind of mixer: "attention", "latent-attention" or "convolution".
    #[serde(default)]
    pub mixer: String,
    /// The number of tokens that a token reads, itself included, if limited.
    #[serde(default)]
    pub window: Option<usize>,
    /// Width inside an expert, or inside the FFN.
    #[serde(default)]
    pub intermediate: usize,
}

impl LayerInfo {
    /// Describes this layer, of a model with a context of `context` tokens.
    fn new(layer: &LayerShape, context: usize) -> Self {
        let moe = &layer.moe;
        let (mixer, window) = match &layer.mixer {
            Mixer::Attention(attention) if attention.latent.is_some() => ("latent-attention", attention.window),
            Mixer::Attention(attention) => ("attention", attention.window),
            Mixer::Convolution(convolution) => ("convolution", Some(convolution.positions)),
            Mixer::StateSpace(_) => ("state-space", None),
        };
        let routed = |n: usize| if moe.gate.is_some() { n } else { 0 };
        Self {
            experts: routed(moe.experts),
            top_k: routed(moe.top_k),
            router: moe.gate.map_or_else(|| "none".into(), |gate| gate.kind.name()),
            shared_experts: moe.shared + moe.shared_ffn.map_or(0, |shared| shared.count),
            capacity: moe.capacity(context),
            mixer: mixer.into(),
            window,
            intermediate: moe.intermediate,
        }
    }
}

impl ModelInfo {
    /// Describes a model run by `backend`, whose weights are `stored` in this format and number of bytes.
    pub fn new(
        name: &str,
        family: &str,
        architecture: &Architecture,
        stored: (String, u64),
        backend: Backend,
        note: Option<String>,
    ) -> Self {
        let info = |layer: &LayerShape| LayerInfo::new(layer, architecture.context);
        let each_layer: Vec<LayerInfo> = architecture.layers.iter().map(info).collect();
        // The first of several largest ones; `max_by_key` alone would return the last.
        let widest = each_layer.iter().rev().max_by_key(|layer| layer.experts).expect("a model has layers").clone();
        Self {
            name: name.to_owned(),
            family: family.to_owned(),
            layers: each_layer.len(),
            of_layers: None,
            experts: widest.experts,
            top_k: widest.top_k,
            router: widest.router,
            shared_experts: widest.shared_experts,
            capacity: widest.capacity,
            each_layer,
            vocabulary: architecture.vocabulary,
            context: architecture.context,
            hidden: architecture.hidden,
            cost: architecture.cost(),
            dtype: stored.0,
            weight_bytes: stored.1,
            backend,
            note,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::{AttentionShape, MoeShape};

    /// Like DeepSeek's models: the first layer is dense, the others have experts.
    #[test]
    fn a_dense_layer_among_sparse_ones_is_described_as_such() {
        let layer = |moe| LayerShape::new(AttentionShape::new(2, 2, 4, 1e4), moe);
        let layers = vec![layer(MoeShape::dense(32)), layer(MoeShape::mixtral(16, 4, 8))];
        let architecture = Architecture { vocabulary: 9, hidden: 8, context: 64, layers, ..Architecture::default() };
        let info = ModelInfo::new("m", "f", &architecture, ("f32".into(), 0), Backend::Cpu, None);
        assert_eq!((info.layers, info.experts, info.top_k, info.router.as_str()), (2, 16, 4, "softmax-top-k"));
        let routers: Vec<(usize, &str)> = info.each_layer.iter().map(|l| (l.experts, l.router.as_str())).collect();
        assert_eq!(routers, [(0, "none"), (16, "softmax-top-k")]);
    }
}
