//! Chat templates: the Jinja templates by which instruct models want a conversation to be written, as `transformers`
//! runs them. Only the command line has them: a Jinja engine would make the page's program a fifth larger
//! (docs/decisions/0025-chat-templates.md).

use crate::error::{Error, Result};
use minijinja::value::Kwargs;
use minijinja::{Environment, ErrorKind, context};
use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};
use std::io::Write;

/// Steps that a template may take.
const MOST_STEPS: u64 = 5_000_000;

/// What a model's files say about conversations.
pub struct ChatTemplate {
    source: String,
    bos: String,
    eos: String,
}

/// A part of a conversation.
#[derive(Clone, Debug, Serialize)]
pub struct Message<'a> {
    /// Who says it: "system", "user" or "assistant".
    pub role: &'a str,
    /// What is said.
    pub content: &'a str,
}

impl ChatTemplate {
    /// Reads `json`, which has the keys of `tokenizer_config.json`: `chat_template` (a template, or a list of named
    /// ones), `bos_token`, `eos_token`.
    ///
    /// # Errors
    /// There is no template, or it is no Jinja template that can be used.
    pub fn new(json: &[u8]) -> Result<Self> {
        let json: Value = serde_json::from_slice(json).map_err(|e| wrong(format!("is not JSON ({e})")))?;
        let source = match &json["chat_template"] {
            Value::String(source) => Some(source.as_str()),
            Value::Array(named) => {
                let of = |name: &str| named.iter().find(|one| one["name"] == name);
                of("default").or(named.first()).and_then(|one| one["template"].as_str())
            }
            _ => None,
        };
        let missing = "has no chat_template; the model is no instruct model, or its files lack it";
        let source = source.ok_or_else(|| wrong(missing.into()))?.to_owned();
        // A token is a text, or an object of which its text is a part.
        let token = |key: &str| json[key].as_str().or(json[key]["content"].as_str()).unwrap_or_default().to_owned();
        let template = Self { source, bos: token("bos_token"), eos: token("eos_token") };
        template.environment().template_from_str(&template.source).map_err(|e| refused(&e))?;
        Ok(template)
    }

    /// The text of a conversation, at whose end the model answers. It has all control tokens:
    /// [`super::Tokenizer::encode_whole`] reads it.
    ///
    /// # Errors
    /// The template rejects the conversation, or asks for something that is not supported.
    pub fn render(&self, messages: &[Message]) -> Result<String> {
        let environment = self.environment();
        let template = environment.template_from_str(&self.source).map_err(|e| refused(&e))?;
        let context = context! {
            messages => messages,
            add_generation_prompt => true,
            bos_token => self.bos,
            eos_token => self.eos,
        };
        template.render(context).map_err(|e| refused(&e))
    }

    /// As `transformers` sets up Jinja. The date is not defined: templates that name one have a default.
    fn environment(&self) -> Environment<'static> {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_fuel(Some(MOST_STEPS));
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("tojson", to_json);
        environment.add_function("raise_exception", |why: String| -> std::result::Result<String, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, why))
        });
        environment
    }
}

/// JSON as Python writes it, without escapes for HTML.
fn to_json(value: minijinja::Value, options: Kwargs) -> std::result::Result<String, minijinja::Error> {
    let indent: Option<usize> = options.get("indent")?;
    options.get::<Option<bool>>("ensure_ascii")?;
    options.assert_all_used()?;
    let failed = |e: serde_json::Error| minijinja::Error::new(ErrorKind::BadSerialization, e.to_string());
    let mut json = Vec::new();
    match indent {
        Some(indent) => {
            let spaces = " ".repeat(indent.min(16));
            let formatter = PrettyFormatter::with_indent(spaces.as_bytes());
            value.serialize(&mut Serializer::with_formatter(&mut json, formatter)).map_err(failed)?;
        }
        None => value.serialize(&mut Serializer::with_formatter(&mut json, Spaced)).map_err(failed)?,
    }
    Ok(String::from_utf8_lossy(&json).into_owned())
}

/// A space after each comma and colon.
struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + Write>(&mut self, to: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { to.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, to: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { to.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, to: &mut W) -> std::io::Result<()> {
        to.write_all(b": ")
    }
}

fn wrong(why: String) -> Error {
    Error::model("chat template", why)
}

fn refused(error: &minijinja::Error) -> Error {
    let detail = error.detail().map(str::to_owned).unwrap_or_else(|| error.kind().to_string());
    let line = error.line().map(|line| format!(", line {line}")).unwrap_or_default();
    wrong(format!("cannot be used ({}{line})", detail.replace('\n', " ")))
}
