//! `moescope`, the command line. Stdout gets only the result (JSON or text). Errors go to stderr as one line, `error:
//! ...`. The exit status is 1 for bad input and 2 for bad usage.

mod experts;
mod files;
mod generate;
mod policy;
mod quantise;
mod record;
mod residency;
mod subject;
mod trace;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// See a sparse Mixture-of-Experts transformer think.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a text through a model and print what its routers decided.
    Trace(trace::Options),
    /// Switch each expert of each layer off in turn, and print how the text's loss changes.
    Ablate(policy::AblateOptions),
    /// Run a text with 1 to E experts per token, and print its loss, its cost and the speed.
    Choices(subject::Subject),
    /// Continue a text, or each line of a file, and print one line of JSON for each continuation.
    Generate(generate::Options),
    /// Count which tokens each expert gets over texts of known domains, and write the counts as JSON.
    Experts(experts::Options),
    /// Write a model as a GGUF file with rounded weights, which llama.cpp reads too.
    Quantise(quantise::Options),
    /// Say how often a chosen expert would be in a memory that holds a part of them, from the JSON of `trace`.
    Residency(residency::Options),
    /// Record how the routing of a few texts changed over a training run, from the run's snapshots.
    Record(record::Options),
}

/// Parses the arguments and runs the command.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Trace(options) => pollster::block_on(trace::run(&options)),
        Command::Ablate(options) => pollster::block_on(policy::ablate(&options)),
        Command::Choices(options) => pollster::block_on(policy::choices(&options)),
        Command::Generate(options) => pollster::block_on(generate::run(&options)),
        Command::Experts(options) => pollster::block_on(experts::run(&options)),
        Command::Quantise(options) => pollster::block_on(quantise::run(&options)),
        Command::Residency(options) => residency::run(&options),
        Command::Record(options) => pollster::block_on(record::run(&options)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", error.to_string().replace('\n', " "));
            ExitCode::FAILURE
        }
    }
}
