//! The files of a model directory, in memory. How they get there depends on where they are: the
//! native [`read_dir`], or the worker's fetch in the browser.

use crate::error::{Error, Result};
use futures::FutureExt;
use futures::future::{LocalBoxFuture, ready};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;
use std::rc::Rc;

/// A file's content, shared: in memory, mapped, outside of this program's memory, or still arriving.
pub type Bytes = Rc<dyn Content>;

/// What a file holds.
pub trait Content {
    /// Waits until the bytes before `end` are there, or the file's last: how many are there.
    fn arrived(&self, end: usize) -> LocalBoxFuture<'_, usize>;

    /// The bytes in `range`, which have arrived: copied where they are not in this program's memory.
    fn read(&self, range: Range<usize>) -> Cow<'_, [u8]>;

    /// As [`Self::read`], for the last time: their memory may be used for something else.
    fn take(&self, range: Range<usize>) -> Cow<'_, [u8]> {
        self.read(range)
    }
}

/// The result of a future that waits for nothing but complete files.
pub(crate) fn at_once<T>(waiting: impl Future<Output = T>) -> T {
    waiting.now_or_never().expect("complete files never make a caller wait")
}

impl<T: AsRef<[u8]>> Content for T {
    fn arrived(&self, _: usize) -> LocalBoxFuture<'_, usize> {
        ready(self.as_ref().len()).boxed_local()
    }

    fn read(&self, range: Range<usize>) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.as_ref()[range])
    }
}

/// The files of a model directory.
pub struct ModelFiles {
    /// The directory's name.
    pub name: String,
    /// `config.json`.
    pub config: Vec<u8>,
    /// `tokenizer.json`, where there is one.
    pub tokenizer: Option<Vec<u8>>,
    /// `generation_config.json`, where there is one.
    pub generation: Option<Vec<u8>>,
    /// (name, content) of `model.safetensors`, or of each shard.
    pub weights: Vec<(String, Bytes)>,
}

/// The shards that `model.safetensors.index.json` names, each once, in order.
pub fn shards(index: &[u8]) -> Result<Vec<String>> {
    let at = "model.safetensors.index.json";
    let index: serde_json::Value =
        serde_json::from_slice(index).map_err(|e| Error::model(at, format!("is not JSON ({e})")))?;
    let map = index.get("weight_map").and_then(|map| map.as_object());
    let map = map.ok_or_else(|| Error::model(at, "has no weight_map; it should map each tensor to its file"))?;
    let mut names = BTreeSet::new();
    for (tensor, file) in map {
        let file = file
            .as_str()
            .ok_or_else(|| Error::model(at, format!("gives the tensor {tensor} no file's name; fetch it again")))?;
        names.insert(file.to_owned());
    }
    if names.is_empty() {
        return Err(Error::model(at, "has an empty weight_map; it should map each tensor to its file; fetch it again"));
    }
    // A name that leaves the directory is no shard of it.
    match names.iter().find(|name| name.contains(['/', '\\'])) {
        Some(name) => Err(Error::model(at, format!("names a file outside its directory: {name}"))),
        None => Ok(names.into_iter().collect()),
    }
}

/// Where a model's tokenizer is, seen from its directory: what `config.json` names as its `tokenizer_file`, for models
/// that share one, or `tokenizer.json`.
pub fn tokenizer_file(config: &[u8]) -> String {
    let config: serde_json::Value = serde_json::from_slice(config).unwrap_or_default();
    config["tokenizer_file"].as_str().unwrap_or("tokenizer.json").to_owned()
}

#[cfg(not(target_arch = "wasm32"))]
pub use native::read_dir;

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use super::*;
    use std::path::Path;

    /// Reads a model directory; of a `.safetensors` file's path, the directory around it with that
    /// file as its weights.
    pub fn read_dir(path: &Path) -> Result<ModelFiles> {
        if !path.exists() {
            return Err(Error::read(path.display().to_string(), "there is no such file or directory"));
        }
        let dir = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new(".")) };
        let weights = if path.is_dir() { weights_of(dir)? } else { vec![map(path)?] };
        let canonical = dir.canonicalize().map_err(|e| Error::read(dir.display().to_string(), e))?;
        let config = read(&dir.join("config.json"))?;
        let tokenizer = dir.join(tokenizer_file(&config));
        Ok(ModelFiles {
            name: canonical.file_name().map_or_else(|| "model".into(), |name| name.to_string_lossy().into_owned()),
            config,
            tokenizer: tokenizer.exists().then(|| read(&tokenizer)).transpose()?,
            generation: std::fs::read(dir.join("generation_config.json")).ok(),
            weights,
        })
    }

    fn weights_of(dir: &Path) -> Result<Vec<(String, Bytes)>> {
        let single = dir.join("model.safetensors");
        let index = dir.join("model.safetensors.index.json");
        if !single.exists() && index.exists() {
            return shards(&read(&index)?)?.iter().map(|name| map(&dir.join(name))).collect();
        }
        Ok(vec![map(&single)?])
    }

    fn read(path: &Path) -> Result<Vec<u8>> {
        std::fs::read(path).map_err(|e| Error::read(path.display().to_string(), e))
    }

    /// Maps a file into memory, so that a large checkpoint is read as it is used.
    fn map(path: &Path) -> Result<(String, Bytes)> {
        let at = || path.display().to_string();
        let file = std::fs::File::open(path).map_err(|e| Error::read(at(), e))?;
        // SAFETY: the map is private to this process and read-only; a file that another process cuts
        // while it is mapped ends this process by a signal, as any use of mapped files does.
        let bytes = unsafe { memmap2::Mmap::map(&file) }.map_err(|e| Error::read(at(), e))?;
        Ok((at(), Rc::new(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_names_the_tokenizer_that_it_shares() {
        assert_eq!(
            tokenizer_file(br#"{"tokenizer_file": "../tokenizer/tokenizer.json"}"#),
            "../tokenizer/tokenizer.json"
        );
        assert_eq!(tokenizer_file(b"{}"), "tokenizer.json");
        // What is wrong with it is said where it is read.
        assert_eq!(tokenizer_file(b"no JSON"), "tokenizer.json");
    }
}
