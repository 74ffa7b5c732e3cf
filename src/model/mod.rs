//! What a checkpoint is: its configuration, its tensors, and the checks they must pass.
//!
//! The engines run a description of the computation ([`Architecture`]) and never ask for a family's
//! name: a family is a small file here that translates a config and tensor names into it.

mod backbone;
mod family;
pub mod files;
mod float8;
pub mod info;
mod llama;
mod mixtral;
mod moescope;
pub mod tensors;
pub mod weights;

pub use files::ModelFiles;
pub use info::{Backend, LayerInfo, ModelInfo};
pub use tensors::{Tensor, Tensors};
pub use weights::{ExpertWeights, FfnWeights, LayerWeights, Weights};

// What a checkpoint describes can be named from here too.
pub use crate::shape::{Architecture, AttentionShape, Cost, Dtype, LayerShape, Matrix, MoeShape, Part};

use crate::error::{Error, Result};
use family::Family;
use files::at_once;

/// A whole checkpoint: what to compute, and with which numbers.
pub struct Model {
    /// The directory's name.
    pub name: String,
    family: &'static Family,
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
        let family = family::of(&config)?;
        let architecture = (family.architecture)(&config)?;
        let tensors = Tensors::new(&files.weights, once).await?;
        let model = Self { name: files.name.clone(), family, architecture, tensors };
        model.weights()?;
        Ok(model)
    }

    /// Waits until the files are here whole, and no longer than their headers say.
    pub async fn whole(&self) -> Result<()> {
        self.tensors.whole().await
    }

    /// Views of all weights, with their shapes checked.
    pub fn weights(&self) -> Result<Weights<'_>> {
        (self.family.weights)(&self.tensors, &self.architecture)
    }

    /// Lets go of the weights, once no engine will be made of them any more.
    pub fn let_go(&mut self) {
        self.tensors.let_go();
    }

    /// What to say about this model while `backend` runs it.
    pub fn info(&self, backend: Backend, note: Option<String>) -> ModelInfo {
        let Self { name, family, architecture, tensors } = self;
        let stored = (tensors.width(), tensors.bytes());
        ModelInfo::new(name, family.name, architecture, stored, backend, note)
    }
}
