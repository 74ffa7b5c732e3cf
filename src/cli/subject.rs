//! Options that several commands share: `--model`, one of `--text`, `--text-file` and `--tokens`, and `--policy`.

use super::files::read_text;
use clap::Args;
use moescope::engine::check_prompt;
use moescope::error::{Error, Result};
use moescope::model::{Model, ModelFiles};
use moescope::routing::Policy;
use moescope::tokenizer::Tokenizer;
use moescope::tokenizer::chat::{ChatTemplate, Message};
use std::path::{Path, PathBuf};

/// The model, the text and the policy of a command.
#[derive(Args)]
pub struct Subject {
    /// A Hugging Face model directory, a .safetensors file inside one, or a .gguf file
    #[arg(long, value_name = "DIR|FILE")]
    pub model: PathBuf,
    /// The text
    #[command(flatten)]
    pub prompt: Prompt,
    /// Write the text as a user's message, as the model's chat template wants it
    #[arg(long, conflicts_with = "tokens")]
    pub chat: bool,
    /// What to change about the routing: JSON, or a file with it (docs/gates.md)
    #[arg(long, value_name = "FILE|JSON")]
    pub policy: Option<String>,
}

/// The text of a command.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct Prompt {
    /// The text to trace
    #[arg(long)]
    text: Option<String>,
    /// A UTF-8 file with the text to trace
    #[arg(long, value_name = "FILE")]
    text_file: Option<PathBuf>,
    /// Token ids to trace, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "1,2,3")]
    tokens: Option<Vec<u32>>,
}

/// Reads `--policy`: JSON, or the path of a file with JSON.
pub fn read_policy(argument: Option<&str>) -> Result<Policy> {
    match argument {
        None => Ok(Policy::default()),
        Some(json) if json.trim_start().starts_with(['{', '[']) => Policy::parse(json),
        Some(file) => Policy::parse(&read_text(Path::new(file))?),
    }
}

/// The token ids of a prompt, checked against the vocabulary and the context. With a template, a text is a message.
pub fn ids(
    prompt: &Prompt,
    model: &Model,
    tokenizer: Option<&Tokenizer>,
    template: Option<&ChatTemplate>,
) -> Result<Vec<u32>> {
    let ids = match (&prompt.text, &prompt.text_file, &prompt.tokens) {
        (Some(text), ..) => encode(text, tokenizer, template)?,
        (_, Some(file), _) => encode(&read_text(file)?, tokenizer, template)?,
        (.., Some(ids)) => ids.clone(),
        _ => unreachable!("clap asks for one of them"),
    };
    check_prompt(&ids, &model.architecture)?;
    Ok(ids)
}

/// The chat template of a model, where `wanted`.
pub fn template(files: &ModelFiles, wanted: bool) -> Result<Option<ChatTemplate>> {
    let missing = || Error::Input("--chat needs a chat template, and the model's files have none; leave it out".into());
    match (wanted, &files.chat) {
        (false, _) => Ok(None),
        (true, Some(json)) => ChatTemplate::new(json).map(Some),
        (true, None) => Err(missing()),
    }
}

/// The ids of a text, or of the conversation that begins with it.
pub fn encoded(text: &str, tokenizer: &Tokenizer, template: Option<&ChatTemplate>) -> Result<Vec<u32>> {
    match template {
        None => Ok(tokenizer.encode(text)?.0),
        Some(template) => tokenizer.encode_whole(&template.render(&[Message { role: "user", content: text }])?),
    }
}

fn encode(text: &str, tokenizer: Option<&Tokenizer>, template: Option<&ChatTemplate>) -> Result<Vec<u32>> {
    let missing = || {
        Error::Input(
            "the model has no tokenizer that is known, so text cannot be read; give ids by --tokens instead".into(),
        )
    };
    encoded(text, tokenizer.ok_or_else(missing)?, template)
}
