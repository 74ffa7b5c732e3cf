//! Text files that the commands read.

use moescope::error::{Error, Result};
use std::path::{Path, PathBuf};

/// The text of a UTF-8 file.
pub fn read_text(file: &Path) -> Result<String> {
    let at = || file.display().to_string();
    let bytes = std::fs::read(file).map_err(|e| Error::read(at(), e))?;
    String::from_utf8(bytes).map_err(|_| Error::read(at(), "it is not UTF-8 text"))
}

/// The (domain, file) pairs of the texts in a directory, sorted by name.
pub fn domains(dir: &Path) -> Result<Vec<(String, PathBuf)>> {
    let at = || dir.display().to_string();
    let entries = std::fs::read_dir(dir).map_err(|e| Error::read(at(), e))?;
    let files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    let ending = |end: &str| -> Vec<(String, PathBuf)> {
        let named = files.iter().filter_map(|path| {
            let name = path.file_name()?.to_str()?.strip_suffix(end)?;
            Some((name.to_owned(), path.clone()))
        });
        let mut named: Vec<_> = named.collect();
        named.sort();
        named
    };
    let held = ending(".held.txt");
    let texts = if held.is_empty() { ending(".txt") } else { held };
    if texts.is_empty() {
        return Err(Error::read(at(), "there is no .txt file in it; put one text file for each domain there"));
    }
    Ok(texts)
}
