//! The keys of an architecture in the metadata; each value is checked.

use super::header::Header;
use crate::error::{Error, Result};

/// Keys of an architecture that do not change the numbers.
const HARMLESS: [&str; 1] = ["vocab_size"];

/// The keys of one architecture.
pub struct Keys<'a> {
    /// The file's name.
    pub file: &'a str,
    /// The header with the keys.
    pub header: &'a Header<'a>,
    architecture: String,
}

impl<'a> Keys<'a> {
    /// The keys of `architecture` in the header of `file`.
    pub fn of(file: &'a str, header: &'a Header<'a>, architecture: &str) -> Self {
        Self { file, header, architecture: architecture.to_owned() }
    }

    /// An error about the metadata.
    pub fn wrong(&self, why: impl Into<String>) -> Error {
        Error::model(format!("{}, metadata", self.file), why)
    }

    /// The full name of a key of this architecture.
    pub fn full(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    /// A whole number; `None` where the key is missing.
    pub fn size(&self, key: &str) -> Result<Option<usize>> {
        let key = self.full(key);
        match (self.header.metadata.get(&key), self.header.metadata.size(&key)) {
            (None, _) => Ok(None),
            (_, Some(size)) => Ok(Some(size)),
            (Some(_), None) => Err(self.wrong(format!("{key} must be one whole number, 0 or more"))),
        }
    }

    /// Whole numbers, one for each layer; `None` where the key is missing.
    pub fn sizes(&self, key: &str) -> Result<Option<Vec<usize>>> {
        let key = self.full(key);
        if self.header.metadata.get(&key).is_none() {
            return Ok(None);
        }
        let whole = |number: &f64| number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(number);
        let numbers = self.header.metadata.numbers(&key).filter(|numbers| numbers.iter().all(whole));
        let numbers = numbers.ok_or_else(|| self.wrong(format!("{key} must be whole numbers, one for each layer")))?;
        Ok(Some(numbers.into_iter().map(|number| number as usize).collect()))
    }

    /// A whole number that is required.
    pub fn needed(&self, key: &str) -> Result<usize> {
        self.size(key)?.ok_or_else(|| self.wrong(format!("{} is missing; convert the model again", self.full(key))))
    }

    /// The number of layers, without those that only predict further tokens.
    pub fn layers(&self) -> Result<usize> {
        let further = self.size("nextn_predict_layers")?.unwrap_or(0);
        Ok(self.needed("block_count")?.saturating_sub(further))
    }

    /// A number; `None` where the key is missing.
    pub fn number(&self, key: &str) -> Result<Option<f64>> {
        let key = self.full(key);
        match (self.header.metadata.get(&key), self.header.metadata.number(&key)) {
            (None, _) => Ok(None),
            (_, Some(number)) if number.is_finite() => Ok(Some(number)),
            _ => Err(self.wrong(format!("{key} must be a number"))),
        }
    }

    /// True or false; `None` where the key is missing.
    pub fn flag(&self, key: &str) -> Result<Option<bool>> {
        let key = self.full(key);
        match (self.header.metadata.get(&key), self.header.metadata.flag(&key)) {
            (None, _) => Ok(None),
            (_, Some(flag)) => Ok(Some(flag)),
            (Some(_), None) => Err(self.wrong(format!("{key} must be true or false"))),
        }
    }

    /// A text; `None` where the key is missing or is not a text.
    pub fn text(&self, key: &str) -> Option<String> {
        self.header.metadata.text(&self.full(key)).map(|text| text.into_owned())
    }

    /// Whether there is a tensor with this name.
    pub fn has(&self, name: &str) -> bool {
        self.header.tensors.iter().any(|tensor| tensor.name == name)
    }

    /// Rejects a key of the architecture that was not read.
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
