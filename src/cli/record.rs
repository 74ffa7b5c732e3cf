//! `moescope record`: the routing of a few texts at each snapshot of a training run.

use super::files::{domains, read_text};
use clap::Args;
use moescope::engine::{Engine, check_prompt};
use moescope::error::{Error, Result};
use moescope::model::{Model, files};
use moescope::routing::recording::{Moment, RecordedText, Recording, Snapshot};
use moescope::routing::{LayerTrace, Trace};
use moescope::session::Session;
use moescope::tokenizer::Tokenizer;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Options of `moescope record`.
#[derive(Args)]
pub struct Options {
    /// A directory of snapshots: model directories with a training.json
    #[arg(long, value_name = "DIR")]
    snapshots: PathBuf,
    /// A JSON list of texts: [{"id": "...", "label": "...", "text": "..."}, ...]
    #[arg(long, value_name = "FILE")]
    texts: PathBuf,
    /// Ids of the texts to record
    #[arg(long, value_delimiter = ',', value_name = "ID,ID", default_value = "mixed,same-word")]
    ids: Vec<String>,
    /// A directory of UTF-8 texts for the balance, as in `moescope experts`
    #[arg(long, value_name = "DIR")]
    held_out: PathBuf,
    /// How many of their tokens to use at most, the same number from each domain
    #[arg(long, default_value_t = 20_000)]
    tokens: usize,
    /// Where to write the recording
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// A text to record.
#[derive(Deserialize)]
struct Text {
    id: String,
    label: String,
    text: String,
}

/// Runs the command.
pub async fn run(options: &Options) -> Result<()> {
    let moments = moments(&options.snapshots)?;
    let (_, first) = &moments[0];
    let tokenizer = tokenizer(first)?;
    let wanted = wanted(&options.texts, &options.ids)?;
    let ids = wanted.iter().map(|text| Ok(tokenizer.encode(&text.text)?.0)).collect::<Result<Vec<_>>>()?;
    let held_out = held_out(&options.held_out, options.tokens, &tokenizer)?;
    let (mut layers, mut texts, mut snapshots) = (Vec::new(), Vec::new(), Vec::new());
    for (moment, path) in moments {
        let model = Model::new(&files::read_dir(&path)?)?;
        let mut session = Session::new(Engine::cpu(&model)?);
        let traces = route(&ids, &mut session, &tokenizer).await?;
        layers = spread(&held_out, &mut session).await?;
        if layers.is_empty() {
            return Err(Error::Input(format!("the model in {} has no experts to record", path.display())));
        }
        snapshots.push(Snapshot::new(moment, &layers, &traces)?);
        let text = |(text, trace): (&Text, Trace)| RecordedText {
            id: text.id.clone(),
            label: text.label.clone(),
            tokens: trace.tokens,
        };
        texts = wanted.iter().zip(traces).map(text).collect();
        eprintln!("step {}, {} tokens seen: recorded", moment.step, moment.tokens);
    }
    let json = Recording::new(&layers, texts, snapshots)?.to_json();
    std::fs::write(&options.out, json).map_err(|e| {
        Error::Input(format!("cannot write {}: {e}; name a file in a folder that exists", options.out.display()))
    })
}

/// The texts of a file with these ids, in the order of `ids`.
fn wanted(file: &Path, ids: &[String]) -> Result<Vec<Text>> {
    let at = || file.display().to_string();
    let json = read_text(file)?;
    let mut texts: Vec<Text> =
        serde_json::from_str(&json).map_err(|e| Error::read(at(), format!("it is not a list of texts ({e})")))?;
    let mut find = |id: &String| match texts.iter().position(|text| text.id == *id) {
        Some(n) => Ok(texts.swap_remove(n)),
        None => Err(Error::read(at(), format!("there is no text with the id \"{id}\" in it"))),
    };
    ids.iter().map(&mut find).collect()
}

/// The snapshots in a directory, in order of training.
fn moments(dir: &Path) -> Result<Vec<(Moment, PathBuf)>> {
    let at = || dir.display().to_string();
    let entries = std::fs::read_dir(dir).map_err(|e| Error::read(at(), e))?;
    let folders = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir());
    let moment = |folder: PathBuf| -> Result<(Moment, PathBuf)> {
        let file = folder.join("training.json");
        let json = read_text(&file)?;
        let why = |e| Error::read(file.display().to_string(), format!("it should hold step, tokens and loss ({e})"));
        Ok((serde_json::from_str(&json).map_err(why)?, folder))
    };
    // A name that ends in .part belongs to a snapshot that is still being written.
    let whole = folders.filter(|path| path.extension().is_none());
    let mut moments = whole.map(moment).collect::<Result<Vec<_>>>()?;
    moments.sort_by_key(|(moment, _)| moment.step);
    match moments.is_empty() {
        true => Err(Error::read(at(), "there is no snapshot in it; a training run with [recording] makes them")),
        false => Ok(moments),
    }
}

/// The tokenizer of a run, which is the same for all of its snapshots.
fn tokenizer(snapshot: &Path) -> Result<Tokenizer> {
    let files = files::read_dir(snapshot)?;
    let missing = || Error::read(snapshot.display().to_string(), "there is no tokenizer.json in it");
    let json = files.tokenizer.as_ref().ok_or_else(missing)?;
    Tokenizer::new(json, Model::new(&files)?.architecture.vocabulary)
}

/// The ids of the beginning of each text in a directory, at most `tokens` in all.
fn held_out(dir: &Path, tokens: usize, tokenizer: &Tokenizer) -> Result<Vec<Vec<u32>>> {
    let domains = domains(dir)?;
    let beginning = |(_, path): &(String, PathBuf)| {
        let (mut ids, _) = tokenizer.encode(&read_text(path)?)?;
        ids.truncate(tokens / domains.len());
        Ok(ids)
    };
    domains.iter().map(beginning).collect()
}

async fn route(texts: &[Vec<u32>], session: &mut Session, tokenizer: &Tokenizer) -> Result<Vec<Trace>> {
    let mut traces = Vec::new();
    for ids in texts {
        check_prompt(ids, session.engine().architecture())?;
        traces.push(session.run(ids, Some(tokenizer), |_| {}).await?);
    }
    Ok(traces)
}

/// The routing of texts, one context window after the other.
async fn spread(texts: &[Vec<u32>], session: &mut Session) -> Result<Vec<LayerTrace>> {
    let context = session.engine().architecture().context;
    let mut all = Trace::default();
    for window in texts.iter().flat_map(|ids| ids.chunks(context)) {
        all.extend(&session.run_routing(window, None).await?);
    }
    Ok(all.layers)
}
