//! The files of a model directory, in memory. Natively [`read_dir`] reads them; in the browser the worker fetches
//! them.

pub(crate) use super::content::at_once;
pub use super::content::{Bytes, Content, ModelFiles, all_of};

use crate::error::{Error, Result};
use std::collections::BTreeSet;

/// The shards that `model.safetensors.index.json` names, without duplicates, in order.
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
    // A name with a path leads out of the directory.
    match names.iter().find(|name| name.contains(['/', '\\'])) {
        Some(name) => Err(Error::model(at, format!("names a file outside its directory: {name}"))),
        None => Ok(names.into_iter().collect()),
    }
}

/// The path of a model's tokenizer, relative to its directory: the `tokenizer_file` of `config.json` where models
/// share a tokenizer, otherwise `tokenizer.json`.
pub fn tokenizer_file(config: &[u8]) -> String {
    let config: serde_json::Value = serde_json::from_slice(config).unwrap_or_default();
    config["tokenizer_file"].as_str().unwrap_or("tokenizer.json").to_owned()
}

#[cfg(not(target_arch = "wasm32"))]
pub use native::read_dir;

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use super::*;
    use crate::model::gguf;
    use std::path::{Path, PathBuf};
    use std::rc::Rc;

    /// Reads a model directory. For the path of a `.safetensors` file it reads the directory of that file, with that
    /// file as the weights. For the path of a `.gguf` file, or a directory with one and without a `config.json`, it
    /// reads that file and its parts.
    pub fn read_dir(path: &Path) -> Result<ModelFiles> {
        if !path.exists() {
            let why = match names_a_model_of_the_hub(path) {
                false => "there is no such file or directory",
                true => {
                    "there is no such directory, and this program downloads nothing; fetch the model's files first, as \
                     with `hf download ORG/NAME --local-dir DIR`, or open it in the page"
                }
            };
            return Err(Error::read(path.display().to_string(), why));
        }
        if let Some(file) = gguf_of(path)? {
            return read_gguf(&file);
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
            chat: chat_of(dir),
            weights,
        })
    }

    /// `tokenizer_config.json`, with the template of `chat_template.jinja` where that is a file of its own.
    fn chat_of(dir: &Path) -> Option<Vec<u8>> {
        let config = std::fs::read(dir.join("tokenizer_config.json")).ok();
        let Ok(template) = std::fs::read_to_string(dir.join("chat_template.jinja")) else { return config };
        let config = config.and_then(|config| serde_json::from_slice(&config).ok());
        let mut config: serde_json::Map<String, serde_json::Value> = config.unwrap_or_default();
        config.insert("chat_template".into(), template.into());
        serde_json::to_vec(&config).ok()
    }

    /// Whether a path looks like `ORG/NAME`, as models on the Hugging Face hub are called, or like an address.
    fn names_a_model_of_the_hub(path: &Path) -> bool {
        let text = path.to_string_lossy();
        let parts: Vec<&str> = text.split('/').collect();
        let is_name = |part: &&str| !part.is_empty() && !part.starts_with('.');
        text.contains("://") || (parts.len() == 2 && parts.iter().all(is_name) && !Path::new(parts[0]).exists())
    }

    /// The GGUF file at `path`, or the one in the directory `path` if that has no config.
    fn gguf_of(path: &Path) -> Result<Option<PathBuf>> {
        let is_gguf = |path: &Path| path.extension().is_some_and(|end| end == "gguf");
        if !path.is_dir() {
            return Ok(is_gguf(path).then(|| path.to_owned()));
        }
        if path.join("config.json").exists() {
            return Ok(None);
        }
        let entries = std::fs::read_dir(path).map_err(|e| Error::read(path.display().to_string(), e))?;
        let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        files.retain(|file| is_gguf(file) && file.is_file());
        files.sort();
        let name = |file: &PathBuf| file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut models: Vec<String> = files.iter().map(|file| gguf::model_name(&name(file))).collect();
        models.dedup();
        match models.as_slice() {
            [] => Ok(None),
            [_] => Ok(files.into_iter().next()),
            _ => {
                let why = format!("there are several GGUF models in it; name one of: {}", models.join(", "));
                Err(Error::read(path.display().to_string(), why))
            }
        }
    }

    fn read_gguf(path: &Path) -> Result<ModelFiles> {
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let parts = gguf::all_parts(&file);
        let weights = parts.iter().map(|part| map(&path.with_file_name(part))).collect::<Result<_>>()?;
        at_once(gguf::model_files(gguf::model_name(&file), weights))
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

    /// Maps a file into memory, so that only the used parts of a large checkpoint are read.
    fn map(path: &Path) -> Result<(String, Bytes)> {
        let at = || path.display().to_string();
        let file = std::fs::File::open(path).map_err(|e| Error::read(at(), e))?;
        // SAFETY: the map is private to this process and read-only. If another process truncates the file while it is
        // mapped, a signal ends this process, as with any mapped file.
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
        // A damaged config is reported where it is parsed.
        assert_eq!(tokenizer_file(b"no JSON"), "tokenizer.json");
    }
}
