//! `moescope`: reads the routing of a model on the command line. JSON or text on stdout and nothing else
//! there; `error: ...` in one line on stderr. Exit 1 for bad input, 2 for bad usage.

mod experts;
mod generate;
mod policy;
mod record;
mod trace;

use clap::{Parser, Subcommand};
use moescope::error::{Error, Result};
use std::path::{Path, PathBuf};
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
    /// Run a text with 1 to E experts a token, and print its loss, its cost and the speed.
    Choices(trace::Subject),
    /// Continue a text, or each line of a file, and print the continuations as JSON, a line each.
    Generate(generate::Options),
    /// Count what each expert reads over texts of known domains, and write it down as JSON.
    Experts(experts::Options),
    /// Record how the routing of a few texts formed over a training run, from its snapshots.
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

/// A UTF-8 file's text.
fn read_text(file: &Path) -> Result<String> {
    let at = || file.display().to_string();
    let bytes = std::fs::read(file).map_err(|e| Error::read(at(), e))?;
    String::from_utf8(bytes).map_err(|_| Error::read(at(), "it is not UTF-8 text"))
}

/// (domain, file) of the texts in a directory, by name.
fn domains(dir: &Path) -> Result<Vec<(String, PathBuf)>> {
    let at = || dir.display().to_string();
    let entries = std::fs::read_dir(dir).map_err(|e| Error::read(at(), e))?;
    let files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    let ending = |end: &str| -> Vec<(String, PathBuf)> {
        let named = files.iter().filter_map(|path| {
            let name = path.file_name()?.to_str()?.strip_suffix(end)?;
            Some((name.to_owned(), path.clone()))
        });
        let mut named: Vec<_> = named.collect();
        named.sort();
        named
    };
    let held = ending(".held.txt");
    let texts = if held.is_empty() { ending(".txt") } else { held };
    if texts.is_empty() {
        return Err(Error::read(at(), "there is no .txt file in it; put one text file for each domain there"));
    }
    Ok(texts)
}
