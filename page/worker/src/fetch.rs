//! Model files over HTTP (or from blob URLs of opened files), with progress.

use super::address::{Directory, obstacle, without_password};
use super::arriving::Arriving;
use super::desk::now;
use super::inbox::breathe;
use super::protocol::Source;
use futures::FutureExt;
use futures::future::{Either, LocalBoxFuture, join3, ready, select, try_join_all};
use js_sys::{Map, Promise, Reflect, Uint8Array};
use moescope::error::{Error, Result};
use moescope::model::files::{Bytes, Content, ModelFiles, shards, tokenizer_file};
use moescope::model::gguf;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    AbortController, CacheStorage, ReadableStreamDefaultReader, Request, RequestInit, Response, WorkerGlobalScope,
};

/// Called with (what, bytes done, bytes in all where known).
pub type Progress<'a> = &'a dyn Fn(&str, u64, Option<u64>);

/// How many times the download of a file is resumed after its connection breaks.
const RESUMES: usize = 3;

/// While a file is downloaded, the worker handles messages from the page at least this often.
const BREATH_MS: f64 = 30.0;

const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The message for a file with more bytes than 32 bits can count.
const TOO_LARGE: &str =
    "it is larger than 4 GB, more than a page can read; save the model in smaller shards, or take a smaller one";

/// Starts to fetch a model. Returns its files, whose weights are still being downloaded, and the future that downloads
/// them. A caller that waits for weights must also run that future.
pub async fn model_files<'a>(
    source: &'a Source,
    progress: Progress<'a>,
) -> Result<(ModelFiles, LocalBoxFuture<'a, Result<()>>)> {
    let place = Place::new(source)?;
    if let Some(first) = place.weights().filter(|name| name.ends_with(".gguf")).map(str::to_owned) {
        return gguf_files(place, &first, progress).await;
    }
    let (described, generation, weights) =
        join3(config_and_tokenizer(&place), place.get("generation_config.json"), weights(&place)).await;
    // The file only says which tokens end a text, so any answer that is not the file counts as a missing file.
    let generation = generation.ok().and_then(|answer| answer.ok());
    begun().clear();
    let (config, tokenizer) = described?;
    let weights: Vec<_> =
        weights?.into_iter().map(|(name, answer)| (name, answer, Rc::new(Arriving::default()))).collect();
    let contents = weights.iter().map(|(name, _, content)| (name.clone(), content.clone() as Bytes)).collect();
    let files = ModelFiles { name: place.name(), config, tokenizer, generation, chat: None, weights: contents };
    Ok((files, bring(place, weights, progress).boxed_local()))
}

/// As [`model_files`], of the GGUF file `first` and the others of its model: config and tokenizer are in the first.
async fn gguf_files<'a>(
    place: Place<'a>,
    first: &str,
    progress: Progress<'a>,
) -> Result<(ModelFiles, LocalBoxFuture<'a, Result<()>>)> {
    let mut answer = Some(place.open(first).await?.map_err(|missing| place.error(first, &missing))?);
    begun().clear();
    let parts = gguf::all_parts(first).into_iter();
    let weights: Vec<_> = parts
        .map(|name| {
            let answer = if name == first { answer.take() } else { None };
            (name, answer, Rc::new(Arriving::default()))
        })
        .collect();
    let contents = weights.iter().map(|(name, _, content)| (name.clone(), content.clone() as Bytes)).collect();
    let header = gguf::model_files(gguf::model_name(first), contents).boxed_local();
    match select(header, bring(place, weights, progress).boxed_local()).await {
        Either::Left((files, bringing)) => Ok((files?, bringing)),
        Either::Right((brought, header)) => {
            brought?;
            Ok((header.await?, ready(Ok(())).boxed_local()))
        }
    }
}

/// `config.json`, and the tokenizer file that it may name. Without a tokenizer a model can still route token ids.
async fn config_and_tokenizer(place: &Place<'_>) -> Result<(Vec<u8>, Option<Vec<u8>>)> {
    let config = place.get("config.json").await?.map_err(|missing| place.error("config.json", &missing))?;
    let tokenizer = place.tokenizer(&tokenizer_file(&config)).await?;
    Ok((config, tokenizer.ok()))
}

thread_local! {
    /// The tokenizer file that several models share, with its address, so that it is fetched only once.
    static SHARED: RefCell<Option<(String, Vec<u8>)>> = const { RefCell::new(None) };
}

/// The names of the weights files, each with the server's answer where it has been requested.
async fn weights(place: &Place<'_>) -> Result<Vec<(String, Option<Answer>)>> {
    let single = match place.weights() {
        Some(name) => (name, place.open(name).await),
        None => (WEIGHTS, Ok(Err(Missing::not_opened()))),
    };
    let (name, why) = match single {
        (name, Ok(Ok(answer))) => return Ok(vec![(name.to_owned(), Some(answer))]),
        (name, why) => (name, why.map(|answer| answer.err())),
    };
    // Some hosts answer for a missing file without CORS headers; such a file seems to be unreachable.
    match (place.get(INDEX).await, why) {
        (Ok(Ok(index)), _) => Ok(shards(&index)?.into_iter().map(|name| (name, None)).collect()),
        (_, Err(unreachable)) => Err(unreachable),
        (_, Ok(missing)) => Err(place.error(name, &missing.unwrap_or_else(Missing::not_opened))),
    }
}

/// Downloads all `weights` (name, answer, content) side by side.
async fn bring(
    place: Place<'_>,
    weights: Vec<(String, Option<Answer>, Rc<Arriving>)>,
    progress: Progress<'_>,
) -> Result<()> {
    let tally = Tally { done: Cell::default(), total: Cell::default(), unknown: Cell::new(weights.len()) };
    let (place, tally) = (&place, &tally);
    let come = |bytes| {
        tally.done.set(tally.done.get() + bytes as u64);
        progress(place.weights().unwrap_or(WEIGHTS), tally.done.get(), tally.total());
    };
    let reading = weights.into_iter().map(|(name, answer, content)| async move {
        let answer = match answer {
            Some(answer) => answer,
            None => place.open(&name).await?.map_err(|missing| place.error(&name, &missing))?,
        };
        tally.add(answer.total);
        answer.read(&content, &come).await
    });
    try_join_all(reading).await.map(|_| ())
}

/// Progress over several files, in bytes.
struct Tally {
    done: Cell<u64>,
    /// Sum over the files whose sizes are known.
    total: Cell<u64>,
    /// Number of files of unknown size.
    unknown: Cell<usize>,
}

impl Tally {
    fn add(&self, total: Option<u64>) {
        if let Some(total) = total {
            self.total.set(self.total.get() + total);
            self.unknown.set(self.unknown.get() - 1);
        }
    }

    /// Bytes of all files; `None` where that is unknown or wrong. For a compressed file on another site, the browser
    /// gives the compressed size and does not say that it is compressed.
    fn total(&self) -> Option<u64> {
        (self.unknown.get() == 0).then(|| self.total.get()).filter(|total| self.done.get() <= *total)
    }
}

/// Where a model's files are.
enum Place<'a> {
    /// On a server.
    Directory(Directory),
    /// Files that were opened: see [`Source::Files`].
    Files { name: &'a str, files: &'a [(String, String)], weights: Option<&'a str> },
}

/// Why a file is missing.
struct Missing(String);

impl Missing {
    fn not_opened() -> Self {
        let why = "it is not among the opened files; open config.json, tokenizer.json and every .safetensors file of \
                   the model together, or its .gguf file";
        Self(why.into())
    }

    /// Why `response` is not the file; `None` where it is.
    fn from_response(response: &Response) -> Option<Self> {
        let status = response.status();
        let why = match status {
            404 | 410 => {
                let what = "a model directory has config.json, model.safetensors and tokenizer.json";
                format!("the server has no such file ({status}); {what}")
            }
            401 | 403 => {
                let what = "it may not exist, or it may need a login, which a page cannot give; download the model \
                            and open its files";
                format!("the server refuses this file ({status}); {what}")
            }
            _ if !response.ok() => return None,
            _ => {
                let kind = response.headers().get("content-type").ok().flatten();
                kind.filter(|kind| kind.starts_with("text/html"))?;
                "the server answers with a web page instead of a file; use the address of the model directory itself"
                    .into()
            }
        };
        Some(Self(why))
    }
}

impl<'a> Place<'a> {
    fn new(source: &'a Source) -> Result<Self> {
        match source {
            Source::Files { name, files, weights } => Ok(Self::Files { name, files, weights: weights.as_deref() }),
            Source::Url(url) => {
                let is_secure = worker().location().protocol() == "https:";
                match obstacle(url, is_secure) {
                    Some(why) => Err(Error::read(without_password(url), why)),
                    None => Ok(Self::Directory(Directory::new(url))),
                }
            }
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Directory(directory) => directory.name.clone(),
            Self::Files { name, .. } => (*name).to_owned(),
        }
    }

    /// The name of the weights file; `None` where the index names several shards.
    fn weights(&self) -> Option<&str> {
        match self {
            Self::Directory(directory) => Some(directory.weights.as_deref().unwrap_or(WEIGHTS)),
            Self::Files { weights, .. } => *weights,
        }
    }

    fn error(&self, file: &str, missing: &Missing) -> Error {
        let place = match self {
            Self::Directory(directory) => directory.file(file),
            Self::Files { .. } => file.to_owned(),
        };
        Error::read(place, &missing.0)
    }

    /// Requests a file.
    async fn open(&self, file: &str) -> Result<std::result::Result<Answer, Missing>> {
        match self {
            Self::Directory(directory) => {
                let url = directory.file(file);
                Answer::to(&url, &url).await
            }
            Self::Files { files, .. } => match files.iter().find(|(name, _)| name == file) {
                Some((name, url)) => Answer::to(url, name).await,
                None => Ok(Err(Missing::not_opened())),
            },
        }
    }

    /// Reads a small file as a whole into WebAssembly memory.
    async fn get(&self, file: &str) -> Result<std::result::Result<Vec<u8>, Missing>> {
        match self.open(file).await? {
            Ok(answer) => answer.whole().await.map(Ok),
            Err(missing) => Ok(Err(missing)),
        }
    }

    /// Fetches the tokenizer at `path`, relative to the model directory. Opened files have no directories.
    async fn tokenizer(&self, path: &str) -> Result<std::result::Result<Vec<u8>, Missing>> {
        let own = "tokenizer.json";
        let Self::Directory(directory) = self else { return self.get(own).await };
        if path == own {
            return self.get(own).await;
        }
        let url = directory.file(path);
        if let Some((_, bytes)) = SHARED.with_borrow(|shared| shared.clone()).filter(|(shared, _)| *shared == url) {
            return Ok(Ok(bytes));
        }
        // worker.js requested it under the name that other model directories use.
        let begun = begun().get(&JsValue::from_str(&directory.file(own)));
        let answer = match Answer::of(&url, &url, begun).await? {
            Ok(answer) => answer,
            Err(missing) => return Ok(Err(missing)),
        };
        let bytes = answer.whole().await?;
        SHARED.set(Some((url, bytes.clone())));
        Ok(Ok(bytes))
    }
}

/// A server's answer whose body has not been read.
struct Answer {
    url: String,
    /// The file's name in messages.
    label: String,
    /// Size of the file in bytes, where it is known.
    total: Option<u64>,
    version: Option<String>,
    /// `None` where the answer has no body.
    reader: Option<Reader>,
    /// How many times the download may still be resumed.
    resumes: usize,
}

impl Answer {
    /// Requests `url`, unless worker.js has already requested it.
    async fn to(url: &str, label: &str) -> Result<std::result::Result<Self, Missing>> {
        Self::of(url, label, begun().get(&JsValue::from_str(url))).await
    }

    /// The answer from `url`; `begun` is the promise of that answer where it has been requested.
    async fn of(url: &str, label: &str, begun: JsValue) -> Result<std::result::Result<Self, Missing>> {
        let unreachable = |_| Error::read(label, unreadable(url));
        let response = fetch(url, begun).await.map_err(unreachable)?;
        if let Some(missing) = Missing::from_response(&response) {
            return Ok(Err(missing));
        }
        if !response.ok() {
            let why = format!("the server answers {} {}", response.status(), response.status_text());
            return Err(Error::read(label, why));
        }
        let header = |name| response.headers().get(name).ok().flatten();
        // The length of a compressed answer is not the file's size.
        let length = header("content-length").filter(|_| header("content-encoding").is_none());
        let total = length.and_then(|n| n.parse().ok());
        if total.is_some_and(|total| total > usize::MAX as u64) {
            return Err(Error::read(label, TOO_LARGE));
        }
        Ok(Ok(Self {
            url: url.to_owned(),
            label: label.to_owned(),
            total,
            version: header("etag"),
            reader: Reader::new(&response),
            resumes: RESUMES,
        }))
    }

    /// Appends the body to `content`, chunk by chunk, and calls `come` with the size of each chunk in bytes.
    async fn read(mut self, content: &Arriving, come: &dyn Fn(usize)) -> Result<()> {
        let mut breathed = now();
        while let Some(part) = self.next(content.size()).await? {
            let bytes = part.length() as usize;
            content.push(part).ok_or_else(|| Error::read(&self.label, TOO_LARGE))?;
            come(bytes);
            if now() - breathed > BREATH_MS {
                breathe().await;
                breathed = now();
            }
        }
        content.end();
        Ok(())
    }

    /// The whole body, for small files.
    async fn whole(self) -> Result<Vec<u8>> {
        let content = Arriving::default();
        self.read(&content, &|_| {}).await?;
        Ok(content.read(0..content.size()).into_owned())
    }

    /// The next chunk, which starts at byte `at`; `None` at the end. Resumes the download where the connection breaks.
    async fn next(&mut self, at: usize) -> Result<Option<Uint8Array>> {
        loop {
            let Some(reader) = &self.reader else { return Ok(None) };
            if let Ok(part) = JsFuture::from(reader.0.read()).await {
                let field = |key: &str| Reflect::get(&part, &JsValue::from_str(key)).unwrap_or(JsValue::UNDEFINED);
                return Ok(field("done").is_falsy().then(|| field("value").unchecked_into()));
            }
            let why = if is_opened(&self.url) { CHANGED } else { "the connection broke; try again" };
            let broken = || Error::read(&self.label, why);
            self.resumes = self.resumes.checked_sub(1).ok_or_else(broken)?;
            let rest = rest(&self.url, at, self.version.as_deref()).await;
            self.reader = Some(rest.ok_or_else(broken)?);
        }
    }
}

/// The message for an opened file that can no longer be read.
const CHANGED: &str = "it changed on disk, or was moved, after it was chosen; choose it again";

fn is_opened(url: &str) -> bool {
    url.starts_with("blob:")
}

/// Why the browser gets no answer from `url`.
fn unreadable(url: &str) -> &'static str {
    if is_opened(url) {
        return CHANGED;
    }
    "the address cannot be reached: it may be misspelt, offline, or its server may not let other sites read it (CORS)"
}

fn worker() -> WorkerGlobalScope {
    js_sys::global().unchecked_into()
}

/// What addresses of kept models have in them: Lab keeps fine-tuned models in the browser (page/lab/src/keep.rs).
const KEPT: &str = "/kept/";

/// The file of a model that was kept in the browser; none where `url` is no such file.
async fn kept(url: &str) -> Option<Response> {
    if !url.contains(KEPT) {
        return None;
    }
    // At unsafe addresses there is no such storage.
    let stores = Reflect::get(&worker(), &JsValue::from_str("caches")).ok()?.dyn_into::<CacheStorage>().ok()?;
    JsFuture::from(stores.match_with_str(url)).await.ok()?.dyn_into().ok()
}

/// Requests `url`, unless `begun` is the promise of its answer. Dropping the future aborts the request.
async fn fetch(url: &str, begun: JsValue) -> std::result::Result<Response, JsValue> {
    if let Some(kept) = kept(url).await {
        return Ok(kept);
    }
    if let Ok(begun) = begun.dyn_into::<Promise>() {
        return JsFuture::from(begun).await.map(JsCast::unchecked_into);
    }
    let controller = AbortController::new()?;
    let request = RequestInit::new();
    request.set_signal(Some(&controller.signal()));
    let abort = AbortOnDrop(Some(controller));
    let response = JsFuture::from(worker().fetch_with_str_and_init(url, &request)).await;
    abort.keep();
    response.map(JsCast::unchecked_into)
}

/// Aborts a request on drop, unless it was answered.
struct AbortOnDrop(Option<AbortController>);

impl AbortOnDrop {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        if let Some(controller) = &self.0 {
            controller.abort();
        }
    }
}

/// The answers that worker.js requested while the program was loading, by address.
fn begun() -> Map {
    let begun = Reflect::get(&js_sys::global(), &JsValue::from_str("begun"));
    begun.ok().and_then(|begun| begun.dyn_into().ok()).unwrap_or_default()
}

/// Reads the body of an answer, and closes the connection on drop.
struct Reader(ReadableStreamDefaultReader);

impl Reader {
    fn new(response: &Response) -> Option<Self> {
        Some(Self(response.body()?.get_reader().unchecked_into()))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // Cancelling a stream that failed gives another rejected promise, which has to be handled.
        drop(JsFuture::from(self.0.cancel()));
    }
}

/// The body of `url` from the byte `start` on; `None` where the server cannot be reached, does not support ranges, or
/// has another version of the file by now.
async fn rest(url: &str, start: usize, version: Option<&str>) -> Option<Reader> {
    let request = Request::new_with_str(url).ok()?;
    request.headers().set("range", &format!("bytes={start}-")).ok()?;
    request.headers().set("if-range", version?).ok()?;
    let response: Response = JsFuture::from(worker().fetch_with_request(&request)).await.ok()?.unchecked_into();
    (response.status() == 206).then(|| Reader::new(&response))?
}
