//! Finishes a model that train/gpu trained: measures it on held-out text and writes its directory, as for other
//! models.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::config::Config;
use crate::corpus::Manifest;
use crate::curves::{Curves, HeldOutPoint};
use crate::data::{self, Kind};
use crate::evaluation::evaluate;
use crate::export::{Export, read_weights};
use crate::replica::Replica;
use crate::trainer::summary;

/// Tokens of each text that are measured, from its start: a quarter of a million in all, which takes minutes for nine
/// models.
const MEASURED: usize = 16 * 1024;
/// Sequences that one thread measures at a time.
const SEQUENCES: usize = 8;

/// `training.json`: how a model was trained.
#[derive(Deserialize)]
struct Training {
    /// The configuration, with the batches and rates that were used on the GPU.
    config: Config,
    /// Steps done.
    step: usize,
    /// Tokens seen.
    tokens: usize,
    /// Seconds of training.
    seconds: f64,
    /// The name of the GPU.
    machine: String,
}

/// Reads `from`, measures on the held-out text of `corpus` and writes the directory `target`.
pub fn finish(name: &str, from: &Path, corpus: &Path, target: &Path) -> Result<()> {
    let read = |file: &str| {
        let path = from.join(file);
        fs::read(&path).with_context(|| format!("cannot read {}; train/gpu/train.py writes it", path.display()))
    };
    let training: Training = serde_json::from_slice(&read("training.json")?).context("in training.json")?;
    let mut curves: Curves = serde_json::from_slice(&read("curves.json")?).context("in curves.json")?;
    let config = training.config;
    config.check()?;
    config.check_vocabulary()?;
    let named = Config::read(&Path::new("train/configs").join(format!("{name}.toml")))?;
    ensure!(named.model == config.model, "{} holds a model of another shape than {name}", from.display());
    let file = read("model.safetensors")?;
    let values = read_weights(&config.model, &file).context("in model.safetensors")?;
    let manifest = Manifest::read(corpus)?;
    let held_out = data::streams(corpus, &manifest, Kind::HeldOut)?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let context = config.model.context;
    let mut replicas: Vec<_> = (0..threads).map(|_| Replica::new(&config.model, SEQUENCES, context)).collect();
    let evaluation = evaluate(&mut replicas, &values, &held_out, MEASURED, context / 2);
    println!("{}", summary(&evaluation));
    let today = data::texts_of_today(corpus, &manifest)?;
    let today = evaluate(&mut replicas, &values, &today, MEASURED, context / 2).domains;
    for d in &today {
        println!("{} of today: {:.3} bits per byte", d.name, d.bits_per_byte);
    }
    curves.held_out.push(HeldOutPoint::new(training.step, training.tokens, &evaluation));
    let export = Export {
        name,
        config: &config,
        values: &values,
        step: training.step,
        tokens: training.tokens,
        seconds: training.seconds,
        curves: &curves,
        evaluation: &evaluation,
        manifest: &manifest,
        machine: Some(&training.machine),
        file: Some(&file),
        today: &today,
        measured: Some(MEASURED),
    };
    export.write(target, &corpus.join("tokenizer.json"))?;
    println!("wrote {}", target.display());
    Ok(())
}
