//! Why a file is missing, in words.

use super::address::HUB;
use super::request::header;
use web_sys::Response;

/// Why a file is missing.
pub struct Missing(String);

impl Missing {
    /// Why.
    pub fn why(&self) -> &str {
        &self.0
    }

    /// It is not among the files that were opened.
    pub fn not_opened() -> Self {
        let why = "it is not among the opened files; open config.json, tokenizer.json and every .safetensors file of \
                   the model together, or its .gguf file";
        Self(why.into())
    }

    /// Why `response` to a request with a token, or without, is not the file; `None` where it is.
    pub fn from_response(response: &Response, url: &str, has_token: bool) -> Option<Self> {
        let status = response.status();
        let on_hub = url.starts_with(HUB);
        let why = match status {
            404 | 410 => {
                let what = "a model directory has config.json, model.safetensors and tokenizer.json";
                format!("the server has no such file ({status}); {what}")
            }
            401 | 403 if has_token => format!(
                "the server refuses this file ({status}) with the token that you gave; it may not exist, the token may \
                 lack the right to read it, or the model's terms have to be accepted on its page first"
            ),
            401 | 403 if on_hub => format!(
                "the hub refuses this file ({status}): the model does not exist, is private, or its terms have to be \
                 accepted on its page; give an access token, or download the model and open its files"
            ),
            401 | 403 => format!(
                "the server refuses this file ({status}); it may not exist, or it may need a login: give an access \
                 token, or download the model and open its files"
            ),
            429 => "the server has too many requests from here (429); wait a minute and try again".into(),
            _ if !response.ok() => return None,
            _ => {
                header(response, "content-type").filter(|kind| kind.starts_with("text/html"))?;
                "the server answers with a web page instead of a file; use the address of the model directory itself"
                    .into()
            }
        };
        Some(Self(why))
    }
}
