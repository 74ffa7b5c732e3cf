//! Readers of code and other notations.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{files, group, only, text};

fn source_files(dir: &Path, ending: &str, without: &[&str]) -> Result<Vec<String>> {
    let wanted = |p: &PathBuf| !without.iter().any(|w| p.to_string_lossy().contains(w));
    files(dir, &[ending])?.iter().filter(|p| wanted(p)).map(|p| text(p)).collect()
}

/// Rust files of the compiler and the library, without tests.
pub fn rust(dir: &Path) -> Result<Vec<String>> {
    source_files(dir, ".rs", &["/src/test/", "/tests/", "/benches/", "/stdarch/", "/vendor/", "/src/tools/"])
}

/// Python files.
pub fn python(dir: &Path) -> Result<Vec<String>> {
    source_files(dir, ".py", &["/lib2to3/tests/", "/conf/locale/"])
}

/// C files and headers.
pub fn c(dir: &Path) -> Result<Vec<String>> {
    let mut all = source_files(dir, ".c", &["unicode-width"])?;
    all.extend(source_files(dir, ".h", &["unicode-width"])?);
    Ok(all)
}

/// Metamath's main database: comments and statements; the proofs, which are letters that no reader reads, are cut.
pub fn metamath(dir: &Path) -> Result<Vec<String>> {
    let whole = text(&only(dir, "set.mm")?)?;
    let mut plain = String::with_capacity(whole.len());
    let mut rest = whole.as_str();
    while let Some(start) = rest.find(" $=") {
        plain.push_str(&rest[..start]);
        rest = rest[start..].find("$.").map_or("", |end| &rest[start + end..]);
        plain.push(' ');
    }
    plain.push_str(rest);
    let paragraphs = plain.split("\n\n").map(|p| p.lines().map(str::trim_end).collect::<Vec<_>>().join("\n"));
    Ok(group(paragraphs.filter(|p| !p.trim().is_empty()), "\n\n"))
}

/// Chess games, one a document: players, result, opening, and the moves on one line as PGN is usually written.
pub fn chess(dir: &Path) -> Result<Vec<String>> {
    let whole = text(&only(dir, ".pgn")?)?;
    let whole = whole.replace("\r\n", "\n");
    let mut games = Vec::new();
    let mut head = String::new();
    for part in whole.split("\n\n") {
        if part.trim_start().starts_with('[') {
            let kept = |l: &&str| ["[White ", "[Black ", "[Result ", "[ECO "].iter().any(|k| l.starts_with(k));
            head = part.lines().filter(kept).collect::<Vec<_>>().join("\n");
        } else if !part.trim().is_empty() {
            games.push(format!("{head}\n\n{}\n", moves(part)));
        }
    }
    Ok(games)
}

/// `1.e4 e5 2.Nf3` on several lines, broken anywhere, as `1. e4 e5 2. Nf3`.
fn moves(part: &str) -> String {
    let spaced: Vec<String> = part
        .split_whitespace()
        .map(|word| match word.split_once('.') {
            Some((number, rest)) if number.bytes().all(|b| b.is_ascii_digit()) && !rest.is_empty() => {
                format!("{number}. {rest}")
            }
            _ => word.to_string(),
        })
        .collect();
    spaced.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_are_spaced_as_usual() {
        assert_eq!(moves("1.e4 e5 15.\nc4 Nc7 27.d6 1-0"), "1. e4 e5 15. c4 Nc7 27. d6 1-0");
    }
}
