//! Model files over HTTP (or from blob URLs of opened files), with progress. What is large stays in the parts that came, outside of
//! the program's memory, which never shrinks.

use super::protocol::Source;
use js_sys::{Function, Reflect, Uint8Array};
use moescope::error::{Error, Result};
use moescope::model::files::{Bytes, Content, ModelFiles, shards};
use std::borrow::Cow;
use std::ops::Range;
use std::rc::Rc;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{ReadableStreamDefaultReader, Request, Response, WorkerGlobalScope};

/// Called with (what, bytes done, bytes in all where known); false gives up.
pub type Progress<'a> = &'a dyn Fn(&str, u64, Option<u64>) -> bool;

/// How often a file whose connection breaks off is gone on with.
const RESUMES: usize = 3;

/// What is said of a file whose places 32 bits cannot name.
const TOO_LARGE: &str =
    "it is larger than 4 GB, more than a page can read; save the model in smaller shards, or take a smaller one";

/// Fetches the files of a model.
pub async fn model_files(source: &Source, progress: Progress<'_>) -> Result<ModelFiles> {
    let place = Place::new(source)?;
    let quiet = |_: &str, _: u64, _: Option<u64>| true;
    let config = place.get("config.json", &quiet);
    let tokenizer = place.get("tokenizer.json", &quiet);
    let (config, tokenizer, weights) = futures::future::join3(config, tokenizer, weights(&place, progress)).await;
    let config = config?.ok_or_else(|| place.missing("config.json"))?.whole();
    let tokenizer = tokenizer?.map(|tokenizer| tokenizer.whole());
    Ok(ModelFiles { name: place.name(), config, tokenizer, weights: weights? })
}

async fn weights(place: &Place<'_>, progress: Progress<'_>) -> Result<Vec<(String, Bytes)>> {
    if let Some(bytes) = place.get(place.weights(), progress).await? {
        return Ok(vec![(place.weights().to_owned(), Rc::new(bytes))]);
    }
    let index = place.get("model.safetensors.index.json", &|_, _, _| true).await?;
    let index = index.ok_or_else(|| place.missing(place.weights()))?;
    let mut files = Vec::new();
    for name in shards(&index.whole())? {
        let bytes = place.get(&name, progress).await?.ok_or_else(|| place.missing(&name))?;
        let bytes: Bytes = Rc::new(bytes);
        files.push((name, bytes));
    }
    Ok(files)
}

/// A file in the parts that came over the network.
#[derive(Default)]
struct Parts {
    /// Where each starts, and its bytes.
    parts: Vec<(usize, Uint8Array)>,
    size: usize,
}

impl Parts {
    /// Takes in the next part; none where there would be more than an address can say.
    fn push(&mut self, part: Uint8Array) -> Option<()> {
        let start = self.size;
        self.size = start.checked_add(part.length() as usize)?;
        self.parts.push((start, part));
        Some(())
    }

    /// All of it, in the program's memory.
    fn whole(&self) -> Vec<u8> {
        self.read(0..self.size).into_owned()
    }
}

impl Content for Parts {
    fn size(&self) -> usize {
        self.size
    }

    fn read(&self, range: Range<usize>) -> Cow<'_, [u8]> {
        let mut bytes = vec![0; range.len()];
        let (mut rest, mut at) = (bytes.as_mut_slice(), range.start);
        let first = self.parts.partition_point(|(start, _)| *start <= at).saturating_sub(1);
        for (start, part) in &self.parts[first..] {
            let from = at - start;
            let count = rest.len().min(part.length() as usize - from);
            let (now, later) = rest.split_at_mut(count);
            part.subarray(from as u32, (from + count) as u32).copy_to(now);
            (rest, at) = (later, at + count);
            if rest.is_empty() {
                break;
            }
        }
        Cow::Owned(bytes)
    }
}

impl Drop for Parts {
    /// The parts are the browser's garbage then, which it collects when much memory has been asked for; and an engine at rest asks for
    /// none. So it is asked for here, all held until the last and never touched.
    fn drop(&mut self) {
        const BLOCK: usize = 32 << 20;
        self.parts.clear();
        let constructor = Reflect::get(&js_sys::global(), &JsValue::from_str("ArrayBuffer"));
        if let Ok(constructor) = constructor.and_then(JsCast::dyn_into::<Function>) {
            let size = js_sys::Array::of1(&JsValue::from(BLOCK as u32));
            let blocks = self.size / BLOCK * 2;
            let _untouched: Vec<_> = (0..blocks).map(|_| Reflect::construct(&constructor, &size)).collect();
        }
    }
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
    async fn get(&self, name: &str, progress: Progress<'_>) -> Result<Option<Parts>> {
        match self {
            Self::Directory { base, .. } => fetch(&format!("{base}{name}"), name, progress).await,
            Self::Files(files) => match files.iter().find(|(file, _)| file == name) {
                Some((_, url)) => fetch(url, name, progress).await,
                None => Ok(None),
            },
        }
    }
}

async fn fetch(url: &str, name: &str, progress: Progress<'_>) -> Result<Option<Parts>> {
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
async fn read(response: &Response, url: &str, name: &str, total: Option<u64>, progress: Progress<'_>) -> Result<Parts> {
    let mut content = Parts::default();
    let Some(mut reader) = reader(response) else { return Ok(content) };
    let version = response.headers().get("etag").ok().flatten();
    let mut resumed = 0;
    loop {
        let Ok(part) = JsFuture::from(reader.read()).await else {
            resumed += 1;
            let rest = if resumed > RESUMES { None } else { rest(url, content.size, version.as_deref()).await };
            reader = rest.ok_or_else(|| Error::read(url, "the connection broke off; try again"))?;
            continue;
        };
        let field = |key: &str| Reflect::get(&part, &JsValue::from_str(key)).unwrap_or(JsValue::UNDEFINED);
        if field("done").is_truthy() {
            return Ok(content);
        }
        content.push(field("value").unchecked_into()).ok_or_else(|| Error::read(url, TOO_LARGE))?;
        if !progress(name, content.size as u64, total) {
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
