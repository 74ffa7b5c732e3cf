//! Races Moescope against other engines on the same weights, in the same browser: `cargo xtask bench`.

mod checkpoint;
mod files;
mod gguf;
mod onnx;
mod race;
mod report;
mod shape;
mod weights;

use anyhow::{Context, Result};
use clap::Parser;
use moescope_e2e::tools::Tools;
use race::Devices;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Races Moescope against other engines in one browser.
#[derive(Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
struct Arguments {
    /// How many times each measurement runs.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Print JSON instead of the tables.
    #[arg(long)]
    json: bool,
    /// Fail where a ratio is more than 15 % below the committed one.
    #[arg(long, conflicts_with = "commit")]
    check: bool,
    /// Race on the CPU, on WebGPU, or on both.
    #[arg(long, value_enum, default_value = "both")]
    on: Devices,
    /// Write bench/ratios.json and the pictures of docs/performance.md.
    #[arg(long)]
    commit: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let places = race::Places {
        models: variable("MOESCOPE_RACE").context("MOESCOPE_RACE is not set: run `cargo xtask bench`")?,
        peers: variable("MOESCOPE_PEERS"),
        probe: variable("MOESCOPE_PROBE").context("MOESCOPE_PROBE is not set: run `cargo xtask bench`")?,
        pages: root.join("page"),
    };
    let tools = Tools::from_environment()?;
    files::make(&places.models, arguments.on)?;
    let outcome =
        tokio::runtime::Runtime::new()?.block_on(race::run(&tools, &places, arguments.rounds.max(1), arguments.on))?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&outcome)?);
    } else {
        println!("\n{}", outcome.table());
    }
    let ratios = root.join("ratios.json");
    if arguments.commit {
        outcome.commit(&ratios)?;
        for (race, name) in [(&outcome.cpu, "performance"), (&outcome.gpu, "performance-webgpu")] {
            if let Some(race) = race {
                std::fs::write(root.join(format!("../docs/{name}.svg")), race.picture())?;
            }
        }
    }
    if arguments.check { outcome.check(&ratios) } else { Ok(()) }
}
