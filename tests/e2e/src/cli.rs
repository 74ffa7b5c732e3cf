//! Runs the native command line on a text.

use crate::tools::Tools;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::process::Command;

/// The part of the JSON of `moescope trace` that the tests compare.
#[derive(Clone, Debug, Deserialize)]
pub struct Trace {
    /// The text's tokens.
    pub tokens: Vec<Token>,
    /// The layers that have experts.
    pub layers: Vec<Layer>,
    /// `[T][V]`, where logits were requested.
    #[serde(default)]
    pub logits: Vec<Vec<f64>>,
}

/// A token of the text.
#[derive(Clone, Debug, Deserialize)]
pub struct Token {
    /// Its id in the vocabulary.
    pub id: u32,
    /// The characters that it completes.
    pub text: String,
}

/// The routing of one layer.
#[derive(Clone, Debug, Deserialize)]
pub struct Layer {
    /// The layer's number, from 0.
    pub layer: usize,
    /// `[T][E]`: scores before softmax.
    pub router_logits: Vec<Vec<f64>>,
    /// `[T][k]`: expert ids by falling weight.
    pub selected: Vec<Vec<usize>>,
    /// `[T][k]`: the weights of the experts' outputs.
    pub weights: Vec<Vec<f64>>,
    /// The balance of the layer.
    pub balance: Balance,
}

/// A layer's balance over the text.
#[derive(Clone, Debug, Deserialize)]
pub struct Balance {
    /// `[E]`: shares of the assignments; they sum to 1.
    pub load: Vec<f64>,
    /// The busiest expert's load over the mean.
    pub max_over_mean: f64,
    /// Entropy of the load; 1 is even.
    pub entropy: f64,
    /// Standard deviation of the load over its mean.
    pub cv: f64,
    /// Balancing loss; 1 is even.
    pub aux_loss: f64,
}

impl Trace {
    /// The ids of the text's tokens.
    pub fn ids(&self) -> Vec<u32> {
        self.tokens.iter().map(|token| token.id).collect()
    }

    /// The layer with that number.
    ///
    /// # Panics
    /// The layer has no experts or does not exist.
    pub fn layer(&self, number: usize) -> &Layer {
        self.layers.iter().find(|layer| layer.layer == number).expect("the layer has experts")
    }
}

/// Runs `moescope trace` on a text.
///
/// # Errors
/// The command fails, or does not print its JSON.
pub fn trace(tools: &Tools, model: &str, text: &str, engine: &str) -> Result<Trace> {
    run(tools, model, &format!("--text={text}"), engine)
}

/// Runs `moescope trace` on token ids.
///
/// # Errors
/// As [`trace`].
pub fn trace_ids(tools: &Tools, model: &str, ids: &[u32], engine: &str) -> Result<Trace> {
    let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
    run(tools, model, &format!("--tokens={}", ids.join(",")), engine)
}

fn run(tools: &Tools, model: &str, prompt: &str, engine: &str) -> Result<Trace> {
    let output = Command::new(&tools.cli)
        .args(["trace", "--format", "json", "--logits", "none", "--engine", engine, "--model"])
        .arg(tools.model(model))
        .arg(prompt)
        .output()
        .with_context(|| format!("cannot run {}", tools.cli.display()))?;
    if !output.status.success() {
        bail!("moescope trace: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    serde_json::from_slice(&output.stdout).context("moescope trace printed other JSON than its contract")
}
