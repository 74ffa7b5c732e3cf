//! Model files over HTTP (or from blob URLs of opened files), with progress.

use super::protocol::Source;
use js_sys::{Reflect, Uint8Array};
use moescope::error::{Error, Result};
use moescope::model::files::{Bytes, ModelFiles, shards};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{ReadableStreamDefaultReader, Request, Response, WorkerGlobalScope};

/// Called with (what, bytes done, bytes in all where known); false gives up.
pub type Progress<'a> = &'a dyn Fn(&str, u64, Option<u64>) -> bool;

/// How often a file whose connection breaks off is gone on with.
const RESUMES: usize = 3;

/// Fetches the files of a model.
pub async fn model_files(source: &Source, progress: Progress<'_>) -> Result<ModelFiles> {
    let place = Place::new(source)?;
    let quiet = |_: &str, _: u64, _: Option<u64>| true;
    let config = place.get("config.json", &quiet);
    let tokenizer = place.get("tokenizer.json", &quiet);
    let (config, tokenizer, weights) = futures::future::join3(config, tokenizer, weights(&place, progress)).await;
    let config = config?.ok_or_else(|| place.missing("config.json"))?;
    Ok(ModelFiles { name: place.name(), config, tokenizer: tokenizer?, weights: weights? })
}

async fn weights(place: &Place<'_>, progress: Progress<'_>) -> Result<Vec<(String, Bytes)>> {
    if let Some(bytes) = place.get(place.weights(), progress).await? {
        return Ok(vec![(place.weights().to_owned(), Bytes::new(bytes))]);
    }
    let index = place.get("model.safetensors.index.json", &|_, _, _| true).await?;
    let index = index.ok_or_else(|| place.missing(place.weights()))?;
    let mut files = Vec::new();
    for name in shards(&index)? {
        let bytes = place.get(&name, progress).await?.ok_or_else(|| place.missing(&name))?;
        files.push((name, Bytes::new(bytes)));
    }
    Ok(files)
}

/// Where a model's files are.
enum Place<'a> {
    /// The directory's URL, with a slash at its end, and the name of the weights in it.
    Directory { base: String, weights: String },
    /// (name, blob URL) of opened files.
    Files(&'a [(String, String)]),
}

impl<'a> Place<'a> {
    fn new(source: &'a Source) -> Result<Self> {
        let url = match source {
            Source::Files(files) if files.is_empty() => return Err(Error::Input("no file was opened".into())),
            Source::Files(files) => return Ok(Self::Files(files)),
            Source::Url(url) => url.split(['?', '#']).next().unwrap_or_default(),
        };
        let (base, weights) = match url.rsplit_once('/') {
            Some((base, file)) if file.ends_with(".safetensors") => (base, file),
            _ => (url.trim_end_matches('/'), "model.safetensors"),
        };
        Ok(Self::Directory { base: format!("{base}/"), weights: weights.to_owned() })
    }

    fn name(&self) -> String {
        match self {
            Self::Directory { base, .. } => base.trim_end_matches('/').rsplit('/').next().unwrap_or("model").to_owned(),
            Self::Files(_) => self.weights().trim_end_matches(".safetensors").to_owned(),
        }
    }

    /// The name of the file with the weights.
    fn weights(&self) -> &str {
        match self {
            Self::Directory { weights, .. } => weights,
            Self::Files(files) => {
                let single =
                    files.iter().filter(|(name, _)| name.ends_with(".safetensors")).map(|(name, _)| name.as_str());
                let has_index = files.iter().any(|(name, _)| name == "model.safetensors.index.json");
                single.take(1).find(|_| !has_index).unwrap_or("model.safetensors")
            }
        }
    }

    fn missing(&self, name: &str) -> Error {
        match self {
            Self::Directory { base, .. } => Error::read(
                format!("{base}{name}"),
                "the server says there is no such file (404); a model directory has config.json, model.safetensors and tokenizer.json",
            ),
            Self::Files(_) => Error::read(
                name,
                "it is not among the opened files; open config.json, tokenizer.json and every .safetensors file of the model together",
            ),
        }
    }

    /// The content of the file `name`; none where there is no such file.
    async fn get(&self, name: &str, progress: Progress<'_>) -> Result<Option<Vec<u8>>> {
        match self {
            Self::Directory { base, .. } => fetch(&format!("{base}{name}"), name, progress).await,
            Self::Files(files) => match files.iter().find(|(file, _)| file == name) {
                Some((_, url)) => fetch(url, name, progress).await,
                None => Ok(None),
            },
        }
    }
}

async fn fetch(url: &str, name: &str, progress: Progress<'_>) -> Result<Option<Vec<u8>>> {
    let unreachable = |_| {
        Error::read(
            url,
            "the address cannot be reached: it may be misspelt, offline, or its server may not let other sites read it (CORS)",
        )
    };
    let scope: WorkerGlobalScope = js_sys::global().unchecked_into();
    let response: Response = JsFuture::from(scope.fetch_with_str(url)).await.map_err(unreachable)?.unchecked_into();
    if response.status() == 404 {
        return Ok(None);
    }
    if !response.ok() {
        return Err(Error::read(url, format!("the server answers {} {}", response.status(), response.status_text())));
    }
    let header = |name| response.headers().get(name).ok().flatten();
    if header("content-type").is_some_and(|kind| kind.starts_with("text/html")) {
        return Err(Error::read(
            url,
            "the server answers with a web page instead of a file; give the address of the model directory itself",
        ));
    }
    // A compressed answer's length is not the file's.
    let total = header("content-length").filter(|_| header("content-encoding").is_none()).and_then(|n| n.parse().ok());
    read(&response, url, name, total, progress).await.map(Some)
}

/// Reads an answer part by part. Where the connection breaks off, the rest is asked for.
async fn read(
    response: &Response,
    url: &str,
    name: &str,
    total: Option<u64>,
    progress: Progress<'_>,
) -> Result<Vec<u8>> {
    let Some(mut reader) = reader(response) else { return Ok(Vec::new()) };
    let version = response.headers().get("etag").ok().flatten();
    let mut content = Vec::with_capacity(total.unwrap_or(0) as usize);
    let mut resumed = 0;
    loop {
        let Ok(part) = JsFuture::from(reader.read()).await else {
            resumed += 1;
            let rest = if resumed > RESUMES { None } else { rest(url, content.len(), version.as_deref()).await };
            reader = rest.ok_or_else(|| Error::read(url, "the connection broke off; try again"))?;
            continue;
        };
        let field = |key: &str| Reflect::get(&part, &JsValue::from_str(key)).unwrap_or(JsValue::UNDEFINED);
        if field("done").is_truthy() {
            return Ok(content);
        }
        let bytes: Uint8Array = field("value").unchecked_into();
        let start = content.len();
        content.resize(start + bytes.length() as usize, 0);
        bytes.copy_to(&mut content[start..]);
        if !progress(name, content.len() as u64, total) {
            let _ = reader.cancel();
            return Err(Error::read(url, "another model was asked for meanwhile"));
        }
    }
}

fn reader(response: &Response) -> Option<ReadableStreamDefaultReader> {
    Some(response.body()?.get_reader().unchecked_into())
}

/// A file from the byte `start` on; none where the server cannot be reached, gives whole files only, or has another version
/// of it by now.
async fn rest(url: &str, start: usize, version: Option<&str>) -> Option<ReadableStreamDefaultReader> {
    let request = Request::new_with_str(url).ok()?;
    request.headers().set("range", &format!("bytes={start}-")).ok()?;
    request.headers().set("if-range", version?).ok()?;
    let scope: WorkerGlobalScope = js_sys::global().unchecked_into();
    let response: Response = JsFuture::from(scope.fetch_with_request(&request)).await.ok()?.unchecked_into();
    (response.status() == 206).then(|| reader(&response))?
}
