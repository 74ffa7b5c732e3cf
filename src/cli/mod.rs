//! `moescope`: reads the routing of a model on the command line. JSON or text on stdout and nothing else
//! there; `error: ...` in one line on stderr. Exit 1 for bad input, 2 for bad usage.

mod experts;
mod trace;

use clap::{Parser, Subcommand};
use moescope::error::Error;
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
    /// Count what each expert reads over texts of known domains, and write it down as JSON.
    Experts(experts::Options),
}

/// Parses the arguments and runs the command.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Trace(options) => pollster::block_on(trace::run(&options)),
        Command::Experts(options) => pollster::block_on(experts::run(&options)),
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
fn read_text(file: &std::path::Path) -> moescope::error::Result<String> {
    let at = || file.display().to_string();
    let bytes = std::fs::read(file).map_err(|e| Error::read(at(), e))?;
    String::from_utf8(bytes).map_err(|_| Error::read(at(), "it is not UTF-8 text"))
}
