//! Where a model's files are: a directory on a server, or files that the visitor opened.

use super::address::{Directory, obstacle, without_password};
use super::download::Answer;
use super::missing::Missing;
use super::protocol::Source;
use super::request::{Access, Login, begun, worker};
use moescope::error::{Error, Result};
use std::cell::RefCell;
use wasm_bindgen::JsValue;

/// The weights of a directory that names no other file.
pub const WEIGHTS: &str = "model.safetensors";

thread_local! {
    /// The tokenizer file that several models share, with its address, so that it is fetched only once.
    static SHARED: RefCell<Option<(String, Vec<u8>)>> = const { RefCell::new(None) };
}

/// Where a model's files are.
pub enum Place<'a> {
    /// On a server.
    Directory(Directory, Login),
    /// Files that were opened: see [`Source::Files`].
    Files { name: &'a str, files: &'a [(String, String)], weights: Option<&'a str> },
}

impl<'a> Place<'a> {
    /// The place of `source`; `token` is the visitor's access token for that site.
    ///
    /// # Errors
    /// Browsers do not fetch such an address.
    pub fn new(source: &'a Source, token: Option<String>) -> Result<Self> {
        match source {
            Source::Files { name, files, weights } => Ok(Self::Files { name, files, weights: weights.as_deref() }),
            Source::Url(url) => {
                let is_secure = worker().location().protocol() == "https:";
                match obstacle(url, is_secure) {
                    Some(why) => Err(Error::read(without_password(url), why)),
                    None => {
                        let directory = Directory::new(url);
                        let place = directory.file("");
                        Ok(Self::Directory(directory, Login { token, place }))
                    }
                }
            }
        }
    }

    /// The model's name.
    pub fn name(&self) -> String {
        match self {
            Self::Directory(directory, _) => directory.name.clone(),
            Self::Files { name, .. } => (*name).to_owned(),
        }
    }

    /// The name of the weights file; `None` where the index names several shards.
    pub fn weights(&self) -> Option<&str> {
        match self {
            Self::Directory(directory, _) => Some(directory.weights.as_deref().unwrap_or(WEIGHTS)),
            Self::Files { weights, .. } => *weights,
        }
    }

    /// The error that `file` is missing.
    pub fn error(&self, file: &str, missing: &Missing) -> Error {
        let place = match self {
            Self::Directory(directory, _) => directory.file(file),
            Self::Files { .. } => file.to_owned(),
        };
        Error::read(place, missing.why())
    }

    /// How to request `file`, and what it is called in messages; `None` where it was not opened.
    fn access(&self, file: &str) -> Option<(Access, String)> {
        match self {
            Self::Directory(directory, login) => {
                let url = directory.file(file);
                Some((Access::new(&url, login), url))
            }
            Self::Files { files, .. } => {
                let (name, url) = files.iter().find(|(name, _)| name == file)?;
                Some((Access::new(url, &Login::default()), name.clone()))
            }
        }
    }

    /// Requests a file.
    ///
    /// # Errors
    /// The address cannot be reached, or its server fails.
    pub async fn open(&self, file: &str) -> Result<std::result::Result<Answer, Missing>> {
        match self.access(file) {
            Some((access, label)) => Answer::to(access, &label).await,
            None => Ok(Err(Missing::not_opened())),
        }
    }

    /// Reads a small file as a whole into WebAssembly memory.
    ///
    /// # Errors
    /// As [`Self::open`]; or the connection breaks.
    pub async fn get(&self, file: &str) -> Result<std::result::Result<Vec<u8>, Missing>> {
        match self.open(file).await? {
            Ok(answer) => answer.whole().await.map(Ok),
            Err(missing) => Ok(Err(missing)),
        }
    }

    /// Fetches the tokenizer at `path`, relative to the model directory. Opened files have no directories.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn tokenizer(&self, path: &str) -> Result<std::result::Result<Vec<u8>, Missing>> {
        let own = "tokenizer.json";
        let Self::Directory(directory, login) = self else { return self.get(own).await };
        if path == own {
            return self.get(own).await;
        }
        let url = directory.file(path);
        if let Some((_, bytes)) = SHARED.with_borrow(|shared| shared.clone()).filter(|(shared, _)| *shared == url) {
            return Ok(Ok(bytes));
        }
        // worker.js requested it under the name that other model directories use.
        let begun = begun().get(&JsValue::from_str(&directory.file(own)));
        let answer = match Answer::of(Access::new(&url, login), &url, begun).await? {
            Ok(answer) => answer,
            Err(missing) => return Ok(Err(missing)),
        };
        let bytes = answer.whole().await?;
        SHARED.set(Some((url, bytes.clone())));
        Ok(Ok(bytes))
    }
}
