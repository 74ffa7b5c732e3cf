//! What fine-tuning does to a mixture of experts, and to a dense model with the same computation: on one small text,
//! and on twenty small tasks written as instruction and answer. Each model is trained with all parameters, without the
//! experts and without the router. The curves are recorded.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use moescope_learn::fine_tune::{Lab, Settings, Texts};
use moescope_learn::transformer::data::Stream;
use moescope_learn::transformer::model::Trained;
use moescope_learn::transformer::stored::Stored;
use serde::Serialize;
use tokenizers::Tokenizer;

use crate::files::{sha256, write_whole};
use crate::{tasks, tokenizer};

/// Instances of every task that are trained on.
const TASK_INSTANCES: usize = 120;
/// Instances of every task that are held out.
const HELD_OUT_INSTANCES: usize = 6;
/// Tokens of the general text that are measured, of each kind.
const GENERAL: usize = 512;
/// Tokens of the general text whose routing is compared before and after, of each kind.
const ROUTED: usize = 256;

/// The models, and what is trained of each.
const RUNS: [(&str, Trained); 5] = [
    ("main", Trained::All),
    ("main", Trained::WithoutExperts),
    ("main", Trained::WithoutRouters),
    ("dense", Trained::All),
    ("dense", Trained::WithoutExperts),
];

/// All runs.
#[derive(Serialize)]
struct Record {
    schema: u32,
    /// Steps of each run.
    steps: usize,
    /// Tokens of a step.
    tokens_per_step: usize,
    /// Kinds of general text.
    general: Vec<String>,
    runs: Vec<Run>,
}

/// One run. Losses are in bits per byte.
#[derive(Serialize)]
struct Run {
    model: String,
    /// "narrow" or "tasks".
    text: String,
    /// SHA-256 of the text that is trained on.
    text_sha256: String,
    trained: Trained,
    trained_parameters: usize,
    parameters: usize,
    seconds: f64,
    curve: Vec<Point>,
    /// By layer: the part of the general text's tokens whose set of experts changed.
    moved: Vec<f64>,
}

/// The losses at a step, in bits per byte.
#[derive(Clone, Copy, Serialize)]
struct Point {
    step: usize,
    train: f64,
    held_out: f64,
    general: f64,
}

/// A text to train on and its held-out part.
struct Subject {
    name: &'static str,
    sum: String,
    train: Encoded,
    held_out: Encoded,
}

/// Token ids, and how many bytes a token stands for.
#[derive(Clone)]
struct Encoded {
    ids: Vec<u16>,
    bytes_per_token: f64,
}

impl Encoded {
    fn of(tokenizer: &Tokenizer, text: &str) -> Result<Self> {
        let ids = tokenizer::encode(tokenizer, text)?;
        ensure!(ids.len() > 1, "a text has fewer than two tokens");
        Ok(Self { bytes_per_token: text.len() as f64 / ids.len() as f64, ids })
    }

    /// Bits per byte of a loss in nats per token.
    fn bits(&self, nats: f32) -> f64 {
        f64::from(nats) / std::f64::consts::LN_2 / self.bytes_per_token
    }
}

/// Makes all runs, writes their record to `to` and returns a table.
///
/// # Errors
/// A model, a text or the corpus cannot be read; a run diverges.
pub fn record(corpus: &Path, models: &Path, narrow: &Path, steps: usize, to: &Path) -> Result<String> {
    let tokenizer = tokenizer::read(&models.join("tokenizer").join("tokenizer.json"))?;
    let general = general(corpus, &tokenizer)?;
    let subjects = [narrow_text(&tokenizer, narrow)?, task_text(&tokenizer)?];
    let mut runs = Vec::new();
    for subject in &subjects {
        for (model, trained) in RUNS {
            let run = run(&models.join(model), subject, &general, trained, steps)?;
            println!("{}", line(&run));
            runs.push(run);
        }
    }
    let settings = settings(Trained::All);
    let record = Record {
        schema: 1,
        steps,
        tokens_per_step: settings.context * settings.sequences,
        general: general.iter().map(|(name, _)| name.clone()).collect(),
        runs,
    };
    write_whole(to, serde_json::to_string(&record)?.as_bytes())?;
    let mut table = String::from(
        "| model | text | trained | on the trained text | held out, best (step) | at the end | general | moved |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for run in &record.runs {
        writeln!(table, "{}", line(run))?;
    }
    Ok(table)
}

/// Held-out text of several kinds: every `NAME.held.txt` of the corpus folder.
fn general(corpus: &Path, tokenizer: &Tokenizer) -> Result<Vec<(String, Encoded)>> {
    let entries = fs::read_dir(corpus).with_context(|| format!("cannot read the corpus {}", corpus.display()))?;
    let mut texts = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(name) = name.strip_suffix(".held.txt") {
            let text = fs::read_to_string(&path)?;
            // Four bytes a token are more than enough for what is measured.
            let end = text.floor_char_boundary((8 * GENERAL).min(text.len()));
            texts.push((name.to_owned(), Encoded::of(tokenizer, &text[..end])?));
        }
    }
    ensure!(!texts.is_empty(), "{} has no held-out text; run `cargo xtask corpus` first", corpus.display());
    texts.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(texts)
}

fn narrow_text(tokenizer: &Tokenizer, path: &Path) -> Result<Subject> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let cut = text.floor_char_boundary(text.len() - text.len() / 5);
    let (train, held_out) = text.split_at(cut);
    Ok(Subject {
        name: "narrow",
        sum: sha256(train.as_bytes()),
        train: Encoded::of(tokenizer, train)?,
        held_out: Encoded::of(tokenizer, held_out)?,
    })
}

fn task_text(tokenizer: &Tokenizer) -> Result<Subject> {
    let train = tasks::text(TASK_INSTANCES, false).join("\n");
    let held_out = tasks::text(HELD_OUT_INSTANCES, true).join("\n");
    Ok(Subject {
        name: "tasks",
        sum: sha256(train.as_bytes()),
        train: Encoded::of(tokenizer, &train)?,
        held_out: Encoded::of(tokenizer, &held_out)?,
    })
}

fn settings(trained: Trained) -> Settings {
    Settings { trained, context: 128, sequences: 4, measure_every: 10, measured: 1024, ..Settings::default() }
}

fn run(folder: &Path, subject: &Subject, general: &[(String, Encoded)], trained: Trained, steps: usize) -> Result<Run> {
    let read = |name: &str| fs::read(folder.join(name)).with_context(|| format!("cannot read {name} of {folder:?}"));
    let config = String::from_utf8(read("config.json")?).context("config.json is not UTF-8")?;
    let model = Stored::read(&config, &read("model.safetensors")?)?;
    let first = |text: &Encoded, most: usize| text.ids[..text.ids.len().min(most)].to_vec();
    let stream = |(name, text): &(String, Encoded)| Stream { name: name.clone(), ids: first(text, GENERAL), bytes: 0 };
    let texts = Texts {
        train: subject.train.ids.clone(),
        same_kind: subject.held_out.ids.clone(),
        all_kinds: general.iter().map(stream).collect(),
    };
    let start = Instant::now();
    let mut lab = Lab::new(settings(trained), model, texts)?;
    let routed = |lab: &Lab| -> Result<Vec<Vec<Vec<u16>>>> {
        general.iter().map(|(_, text)| Ok(lab.route(&first(text, ROUTED))?.experts)).collect()
    };
    let before = routed(&lab)?;
    lab.step(steps)?;
    let after = routed(&lab)?;
    let state = lab.state();
    // The general loss is a mean over the kinds, so its bytes are too.
    let mean = general.iter().map(|(_, text)| text.bytes_per_token).sum::<f64>() / general.len() as f64;
    let point = |m: &moescope_learn::fine_tune::Moment| Point {
        step: m.step,
        train: subject.train.bits(m.train),
        held_out: subject.held_out.bits(m.same_kind.unwrap_or(f32::NAN)),
        general: f64::from(m.all_kinds.unwrap_or(f32::NAN)) / std::f64::consts::LN_2 / mean,
    };
    Ok(Run {
        model: folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        text: subject.name.to_owned(),
        text_sha256: subject.sum.clone(),
        trained,
        trained_parameters: state.trained,
        parameters: state.parameters,
        seconds: start.elapsed().as_secs_f64(),
        curve: state.curve.iter().map(point).collect(),
        moved: moved(&before, &after, lab.model().shape.top_k),
    })
}

/// By layer: the part of all texts' tokens whose set of experts is another after than before.
fn moved(before: &[Vec<Vec<u16>>], after: &[Vec<Vec<u16>>], top_k: usize) -> Vec<f64> {
    let layers = before.first().map_or(0, Vec::len);
    let set = |experts: &[u16]| {
        let mut set = experts.to_vec();
        set.sort_unstable();
        set
    };
    let layer = |layer: usize| {
        let (mut changed, mut tokens) = (0, 0);
        for (before, after) in before.iter().zip(after) {
            let pairs = before[layer].chunks_exact(top_k).zip(after[layer].chunks_exact(top_k));
            changed += pairs.filter(|(a, b)| set(a) != set(b)).count();
            tokens += before[layer].len() / top_k;
        }
        changed as f64 / f64::from(u32::try_from(tokens.max(1)).unwrap_or(u32::MAX))
    };
    (0..layers).map(layer).collect()
}

/// A run as a row of the table.
fn line(run: &Run) -> String {
    let (first, last) = (run.curve[0], run.curve[run.curve.len() - 1]);
    let best = run.curve.iter().min_by(|a, b| a.held_out.total_cmp(&b.held_out)).unwrap_or(&first);
    let moved = run.moved.iter().sum::<f64>() / run.moved.len().max(1) as f64;
    let trained = serde_json::to_value(run.trained).ok().and_then(|v| v.as_str().map(str::to_owned));
    format!(
        "| {} | {} | {} | {:.3} to {:.3} | {:.3} to {:.3} ({}) | {:.3} | {:.3} to {:.3} | {:.0} % |",
        run.model,
        run.text,
        trained.unwrap_or_default(),
        first.train,
        last.train,
        first.held_out,
        best.held_out,
        best.step,
        last.held_out,
        first.general,
        last.general,
        100.0 * moved
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_moved_when_its_set_of_experts_changed() {
        let before = vec![vec![vec![0, 1, 2, 3, 4, 5]]];
        let after = vec![vec![vec![1, 0, 2, 4, 4, 5]]];
        assert_eq!(moved(&before, &after, 2), [1.0 / 3.0]);
    }
}
