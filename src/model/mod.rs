//! What a checkpoint is: its configuration, its tensors, and the checks they must pass.
//!
//! The engines run a description of the computation ([`Architecture`]) and never ask for a family's
//! name: a family is a small file here that translates a config and tensor names into it.

mod backbone;
pub mod files;
mod float8;
pub mod info;
mod llama;
mod mixtral;
mod moescope;
pub mod tensors;
pub mod weights;

pub use files::ModelFiles;
pub use info::{Backend, ModelInfo};
pub use tensors::{Tensor, Tensors};
pub use weights::{ExpertWeights, FfnWeights, LayerWeights, Weights};

// What a checkpoint describes can be named from here too.
pub use crate::shape::{Architecture, AttentionShape, Cost, Dtype, LayerShape, Matrix, MoeShape, Part};

use crate::error::{Error, Result};
use files::at_once;

/// Families that can be loaded, by `model_type`.
const FAMILIES: [&str; 3] = ["mixtral", "llama", "moescope"];

/// A whole checkpoint: what to compute, and with which numbers.
pub struct Model {
    /// The directory's name.
    pub name: String,
    /// Its `model_type`.
    pub family: String,
    /// Its router's kind, as docs/model-format.md names it.
    router: String,
    /// What to compute.
    pub architecture: Architecture,
    tensors: Tensors,
}

impl Model {
    /// Reads a config and the headers of files that are here whole, and checks every tensor that it asks for: presence and shape.
    pub fn new(files: &ModelFiles) -> Result<Self> {
        at_once(async {
            let model = Self::arriving(files, false).await?;
            model.whole().await?;
            Ok(model)
        })
    }

    /// As [`Self::new`], of files whose ends may be on their way. With `once` the weights are for one engine: what it has read of them may
    /// be gone.
    pub async fn arriving(files: &ModelFiles, once: bool) -> Result<Self> {
        let config: serde_json::Value = serde_json::from_slice(&files.config)
            .map_err(|e| Error::model("config.json", format!("is not JSON ({e}); is this a model directory?")))?;
        let family = config.get("model_type").and_then(|v| v.as_str()).unwrap_or("(none)").to_owned();
        let architecture = match family.as_str() {
            "mixtral" => mixtral::architecture(&config)?,
            "llama" => llama::architecture(&config)?,
            "moescope" => moescope::architecture(&config)?,
            other => {
                return Err(Error::model(
                    "config.json",
                    format!("model_type is \"{other}\", which is not known; known families: {}", FAMILIES.join(", ")),
                ));
            }
        };
        let tensors = Tensors::new(&files.weights, once).await?;
        let router = match config.pointer("/router/kind").and_then(|kind| kind.as_str()) {
            Some(kind) => kind.to_owned(),
            None if architecture.layers[0].moe.gate.is_some() => "softmax-top-k".into(),
            None => "none".into(),
        };
        let model = Self { name: files.name.clone(), family, router, architecture, tensors };
        model.weights()?;
        Ok(model)
    }

    /// Waits until the files are here whole, and no longer than their headers say.
    pub async fn whole(&self) -> Result<()> {
        self.tensors.whole().await
    }

    /// Views of all weights, with their shapes checked.
    pub fn weights(&self) -> Result<Weights<'_>> {
        match self.family.as_str() {
            "llama" => llama::weights(&self.tensors, &self.architecture),
            "moescope" => moescope::weights(&self.tensors, &self.architecture),
            _ => mixtral::weights(&self.tensors, &self.architecture),
        }
    }

    /// Lets go of the weights, once no engine will be made of them any more.
    pub fn let_go(&mut self) {
        self.tensors.let_go();
    }

    /// What to say about this model while `backend` runs it.
    pub fn info(&self, backend: Backend, note: Option<String>) -> ModelInfo {
        let moe = &self.architecture.layers[0].moe;
        ModelInfo {
            name: self.name.clone(),
            family: self.family.clone(),
            layers: self.architecture.layers.len(),
            experts: if moe.gate.is_some() { moe.experts } else { 0 },
            top_k: if moe.gate.is_some() { moe.top_k } else { 0 },
            router: self.router.clone(),
            shared_experts: moe.shared,
            capacity: moe.capacity(self.architecture.context),
            vocabulary: self.architecture.vocabulary,
            context: self.architecture.context,
            hidden: self.architecture.hidden,
            cost: self.architecture.cost(),
            dtype: self.tensors.width().to_owned(),
            weight_bytes: self.tensors.bytes(),
            backend,
            note,
        }
    }
}
