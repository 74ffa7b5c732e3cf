//! `moescope experts`: dossiers of a model's experts, counted over texts of known domains.

use super::files::{domains, read_text};
use clap::Args;
use moescope::engine::Engine;
use moescope::error::{Error, Result};
use moescope::model::{Model, files};
use moescope::routing::dossier::Census;
use moescope::session::Session;
use moescope::tokenizer::Tokenizer;
use std::path::{Path, PathBuf};

/// Options of `moescope experts`.
#[derive(Args)]
pub struct Options {
    /// A Hugging Face model directory, a .safetensors file inside one, or a .gguf file
    #[arg(long, value_name = "DIR|FILE")]
    model: PathBuf,
    /// A directory of UTF-8 texts, one file a domain: NAME.held.txt, or NAME.txt where no file ends in .held.txt
    #[arg(long, value_name = "DIR")]
    texts: PathBuf,
    /// How many tokens to count at most, the same number from each domain
    #[arg(long, default_value_t = 250_000)]
    tokens: usize,
    /// Where to write the JSON; standard output where it is not given
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Runs the command.
pub async fn run(options: &Options) -> Result<()> {
    let files = files::read_dir(&options.model)?;
    let model = Model::new(&files)?;
    let missing = || Error::Input("the model has no tokenizer that is known, so texts cannot be read".into());
    let tokenizer = Tokenizer::new(files.tokenizer.as_ref().ok_or_else(missing)?, model.architecture.vocabulary)?;
    let texts = domains(&options.texts)?;
    let names: Vec<String> = texts.iter().map(|(name, _)| name.clone()).collect();
    let mut census = Census::new(&names);
    let mut session = Session::new(Engine::cpu(&model)?);
    for (domain, (name, path)) in texts.iter().enumerate() {
        let counted = count(&mut census, domain, path, options.tokens / texts.len(), &mut session, &tokenizer).await?;
        eprintln!("{name}: {counted} tokens");
    }
    let json = serde_json::to_string(&census.dossier(&model.name, |id| tokenizer.show(id))).expect("plain data");
    match &options.out {
        None => println!("{json}"),
        Some(file) => std::fs::write(file, json).map_err(|e| Error::read(file.display().to_string(), e))?,
    }
    Ok(())
}

/// Runs at most `most` tokens of a text, one context window after the other, and adds them to the dossiers.
async fn count(
    census: &mut Census,
    domain: usize,
    path: &Path,
    most: usize,
    session: &mut Session,
    tokenizer: &Tokenizer,
) -> Result<usize> {
    let text = read_text(path)?;
    let (mut ids, _) = tokenizer.encode(&text)?;
    ids.truncate(most);
    for window in ids.chunks(session.engine().architecture().context) {
        let trace = session.run_routing(window, Some(tokenizer)).await?;
        census.add(domain, &trace.tokens, &trace.layers);
    }
    Ok(ids.len())
}
