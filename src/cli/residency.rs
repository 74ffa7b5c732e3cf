//! `moescope residency`: how often an expert that a router chose would have been in memory, if a part of the experts
//! were there. It reads the JSON of `moescope trace`.

use super::files::read_text;
use clap::{Args, ValueEnum};
use moescope::error::{Error, Result};
use moescope::routing::json::read_choices;
use moescope::routing::residency::{Residency, SHARES, for_shares};
use serde_json::json;
use std::io::{Read, Write};
use std::path::PathBuf;

/// Options of `moescope residency`.
#[derive(Args)]
pub struct Options {
    /// The JSON of `moescope trace`; - for the standard input
    #[arg(long, value_name = "FILE", default_value = "-")]
    trace: PathBuf,
    /// Shares of each layer's experts in memory, above 0 and at most 1, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "0.25,0.5")]
    resident: Vec<f64>,
    /// JSON for programs, text for people
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Json,
    Text,
}

/// Runs the command.
pub fn run(options: &Options) -> Result<()> {
    let shares = if options.resident.is_empty() { SHARES.to_vec() } else { options.resident.clone() };
    if let Some(share) = shares.iter().find(|share| !(**share > 0.0 && **share <= 1.0)) {
        return Err(Error::Input(format!("--resident is {share}; it must be above 0 and at most 1")));
    }
    let trace = read_choices(&text(options)?)?;
    let tokens = trace.layers.first().map_or(0, moescope::routing::LayerTrace::tokens);
    let found = for_shares(&trace, &shares);
    let out = match options.format {
        Format::Json => {
            let one = |found: &Residency| {
                json!({
                    "resident": found.resident(),
                    "requests": found.requests(),
                    "hits": found.hits(),
                    "first": found.first(),
                    "hit_rate": found.hit_rate(),
                    "misses_per_token": found.misses_per_token(tokens),
                    "layers": found.layers,
                })
            };
            json!({ "tokens": tokens, "residency": found.iter().map(one).collect::<Vec<_>>() }).to_string() + "\n"
        }
        Format::Text => found.iter().map(|found| line(found, tokens)).collect(),
    };
    // The reader may close the pipe early (`| head`); that is not an error.
    let _ = std::io::stdout().write_all(out.as_bytes());
    Ok(())
}

fn text(options: &Options) -> Result<String> {
    if options.trace.as_os_str() != "-" {
        return read_text(&options.trace);
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).map_err(|e| Error::read("the standard input", e))?;
    Ok(text)
}

fn line(found: &Residency, tokens: usize) -> String {
    format!(
        "with {:.1} % of the experts resident: {:.0} % hits; {:.1} experts read per token ({} of {} the first time)\n",
        100.0 * found.resident(),
        100.0 * found.hit_rate(),
        found.misses_per_token(tokens),
        found.first(),
        found.requests() - found.hits()
    )
}
