//! The example texts from `examples.json`.

/// An example text.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct Example {
    /// Its identifier in files and messages.
    pub id: String,
    /// Its name on the page, in English.
    pub label: String,
    /// The text.
    pub text: String,
}
