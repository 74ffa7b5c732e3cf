//! The texts to begin with, from `examples.json`.

/// A text to begin with.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct Example {
    /// Its name in code.
    pub id: String,
    /// Its name on the page, in English.
    pub label: String,
    /// The text.
    pub text: String,
}
