//! `moescope generate`: continues one or several texts. The same seed gives the same continuation.

use super::subject::{encoded, template};
use clap::Args;
use moescope::engine::{Engine, Sampling, check_prompt};
use moescope::error::{Error, Result};
use moescope::model::{Model, files};
use moescope::session::Session;
use moescope::tokenizer::Tokenizer;
use serde::Serialize;
use std::io::Write;
use std::path::PathBuf;

/// Options of `moescope generate`.
#[derive(Args)]
pub struct Options {
    /// A Hugging Face model directory, a .safetensors file inside one, or a .gguf file
    #[arg(long, value_name = "DIR|FILE")]
    model: PathBuf,
    #[command(flatten)]
    prompt: Prompt,
    /// Write each text as a user's message, as the model's chat template wants it
    #[arg(long)]
    chat: bool,
    /// Tokens to add to each text; fewer where the context or the text ends
    #[arg(long, default_value_t = 64)]
    count: usize,
    /// 0 takes the most probable token; higher spreads the choice
    #[arg(long, default_value_t = 0.8)]
    temperature: f32,
    /// Draw from the smallest set of tokens whose probabilities reach this sum; 1 takes all
    #[arg(long, default_value_t = 1.0)]
    top_p: f32,
    /// The same seed and text give the same continuation
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What to continue.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct Prompt {
    /// The text to continue
    #[arg(long)]
    text: Option<String>,
    /// A UTF-8 file with a text on every line; each is continued by itself
    #[arg(long, value_name = "FILE")]
    lines: Option<PathBuf>,
}

/// A line of the output.
#[derive(Serialize)]
struct Continuation<'a> {
    prompt: &'a str,
    continuation: String,
    ids: &'a [u32],
}

/// Runs the command: one line of JSON for each text.
pub async fn run(options: &Options) -> Result<()> {
    if !(options.temperature >= 0.0 && options.temperature.is_finite()) {
        return Err(Error::Input(format!("--temperature is {}; it must be 0 or more", options.temperature)));
    }
    let files = files::read_dir(&options.model)?;
    let model = Model::new(&files)?;
    let missing = || Error::Input("the model has no tokenizer that is known, so text cannot be read".into());
    let tokenizer = Tokenizer::new(files.tokenizer.as_ref().ok_or_else(missing)?, model.architecture.vocabulary)?;
    let template = template(&files, options.chat)?;
    let prompts = match (&options.prompt.text, &options.prompt.lines) {
        (Some(text), _) => text.clone(),
        (_, Some(file)) => super::files::read_text(file)?,
        _ => unreachable!("clap asks for one of them"),
    };
    let prompts: Vec<&str> = match options.prompt.text {
        Some(_) => vec![&prompts],
        None => prompts.lines().filter(|line| !line.trim().is_empty()).collect(),
    };
    let sampling = Sampling { temperature: options.temperature, top_p: options.top_p, seed: options.seed };
    let mut session = Session::new(Engine::cpu(&model)?);
    for prompt in prompts {
        let ids = encoded(prompt, &tokenizer, template.as_ref())?;
        check_prompt(&ids, &model.architecture)?;
        session.run_routing(&ids, None).await?;
        for _ in 0..options.count {
            if !session.has_room() {
                break;
            }
            session.draw(&sampling, 1, Some(&tokenizer)).await?;
            if session.ids().last().is_some_and(|id| model.ends.contains(id)) {
                break;
            }
        }
        let drawn = &session.ids()[ids.len()..];
        let continuation: String = tokenizer.tokens(drawn, 0).into_iter().map(|token| token.text).collect();
        let line = serde_json::to_string(&Continuation { prompt, continuation, ids: drawn }).expect("it is plain data");
        // The reader may close the pipe early (`| head`); that is not an error.
        let _ = writeln!(std::io::stdout(), "{line}");
    }
    Ok(())
}
