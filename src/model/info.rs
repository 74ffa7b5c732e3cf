//! What the product says about a loaded model.

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
    /// Experts of the layer that has most of them; 0 for a dense model.
    pub experts: usize,
    /// Experts that a token's router picks in that layer.
    pub top_k: usize,
    /// That layer's router, as docs/model-format.md names it; "none" for a dense model.
    pub router: String,
    /// Experts of that layer that every token uses besides.
    pub shared_experts: usize,
    /// Most tokens of a text that an expert of that layer takes, where there is such a limit.
    pub capacity: Option<usize>,
    /// Every layer, in order: they may differ, as where the first is dense.
    pub each_layer: Vec<LayerInfo>,
    /// Size of the vocabulary.
    pub vocabulary: usize,
    /// Longest text in tokens.
    pub context: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Where the parameters are.
    pub cost: Cost,
    /// Width of the stored weights: "f32", "f16", "bf16" or "f8_e4m3".
    pub dtype: String,
    /// Bytes of the weights as stored.
    pub weight_bytes: u64,
    /// The engine in use.
    pub backend: Backend,
    /// Why it is not the one that was asked for, in one sentence.
    pub note: Option<String>,
}

/// The experts of one layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerInfo {
    /// Experts; 0 for a dense layer.
    pub experts: usize,
    /// Experts that a token's router picks; 0 for a dense layer.
    pub top_k: usize,
    /// The router's kind as docs/model-format.md names it; "none" for a dense layer.
    pub router: String,
    /// Experts that every token uses besides.
    pub shared_experts: usize,
    /// Most tokens of a text that an expert takes, where there is such a limit.
    pub capacity: Option<usize>,
    /// What carries numbers from token to token: "attention", "latent-attention" or "convolution".
    #[serde(default)]
    pub mixer: String,
    /// Tokens that a token sees, its own among them, where that is limited.
    #[serde(default)]
    pub window: Option<usize>,
    /// Width inside an expert, or inside the FFN.
    #[serde(default)]
    pub intermediate: usize,
}

impl LayerInfo {
    /// This layer of a model that reads texts of at most `context` tokens.
    fn new(layer: &LayerShape, context: usize) -> Self {
        let moe = &layer.moe;
        let (mixer, window) = match &layer.mixer {
            Mixer::Attention(attention) if attention.latent.is_some() => ("latent-attention", attention.window),
            Mixer::Attention(attention) => ("attention", attention.window),
            Mixer::Convolution(convolution) => ("convolution", Some(convolution.positions)),
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
    /// Describes a model whose weights are `stored` in this width and number of bytes, while `backend` runs it.
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
        // Of equals the first, which a plain `max_by_key` would not give.
        let widest = each_layer.iter().rev().max_by_key(|layer| layer.experts).expect("a model has layers").clone();
        Self {
            name: name.to_owned(),
            family: family.to_owned(),
            layers: each_layer.len(),
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

    /// As DeepSeek's models: the first layer is dense, the others have experts.
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
