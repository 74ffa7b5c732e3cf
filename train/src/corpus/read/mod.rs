//! Reads the documents of packages: one function for each kind of package.

pub mod code;
pub mod po;
pub mod prose;

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The size in bytes of a document that is joined from small entries.
pub(super) const GROUP: usize = 4000;

/// Every file below `dir` with one of these endings, in a fixed order.
pub(super) fn files(dir: &Path, endings: &[&str]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() && endings.iter().any(|e| entry.file_name().to_string_lossy().ends_with(e)) {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// A file's text, unpacked where it is gzipped. Bytes that are not UTF-8 become the replacement character.
pub(super) fn text(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let bytes = if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut plain = Vec::new();
        flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut plain)?;
        plain
    } else {
        bytes
    };
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The only file with this name, or with this ending where `name` starts with a dot.
pub(super) fn only(dir: &Path, name: &str) -> Result<PathBuf> {
    let fits = |p: &PathBuf| name.starts_with('.') || p.file_name().is_some_and(|n| n == name);
    files(dir, &[name])?
        .into_iter()
        .find(fits)
        .with_context(|| format!("{name} is not in the package: is this version newer than the reader?"))
}

/// Joins consecutive entries into documents of about [`GROUP`] bytes.
pub(super) fn group(entries: impl Iterator<Item = String>, between: &str) -> Vec<String> {
    let mut documents = vec![String::new()];
    for entry in entries {
        if documents.last().is_some_and(|d| d.len() > GROUP) {
            documents.push(String::new());
        }
        let last = documents.last_mut().expect("there is always one");
        if !last.is_empty() {
            last.push_str(between);
        }
        last.push_str(&entry);
    }
    documents
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_entries_are_grouped() {
        let entries = (0..100).map(|i| format!("{i:0100}"));
        let groups = group(entries, "\n");
        assert!(groups.len() == 3 && groups[0].len() > GROUP);
    }
}
