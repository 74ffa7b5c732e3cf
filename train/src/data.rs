//! The corpus as token ids.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
pub use moescope_learn::transformer::data::{Data, Stream, made_up};

use crate::corpus::Manifest;
use crate::files::{sha256, write_whole};
use crate::tokenizer;

/// Training or held-out text of all domains.
pub fn streams(folder: &Path, manifest: &Manifest, kind: Kind) -> Result<Vec<Stream>> {
    let tokenizer = tokenizer::read(&folder.join("tokenizer.json"))?;
    let stream = |d: &crate::corpus::DomainRecord| {
        let (sum, bytes, ending) = match kind {
            Kind::Train => (&d.train_sha256, d.train_bytes, "train"),
            Kind::HeldOut => (&d.held_out_sha256, d.held_out_bytes, "held"),
        };
        let stamp = sha256(format!("{sum}{}", manifest.tokenizer_sha256).as_bytes());
        let cache = folder.join(format!("{}.{ending}.{}.ids", d.name, &stamp[..12]));
        let ids = match fs::read(&cache) {
            Ok(bytes) if bytes.len().is_multiple_of(2) => {
                bytes.as_chunks::<2>().0.iter().map(|b| u16::from_le_bytes(*b)).collect()
            }
            _ => {
                let path = folder.join(format!("{}.{ending}.txt", d.name));
                let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
                let ids = tokenizer::encode(&tokenizer, &text)?;
                let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
                write_whole(&cache, &bytes)?;
                ids
            }
        };
        Ok(Stream { name: d.name.clone(), ids, bytes })
    };
    manifest.domains.iter().map(stream).collect()
}

/// The evaluation texts of today, by language.
pub fn texts_of_today(folder: &Path, manifest: &Manifest) -> Result<Vec<Stream>> {
    let tokenizer = tokenizer::read(&folder.join("tokenizer.json"))?;
    let stream = |e: &crate::corpus::EvaluationRecord| {
        let path = folder.join(format!("{}.eval.txt", e.language));
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let bytes = crate::corpus::documents(&text).map(str::len).sum();
        Ok(Stream { name: e.language.clone(), ids: tokenizer::encode(&tokenizer, &text)?, bytes })
    };
    manifest.evaluations.iter().map(stream).collect()
}

/// The two parts of the corpus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// For training.
    Train,
    /// For measuring.
    HeldOut,
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Domains of counting tokens: domain `d` has the ids `d * 1000 + i % 1000`.
    pub fn counting(domains: usize, length: usize) -> Vec<Stream> {
        let ids = |d: usize| (0..length).map(|i| (d * 1000 + i % 1000) as u16).collect();
        (0..domains).map(|d| Stream { name: format!("d{d}"), ids: ids(d), bytes: length }).collect()
    }
}
