//! Reads checkpoints: configuration and tensors, and the checks of both.
//!
//! The engines run a description of the computation ([`Architecture`]) and do not depend on a family's name. A family
//! is a small file here that translates its config and tensor names into that description.
//!
//! ```
//! use moescope::model::{Backend, Model, files::read_dir};
//!
//! let model = Model::new(&read_dir("tests/golden/fixtures/basic".as_ref())?)?;
//! let info = model.info(Backend::Cpu, None);
//! assert_eq!((info.family.as_str(), info.experts, info.top_k), ("mixtral", 8, 2));
//! # Ok::<(), moescope::error::Error>(())
//! ```

mod content;
mod family;
pub mod files;
mod float8;
pub mod gguf;
pub mod info;
mod keys;
mod safetensors_header;
pub mod tensors;
pub mod weights;

pub use files::ModelFiles;
pub use info::{Backend, LayerInfo, ModelInfo};
pub use tensors::{Tensor, Tensors};
pub use weights::{ExpertWeights, FfnWeights, LayerWeights, MatrixWeights, NormWeights, Weights};

// Re-exported, because a checkpoint describes it.
pub use crate::shape::{Architecture, AttentionShape, Cost, Dtype, LayerShape, Matrix, Mixer, MoeShape, Part};

use crate::error::{Error, Result};
use family::Family;
use files::at_once;

/// A whole checkpoint: its architecture and its weights.
pub struct Model {
    /// The directory's name.
    pub name: String,
    family: &'static Family,
    /// The architecture.
    pub architecture: Architecture,
    /// Ids of tokens that end a text: generation stops after one.
    pub ends: Vec<u32>,
    tensors: Tensors,
    /// The number of layers of the checkpoint.
    all_layers: usize,
}

impl Model {
    /// Reads a config and the headers of complete files, and checks that every tensor is there and has the shape that
    /// the config asks for.
    pub fn new(files: &ModelFiles) -> Result<Self> {
        at_once(async {
            let model = Self::arriving(files, false).await?;
            model.whole().await?;
            Ok(model)
        })
    }

    /// Like [`Self::new`], for files that are still arriving. With `once` the weights serve one engine: each tensor
    /// can be read once, and its bytes may be freed afterwards.
    pub async fn arriving(files: &ModelFiles, once: bool) -> Result<Self> {
        let config: serde_json::Value = serde_json::from_slice(&files.config)
            .map_err(|e| Error::model("config.json", format!("is not JSON ({e}); is this a model directory?")))?;
        let located = |error| of_metadata(error, files);
        let family = family::of(&config).map_err(located)?;
        let mut architecture = (family.architecture)(&config).map_err(located)?.within_memory();
        let tensors = Tensors::new(&files.weights, once).await?;
        // As in transformers 5, which ties the output to the embeddings unless the file has both.
        architecture.tied &= !tensors.has("lm_head.weight");
        let ends = ends(&config, files.generation.as_deref());
        let all_layers = architecture.layers.len();
        let model = Self { name: files.name.clone(), family, architecture, ends, tensors, all_layers };
        model.weights()?;
        Ok(model)
    }

    /// Waits until the files are complete. Returns an error if a file's length differs from the length in its header.
    /// Of a model whose last layers were left out, the rest of the files is not waited for.
    pub async fn whole(&self) -> Result<()> {
        if self.of_layers().is_some() {
            return Ok(());
        }
        self.tensors.whole().await
    }

    /// Leaves out all layers but the first `count`: the output then reads the residual stream after these. The numbers
    /// are not those of the model, but show how its routers decide there.
    ///
    /// # Errors
    /// `count` is 0 or more than there are.
    pub fn keep_layers(&mut self, count: usize) -> Result<()> {
        if count == 0 || count > self.all_layers {
            let why = format!("{count} layers were asked for, and the model has {}", self.all_layers);
            return Err(Error::Input(why));
        }
        self.architecture.layers.truncate(count);
        Ok(())
    }

    /// The number of layers of the checkpoint, where some of them were left out.
    pub fn of_layers(&self) -> Option<usize> {
        (self.architecture.layers.len() < self.all_layers).then_some(self.all_layers)
    }

    /// Views of all weights, with their shapes checked.
    pub fn weights(&self) -> Result<Weights<'_>> {
        (self.family.weights)(&self.tensors, &self.architecture)
    }

    /// Sets whether the weights serve one engine, so that each tensor can be read once and its bytes may be freed
    /// afterwards.
    pub fn read_once(&mut self, once: bool) {
        self.tensors.read_once(once);
    }

    /// Whether each tensor is read at most once.
    pub fn is_read_once(&self) -> bool {
        self.tensors.is_read_once()
    }

    /// Frees the weights' files. Call it when no other engine will be made from them.
    pub fn release_files(&mut self) {
        self.tensors.release_files();
    }

    /// All tensors by name.
    pub fn tensors(&self) -> &Tensors {
        &self.tensors
    }

    /// Describes this model, run by `backend`.
    pub fn info(&self, backend: Backend, note: Option<String>) -> ModelInfo {
        let Self { name, family, architecture, tensors, .. } = self;
        let stored = (tensors.width(), tensors.bytes());
        let info = ModelInfo::new(name, family.name, architecture, stored, backend, note);
        ModelInfo { of_layers: self.of_layers(), ..info }
    }
}

/// An error in the config. In GGUF files the config is part of the metadata.
fn of_metadata(error: Error, files: &ModelFiles) -> Error {
    match (error, files.weights.first()) {
        (Error::Model { at, why }, Some((file, _))) if at == "config.json" && file.ends_with(".gguf") => {
            Error::model(format!("{file}, metadata as config.json has it"), why)
        }
        (error, _) => error,
    }
}

/// Returns the ids that end a text, from `generation_config.json`, or else from `config.json`.
fn ends(config: &serde_json::Value, generation: Option<&[u8]>) -> Vec<u32> {
    let generation: serde_json::Value =
        generation.and_then(|json| serde_json::from_slice(json).ok()).unwrap_or_default();
    let ids = |json: &serde_json::Value| -> Vec<u32> {
        let id = |id: &serde_json::Value| id.as_u64().and_then(|id| id.try_into().ok());
        match json.get("eos_token_id") {
            Some(serde_json::Value::Array(ids)) => ids.iter().filter_map(id).collect(),
            one => one.and_then(id).into_iter().collect(),
        }
    };
    Some(ids(&generation)).filter(|ids| !ids.is_empty()).unwrap_or_else(|| ids(config))
}
