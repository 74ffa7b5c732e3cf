//! Checkpoints with random weights, in sizes that no shipped model has: many experts, many layers, two gates.

use crate::tools::Tools;
use anyhow::{Context, Result};
use axum::Router;
use axum::body::Bytes;
use axum::routing::any;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

/// The size of a model.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Its name, the last part of its path.
    pub name: &'static str,
    /// Number of layers.
    pub layers: usize,
    /// Experts of each layer.
    pub experts: usize,
    /// Experts of each token.
    pub per_token: usize,
    /// Experts that work on every token.
    pub shared: usize,
    /// Its gate.
    pub gate: Gate,
}

/// The gate of a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Gate {
    /// Mixtral's.
    Mixtral,
    /// Sigmoids with a bias.
    Sigmoid,
    /// So many groups first, of which two are chosen.
    Groups(usize),
    /// Each expert takes only so many times its even share of the tokens.
    Capacity(f64),
}

/// What each part of the stage has to show.
pub const SHAPES: [Shape; 6] = [
    Shape { name: "sixty-four", layers: 32, experts: 64, per_token: 8, shared: 0, gate: Gate::Mixtral },
    Shape { name: "many", layers: 48, experts: 128, per_token: 8, shared: 0, gate: Gate::Mixtral },
    Shape { name: "sixteen", layers: 24, experts: 16, per_token: 2, shared: 0, gate: Gate::Mixtral },
    Shape { name: "shared", layers: 24, experts: 64, per_token: 6, shared: 2, gate: Gate::Sigmoid },
    Shape { name: "two-gates", layers: 12, experts: 64, per_token: 4, shared: 0, gate: Gate::Groups(8) },
    Shape { name: "full", layers: 24, experts: 32, per_token: 2, shared: 0, gate: Gate::Capacity(0.5) },
];

const HIDDEN: usize = 64;
const HEAD: usize = 32;
const INTERMEDIATE: usize = 8;
const VOCABULARY: usize = 8192;

impl Shape {
    /// The path at which [`router`] serves the model.
    pub fn path(&self) -> String {
        format!("/synthetic/{}", self.name)
    }

    fn config(&self) -> Value {
        let mut config = json!({
            "model_type": "moescope", "hidden_size": HIDDEN, "intermediate_size": INTERMEDIATE,
            "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": HEAD, "hidden_act": "silu",
            "num_hidden_layers": self.layers, "num_local_experts": self.experts,
            "num_experts_per_tok": self.per_token, "vocab_size": VOCABULARY, "max_position_embeddings": 512,
            "rms_norm_eps": 1e-5, "rope_theta": 10_000.0, "tie_word_embeddings": true,
        });
        match self.gate {
            Gate::Mixtral => config["model_type"] = json!("mixtral"),
            Gate::Sigmoid => config["router"] = json!({ "kind": "sigmoid-bias", "shared_experts": self.shared }),
            Gate::Groups(groups) => {
                config["router"] = json!({ "kind": "hierarchical", "groups": groups, "groups_per_token": 2 });
            }
            Gate::Capacity(factor) => {
                config["router"] = json!({ "kind": "top-k-of-softmax", "capacity_factor": factor });
            }
        }
        config
    }

    /// Names and shapes of all tensors.
    fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let mut tensors = vec![
            ("model.embed_tokens.weight".to_owned(), vec![VOCABULARY, HIDDEN]),
            ("model.norm.weight".to_owned(), vec![HIDDEN]),
        ];
        for layer in 0..self.layers {
            let mut add = |name: &str, shape: &[usize]| {
                tensors.push((format!("model.layers.{layer}.{name}.weight"), shape.to_vec()));
            };
            add("input_layernorm", &[HIDDEN]);
            add("post_attention_layernorm", &[HIDDEN]);
            add("self_attn.q_proj", &[2 * HEAD, HIDDEN]);
            add("self_attn.k_proj", &[HEAD, HIDDEN]);
            add("self_attn.v_proj", &[HEAD, HIDDEN]);
            add("self_attn.o_proj", &[HIDDEN, 2 * HEAD]);
            add("block_sparse_moe.gate", &[self.experts, HIDDEN]);
            if let Gate::Groups(groups) = self.gate {
                add("block_sparse_moe.group_gate", &[groups, HIDDEN]);
            }
            for (kind, count) in [("experts", self.experts), ("shared_experts", self.shared)] {
                for expert in 0..count {
                    add(&format!("block_sparse_moe.{kind}.{expert}.w1"), &[INTERMEDIATE, HIDDEN]);
                    add(&format!("block_sparse_moe.{kind}.{expert}.w2"), &[HIDDEN, INTERMEDIATE]);
                    add(&format!("block_sparse_moe.{kind}.{expert}.w3"), &[INTERMEDIATE, HIDDEN]);
                }
            }
            if self.gate == Gate::Sigmoid {
                tensors.push((format!("model.layers.{layer}.block_sparse_moe.gate.bias"), vec![self.experts]));
            }
        }
        tensors
    }

    fn weights(&self) -> Result<Vec<u8>> {
        let tensors = self.tensors();
        let mut state = 0x9e37_79b9_u32;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as f32 / u32::MAX as f32 - 0.5
        };
        let contents: Vec<Vec<u8>> = tensors
            .iter()
            .map(|(name, shape)| {
                let scale = if name.contains("gate") { 1.4 } else { 0.4 };
                let value = |random: f32| match () {
                    () if name.ends_with("norm.weight") => 1.0_f32,
                    () if name.ends_with("bias") => 0.0,
                    () => random * scale,
                };
                // Half of a number's bits: bfloat16.
                (0..shape.iter().product()).flat_map(|_| value(random()).to_le_bytes()[2..].to_vec()).collect()
            })
            .collect();
        let views = tensors.iter().zip(&contents).map(|((name, shape), contents)| {
            Ok((name.as_str(), TensorView::new(Dtype::BF16, shape.clone(), contents)?))
        });
        Ok(safetensors::serialize(views.collect::<Result<Vec<_>>>()?, None)?)
    }
}

/// Serves the files of these models, with the tokenizer of `main`.
///
/// # Errors
/// The site has no `main`.
pub fn router(tools: &Tools, shapes: &[Shape]) -> Result<Router> {
    let tokenizer = std::fs::read(tools.model("main").join("tokenizer.json")).context("no tokenizer.json")?;
    let mut router = Router::new();
    for shape in shapes {
        let files = [
            ("config.json", shape.config().to_string().into_bytes()),
            ("model.safetensors", shape.weights()?),
            ("tokenizer.json", tokenizer.clone()),
        ];
        for (name, contents) in files {
            let contents = Bytes::from(contents);
            router = router.route(&format!("{}/{name}", shape.path()), any(|| async { contents }));
        }
    }
    Ok(router)
}
