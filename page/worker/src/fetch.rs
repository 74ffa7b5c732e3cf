//! Model files over HTTP (or from blob URLs of opened files), with progress.

use super::arriving::{Arriving, Flow};
use super::download::Answer;
use super::missing::Missing;
use super::place::{Place, WEIGHTS};
use super::protocol::Source;
use super::ranges::Ranges;
use super::request::begun;
use futures::FutureExt;
use futures::future::{Either, LocalBoxFuture, join3, ready, select, try_join_all};
use moescope::error::Result;
use moescope::model::files::{Bytes, ModelFiles, shards, tokenizer_file};
use moescope::model::gguf;
use std::cell::Cell;
use std::rc::Rc;

/// Called with (what, bytes done, bytes in all where known).
pub type Progress<'a> = &'a dyn Fn(&str, u64, Option<u64>);

const INDEX: &str = "model.safetensors.index.json";

/// The weights' files while they come.
pub struct Weights<'a> {
    /// Downloads them as far as they are wanted. A caller that waits for weights must also run it.
    pub coming: LocalBoxFuture<'a, Result<()>>,
    /// Each of them.
    files: Vec<Rc<Arriving>>,
    /// The same files, to be read range by range.
    by_ranges: LocalBoxFuture<'a, Option<Vec<Ranges>>>,
}

/// Sets how far the weights are downloaded.
#[derive(Clone)]
pub struct Valve(Vec<Rc<Arriving>>);

impl Valve {
    /// Downloads all of them.
    pub fn open(&self) {
        self.0.iter().for_each(|file| file.set_flow(Flow::Whole));
    }

    /// From now on, reads no more of the files than is asked for, where they are read range by range.
    pub fn read_exactly(&self) {
        self.0.iter().for_each(|file| file.read_exactly());
    }
}

impl<'a> Weights<'a> {
    /// Its files' valve, what downloads them, and what makes them be read range by range: that returns false where
    /// they cannot be.
    pub fn parts(self) -> (Valve, LocalBoxFuture<'a, Result<()>>, LocalBoxFuture<'a, bool>) {
        let Self { coming, files, by_ranges } = self;
        let valve = Valve(files.clone());
        let by_ranges = async move {
            let Some(ranges) = by_ranges.await else { return false };
            files.iter().zip(ranges).for_each(|(file, ranges)| file.read_by_ranges(ranges));
            true
        };
        (valve, coming, by_ranges.boxed_local())
    }
}

/// A file of weights: its name, the server's answer where it has been requested, and its content.
type File = (String, Option<Answer>, Rc<Arriving>);

/// Starts to fetch a model; `token` is the visitor's access token for its site. Of the weights, only as much comes as
/// their readers wait for.
///
/// # Errors
/// The model's files are missing, or cannot be fetched.
pub async fn model_files<'a>(
    source: &'a Source,
    token: Option<String>,
    progress: Progress<'a>,
) -> Result<(ModelFiles, Weights<'a>)> {
    let place = Rc::new(Place::new(source, token)?);
    if let Some(first) = place.weights().filter(|name| name.ends_with(".gguf")).map(str::to_owned) {
        return gguf_files(place, &first, progress).await;
    }
    let (described, generation, weights) =
        join3(config_and_tokenizer(&place), place.get("generation_config.json"), weights(&place)).await;
    // The file only says which tokens end a text, so any answer that is not the file counts as a missing file.
    let generation = generation.ok().and_then(|answer| answer.ok());
    begun().clear();
    let (config, tokenizer) = described?;
    let weights: Vec<File> = weights?.into_iter().map(|(name, answer)| (name, answer, Rc::default())).collect();
    let contents = contents(&weights);
    let files = ModelFiles { name: place.name(), config, tokenizer, generation, chat: None, weights: contents };
    Ok((files, coming(place, weights, progress)))
}

/// As [`model_files`], of the GGUF file `first` and the others of its model: config and tokenizer are in the first.
async fn gguf_files<'a>(
    place: Rc<Place<'a>>,
    first: &str,
    progress: Progress<'a>,
) -> Result<(ModelFiles, Weights<'a>)> {
    let mut answer = Some(place.open(first).await?.map_err(|missing| place.error(first, &missing))?);
    begun().clear();
    let parts = gguf::all_parts(first).into_iter();
    let weights: Vec<File> = parts
        .map(|name| {
            let answer = if name == first { answer.take() } else { None };
            (name, answer, Rc::default())
        })
        .collect();
    let header = gguf::model_files(gguf::model_name(first), contents(&weights)).boxed_local();
    let mut weights = coming(place, weights, progress);
    match select(header, &mut weights.coming).await {
        Either::Left((files, _)) => Ok((files?, weights)),
        Either::Right((came, header)) => {
            came?;
            weights.coming = ready(Ok(())).boxed_local();
            Ok((header.await?, weights))
        }
    }
}

fn contents(weights: &[File]) -> Vec<(String, Bytes)> {
    weights.iter().map(|(name, _, content)| (name.clone(), content.clone() as Bytes)).collect()
}

fn coming<'a>(place: Rc<Place<'a>>, weights: Vec<File>, progress: Progress<'a>) -> Weights<'a> {
    let files = weights.iter().map(|(_, _, content)| content.clone()).collect();
    let names: Vec<String> = weights.iter().map(|(name, ..)| name.clone()).collect();
    let by_ranges = by_ranges(place.clone(), names).boxed_local();
    Weights { coming: bring(place, weights, progress).boxed_local(), files, by_ranges }
}

/// The files of these names, to be read range by range; `None` where they cannot be.
async fn by_ranges(place: Rc<Place<'_>>, names: Vec<String>) -> Option<Vec<Ranges>> {
    let mut files = Vec::new();
    for name in names {
        let answer = place.open(&name).await.ok()?.ok()?;
        files.push(answer.ranges().await?);
    }
    Some(files)
}

/// `config.json`, and the tokenizer file that it may name. Without a tokenizer a model can still route token ids.
async fn config_and_tokenizer(place: &Place<'_>) -> Result<(Vec<u8>, Option<Vec<u8>>)> {
    let config = place.get("config.json").await?.map_err(|missing| place.error("config.json", &missing))?;
    let tokenizer = place.tokenizer(&tokenizer_file(&config)).await?;
    Ok((config, tokenizer.ok()))
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

/// The names of the weights files of a model.
///
/// # Errors
/// They are missing, or cannot be fetched.
pub async fn weights_of(place: &Place<'_>) -> Result<Vec<String>> {
    Ok(weights(place).await?.into_iter().map(|(name, _)| name).collect())
}

/// Downloads all `weights` side by side, each as far as it is wanted.
async fn bring(place: Rc<Place<'_>>, weights: Vec<File>, progress: Progress<'_>) -> Result<()> {
    let tally = Tally { done: Cell::default(), total: Cell::default(), unknown: Cell::new(weights.len()) };
    let (place, tally, alone) = (&*place, &tally, weights.len() == 1);
    let come = |bytes| {
        tally.done.set(tally.done.get() + bytes);
        progress(place.weights().unwrap_or(WEIGHTS), tally.done.get(), tally.total());
    };
    let reading = weights.into_iter().map(|(name, answer, content)| async move {
        if !content.wants_more(|| {}).await {
            return Ok(());
        }
        let answer = match answer {
            Some(answer) => answer,
            None => place.open(&name).await?.map_err(|missing| place.error(&name, &missing))?,
        };
        tally.add(answer.total);
        answer.read(&content, alone, &come).await
    });
    try_join_all(reading).await.map(|_: Vec<()>| ())
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
