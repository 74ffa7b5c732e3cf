//! `moescope`: reads the routing of a model on the command line. JSON or text on stdout and nothing else
//! there; `error: ...` in one line on stderr. Exit 1 for bad input, 2 for bad usage.

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
}

/// Parses the arguments and runs the command.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Trace(options) => pollster::block_on(trace::run(&options)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", error.to_string().replace('\n', " "));
            ExitCode::FAILURE
        }
    }
}
