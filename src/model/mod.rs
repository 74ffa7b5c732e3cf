//! What a checkpoint is: its configuration, its tensors, and the checks they must pass.
//!
//! The engines run a description of the computation ([`Architecture`]) and never ask for a family's
//! name: a family is a small file here that translates a config and tensor names into it.

pub mod architecture;
pub mod files;
pub mod info;
pub mod mixtral;
pub mod tensors;
pub mod weights;

pub use architecture::{Architecture, AttentionShape, LayerShape, MoeShape};
pub use files::ModelFiles;
pub use info::{Backend, Cost, ModelInfo, Part};
pub use tensors::{Dtype, Tensors};
pub use weights::{ExpertWeights, LayerWeights, Matrix, Weights};

use crate::error::{Error, Result};

/// Families that can be loaded, by `model_type`.
const FAMILIES: [&str; 1] = ["mixtral"];

/// A whole checkpoint: what to compute, and with which numbers.
pub struct Model {
    /// The directory's name.
    pub name: String,
    /// Its `model_type`.
    pub family: String,
    /// What to compute.
    pub architecture: Architecture,
    tensors: Tensors,
}

impl Model {
    /// Reads a config and checks every tensor that it asks for: presence, shape, finite numbers.
    pub fn new(files: &ModelFiles) -> Result<Self> {
        let config: serde_json::Value = serde_json::from_slice(&files.config)
            .map_err(|e| Error::model("config.json", format!("is not JSON ({e}); is this a model directory?")))?;
        let family = config.get("model_type").and_then(|v| v.as_str()).unwrap_or("(none)").to_owned();
        let architecture = match family.as_str() {
            "mixtral" => mixtral::architecture(&config)?,
            other => {
                return Err(Error::model(
                    "config.json",
                    format!("model_type is \"{other}\", which is not known; known families: {}", FAMILIES.join(", ")),
                ));
            }
        };
        let tensors = Tensors::new(&files.weights)?;
        let model = Self { name: files.name.clone(), family, architecture, tensors };
        model.weights()?.check_finite()?;
        Ok(model)
    }

    /// Views of all weights, with their shapes checked.
    pub fn weights(&self) -> Result<Weights<'_>> {
        mixtral::weights(&self.tensors, &self.architecture)
    }

    /// What to say about this model while `backend` runs it.
    pub fn info(&self, backend: Backend, note: Option<String>) -> ModelInfo {
        let moe = &self.architecture.layers[0].moe;
        ModelInfo {
            name: self.name.clone(),
            family: self.family.clone(),
            layers: self.architecture.layers.len(),
            experts: moe.experts,
            top_k: moe.top_k,
            vocabulary: self.architecture.vocabulary,
            context: self.architecture.context,
            hidden: self.architecture.hidden,
            cost: self.architecture.cost(),
            dtype: self.tensors.dtype().name().to_owned(),
            weight_bytes: self.tensors.bytes(),
            backend,
            note,
        }
    }
}
