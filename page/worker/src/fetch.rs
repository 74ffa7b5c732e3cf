//! Model files over HTTP (or from blob URLs of opened files), with progress.

use super::arriving::Arriving;
use super::protocol::Source;
use futures::future::{join, try_join_all};
use js_sys::{Map, Promise, Reflect, Uint8Array};
use moescope::error::{Error, Result};
use moescope::model::files::{Bytes, Content, ModelFiles, shards, tokenizer_file};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{ReadableStreamDefaultReader, Request, Response, Url, WorkerGlobalScope};

/// Called with (what, bytes done, bytes in all where known); false gives up.
pub type Progress<'a> = &'a dyn Fn(&str, u64, Option<u64>) -> bool;

/// How often a file whose connection breaks off is gone on with.
const RESUMES: usize = 3;

/// What is said of a file whose places 32 bits cannot name.
const TOO_LARGE: &str =
    "it is larger than 4 GB, more than a page can read; save the model in smaller shards, or take a smaller one";

/// Begins to fetch a model. Gives its files, of which the weights are on their way, and the work that brings them: whoever waits
/// for weights must let it go on too.
pub async fn model_files<'a>(
    source: &'a Source,
    progress: Progress<'a>,
) -> Result<(ModelFiles, impl Future<Output = Result<()>> + 'a)> {
    let place = Place::new(source)?;
    let (described, weights) = join(config_and_tokenizer(&place), weights(&place)).await;
    begun().clear();
    let (config, tokenizer) = described?;
    let weights: Vec<_> =
        weights?.into_iter().map(|(name, answer)| (name, answer, Rc::new(Arriving::default()))).collect();
    let contents = weights.iter().map(|(name, _, content)| (name.clone(), content.clone() as Bytes)).collect();
    let files = ModelFiles { name: place.name(), config, tokenizer, weights: contents };
    Ok((files, bring(place, weights, progress)))
}

/// `config.json`, and the tokenizer that it may name.
async fn config_and_tokenizer(place: &Place<'_>) -> Result<(Vec<u8>, Option<Vec<u8>>)> {
    let config = place.get("config.json").await?.ok_or_else(|| place.missing("config.json"))?;
    let tokenizer = place.tokenizer(&tokenizer_file(&config)).await?;
    Ok((config, tokenizer))
}

thread_local! {
    /// The tokenizer that models share, with its address: another model of theirs does not fetch it again.
    static SHARED: RefCell<Option<(String, Vec<u8>)>> = const { RefCell::new(None) };
}

/// The names of the files with weights, with the answer where there is one already.
async fn weights(place: &Place<'_>) -> Result<Vec<(String, Option<Answer>)>> {
    if let Some(answer) = place.open(place.weights()).await? {
        return Ok(vec![(place.weights().to_owned(), Some(answer))]);
    }
    let index = place.get("model.safetensors.index.json").await?;
    let index = index.ok_or_else(|| place.missing(place.weights()))?;
    Ok(shards(&index)?.into_iter().map(|name| (name, None)).collect())
}

/// Reads all `weights` (name, answer, where they go) side by side.
async fn bring(
    place: Place<'_>,
    weights: Vec<(String, Option<Answer>, Rc<Arriving>)>,
    progress: Progress<'_>,
) -> Result<()> {
    let tally = Tally { done: Cell::default(), total: Cell::default(), unknown: Cell::new(weights.len()) };
    let (place, tally) = (&place, &tally);
    let come = |bytes| {
        tally.done.set(tally.done.get() + bytes as u64);
        progress(place.weights(), tally.done.get(), tally.total())
    };
    let reading = weights.into_iter().map(|(name, answer, content)| async move {
        let answer = match answer {
            Some(answer) => answer,
            None => place.open(&name).await?.ok_or_else(|| place.missing(&name))?,
        };
        tally.add(answer.total);
        answer.read(&content, &come).await
    });
    try_join_all(reading).await.map(|_| ())
}

/// Bytes of several files.
struct Tally {
    done: Cell<u64>,
    /// Of the files whose sizes are known.
    total: Cell<u64>,
    /// How many files have no known size.
    unknown: Cell<usize>,
}

impl Tally {
    fn add(&self, total: Option<u64>) {
        if let Some(total) = total {
            self.total.set(self.total.get() + total);
            self.unknown.set(self.unknown.get() - 1);
        }
    }

    fn total(&self) -> Option<u64> {
        (self.unknown.get() == 0).then(|| self.total.get())
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

    /// Asks for the file `name`; none where there is no such file.
    async fn open(&self, name: &str) -> Result<Option<Answer>> {
        match self {
            Self::Directory { base, .. } => Answer::to(&format!("{base}{name}")).await,
            Self::Files(files) => match files.iter().find(|(file, _)| file == name) {
                Some((_, url)) => Answer::to(url).await,
                None => Ok(None),
            },
        }
    }

    /// A small file, whole, in the program's memory; none where there is no such file.
    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        match self.open(name).await? {
            Some(answer) => answer.whole().await.map(Some),
            None => Ok(None),
        }
    }

    /// The tokenizer, which is at `path` seen from the directory. Opened files have no directories.
    async fn tokenizer(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let own = "tokenizer.json";
        let Self::Directory { base, .. } = self else { return self.get(own).await };
        if path == own {
            return self.get(own).await;
        }
        let Some(url) = Url::new_with_base(path, base).ok().map(|url| url.href()) else { return Ok(None) };
        if let Some((_, bytes)) = SHARED.with_borrow(|shared| shared.clone()).filter(|(shared, _)| *shared == url) {
            return Ok(Some(bytes));
        }
        // worker.js begins to fetch it under the name that it has in other directories.
        let begun = begun().get(&JsValue::from_str(&format!("{base}{own}")));
        let Some(answer) = Answer::of(&url, begun).await? else { return Ok(None) };
        let bytes = answer.whole().await?;
        SHARED.set(Some((url, bytes.clone())));
        Ok(Some(bytes))
    }
}

/// A server's answer, of which nothing was read.
struct Answer {
    url: String,
    /// Bytes of the file, where they are known.
    total: Option<u64>,
    version: Option<String>,
    /// None where there is no body.
    reader: Option<Reader>,
    /// How often it may be gone on with.
    resumes: usize,
}

impl Answer {
    /// Asks for `url`, unless worker.js has done so; none where there is no such file.
    async fn to(url: &str) -> Result<Option<Self>> {
        Self::of(url, begun().get(&JsValue::from_str(url))).await
    }

    /// What came from `url`: `begun` is the answer on its way, if it is one.
    async fn of(url: &str, begun: JsValue) -> Result<Option<Self>> {
        let unreachable = |_| {
            Error::read(
                url,
                "the address cannot be reached: it may be misspelt, offline, or its server may not let other sites read it (CORS)",
            )
        };
        let scope: WorkerGlobalScope = js_sys::global().unchecked_into();
        let answer = begun.dyn_into::<Promise>().unwrap_or_else(|_| scope.fetch_with_str(url));
        let response: Response = JsFuture::from(answer).await.map_err(unreachable)?.unchecked_into();
        if response.status() == 404 {
            return Ok(None);
        }
        if !response.ok() {
            return Err(Error::read(
                url,
                format!("the server answers {} {}", response.status(), response.status_text()),
            ));
        }
        let header = |name| response.headers().get(name).ok().flatten();
        if header("content-type").is_some_and(|kind| kind.starts_with("text/html")) {
            return Err(Error::read(
                url,
                "the server answers with a web page instead of a file; give the address of the model directory itself",
            ));
        }
        // A compressed answer's length is not the file's.
        let length = header("content-length").filter(|_| header("content-encoding").is_none());
        let total = length.and_then(|n| n.parse().ok());
        if total.is_some_and(|total| total > usize::MAX as u64) {
            return Err(Error::read(url, TOO_LARGE));
        }
        Ok(Some(Self {
            url: url.to_owned(),
            total,
            version: header("etag"),
            reader: Reader::new(&response),
            resumes: RESUMES,
        }))
    }

    /// Reads it part by part into `content`, and tells `come` how many bytes each has; false gives up.
    async fn read(mut self, content: &Arriving, come: &dyn Fn(usize) -> bool) -> Result<()> {
        while let Some(part) = self.next(content.size()).await? {
            let bytes = part.length() as usize;
            content.push(part).ok_or_else(|| Error::read(&self.url, TOO_LARGE))?;
            if !come(bytes) {
                return Err(Error::read(&self.url, "another model was asked for meanwhile"));
            }
        }
        content.end();
        Ok(())
    }

    /// All of it, for small files.
    async fn whole(self) -> Result<Vec<u8>> {
        let content = Arriving::default();
        self.read(&content, &|_| true).await?;
        Ok(content.read(0..content.size()).into_owned())
    }

    /// The part that starts at the byte `at`; none at the end. Where the connection breaks off, the rest is asked for.
    async fn next(&mut self, at: usize) -> Result<Option<Uint8Array>> {
        loop {
            let Some(reader) = &self.reader else { return Ok(None) };
            if let Ok(part) = JsFuture::from(reader.0.read()).await {
                let field = |key: &str| Reflect::get(&part, &JsValue::from_str(key)).unwrap_or(JsValue::UNDEFINED);
                return Ok(field("done").is_falsy().then(|| field("value").unchecked_into()));
            }
            let broken = || Error::read(&self.url, "the connection broke off; try again");
            self.resumes = self.resumes.checked_sub(1).ok_or_else(broken)?;
            let rest = rest(&self.url, at, self.version.as_deref()).await;
            self.reader = Some(rest.ok_or_else(broken)?);
        }
    }
}

/// The answers that worker.js asked for while the program came, by address.
fn begun() -> Map {
    let begun = Reflect::get(&js_sys::global(), &JsValue::from_str("begun"));
    begun.ok().and_then(|begun| begun.dyn_into().ok()).unwrap_or_default()
}

/// Reads an answer's body, and ends the connection when nobody does so any more.
struct Reader(ReadableStreamDefaultReader);

impl Reader {
    fn new(response: &Response) -> Option<Self> {
        Some(Self(response.body()?.get_reader().unchecked_into()))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // A stream that failed says so once more, and somebody must have heard it.
        drop(JsFuture::from(self.0.cancel()));
    }
}

/// A file from the byte `start` on; none where the server cannot be reached, gives whole files only, or has another version
/// of it by now.
async fn rest(url: &str, start: usize, version: Option<&str>) -> Option<Reader> {
    let request = Request::new_with_str(url).ok()?;
    request.headers().set("range", &format!("bytes={start}-")).ok()?;
    request.headers().set("if-range", version?).ok()?;
    let scope: WorkerGlobalScope = js_sys::global().unchecked_into();
    let response: Response = JsFuture::from(scope.fetch_with_request(&request)).await.ok()?.unchecked_into();
    (response.status() == 206).then(|| Reader::new(&response))?
}
