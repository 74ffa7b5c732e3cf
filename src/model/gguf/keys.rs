//! The keys of an architecture in the metadata: each is read with a check.

use super::header::Header;
use crate::error::{Error, Result};

/// Keys of an architecture that change no number.
const HARMLESS: [&str; 2] = ["vocab_size", "expert_weights_norm"];

/// The keys of one architecture.
pub struct Keys<'a> {
    file: &'a str,
    /// The header that they are in.
    pub header: &'a Header<'a>,
    architecture: String,
}

impl<'a> Keys<'a> {
    /// Those of `architecture` in the header of `file`.
    pub fn of(file: &'a str, header: &'a Header<'a>, architecture: &str) -> Self {
        Self { file, header, architecture: architecture.to_owned() }
    }

    /// An error of the metadata.
    pub fn wrong(&self, why: impl Into<String>) -> Error {
        Error::model(format!("{}, metadata", self.file), why)
    }

    /// A key of this architecture as the file has it.
    pub fn full(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    /// A whole number; none where the key is missing.
    pub fn size(&self, key: &str) -> Result<Option<usize>> {
        let key = self.full(key);
        match (self.header.metadata.get(&key), self.header.metadata.size(&key)) {
            (None, _) => Ok(None),
            (_, Some(size)) => Ok(Some(size)),
            (Some(_), None) => Err(self.wrong(format!("{key} must be one whole number, 0 or more"))),
        }
    }

    /// A whole number that must be there.
    pub fn needed(&self, key: &str) -> Result<usize> {
        self.size(key)?.ok_or_else(|| self.wrong(format!("{} is missing; convert the model again", self.full(key))))
    }

    /// A number; none where the key is missing.
    pub fn number(&self, key: &str) -> Result<Option<f64>> {
        let key = self.full(key);
        match (self.header.metadata.get(&key), self.header.metadata.number(&key)) {
            (None, _) => Ok(None),
            (_, Some(number)) if number.is_finite() => Ok(Some(number)),
            _ => Err(self.wrong(format!("{key} must be a number"))),
        }
    }

    /// A text; none where the key is missing or is none.
    pub fn text(&self, key: &str) -> Option<String> {
        self.header.metadata.text(&self.full(key)).map(|text| text.into_owned())
    }

    /// Whether there is a tensor called `name`.
    pub fn has(&self, name: &str) -> bool {
        self.header.tensors.iter().any(|tensor| tensor.name == name)
    }

    /// Refuses a key of the architecture that nobody asked for.
    pub fn refuse_others(&self) -> Result<()> {
        for key in HARMLESS {
            self.header.metadata.get(&self.full(key));
        }
        match self.header.metadata.not_asked(&format!("{}.", self.architecture)) {
            None => Ok(()),
            Some(key) => Err(self.wrong(format!(
                "{key} is an option of this architecture that is not known and may change the numbers; \
                 take another file"
            ))),
        }
    }
}
