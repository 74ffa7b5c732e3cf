//! Readers of code and other notations.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::Value;

use super::{GROUP, files, group, only, text};

/// The texts of all files with this ending whose path contains none of `without`.
fn source_files(dir: &Path, ending: &str, without: &[&str]) -> Result<Vec<String>> {
    let wanted = |p: &PathBuf| !without.iter().any(|w| p.to_string_lossy().contains(w));
    files(dir, &[ending])?.iter().filter(|p| wanted(p)).map(|p| text(p)).collect()
}

/// Rust files of the compiler, the library or a crate, without tests.
pub fn rust(dir: &Path) -> Result<Vec<String>> {
    source_files(dir, ".rs", &["/src/test/", "/tests/", "/benches/", "/stdarch/", "/vendor/", "/src/tools/", "/ffdhe"])
}

/// Python files, without tests.
pub fn python(dir: &Path) -> Result<Vec<String>> {
    source_files(dir, ".py", &["/test/", "/tests/", "/conf/locale/"])
}

/// C files and headers.
pub fn c(dir: &Path) -> Result<Vec<String>> {
    // Character tables are numbers rather than code.
    let without = ["unicode-width", "/tests/unit", "/sha1dc/"];
    let mut all = source_files(dir, ".c", &without)?;
    all.extend(source_files(dir, ".h", &without)?);
    Ok(all)
}

/// JavaScript files as people wrote them: no bundles, no minified files, no copies for another module system.
pub fn javascript(dir: &Path) -> Result<Vec<String>> {
    let without =
        ["/dist/", "/build/", "/min/", ".min.js", "/cjs/", "/libs/", "/mode/", "/locale/", "/schemas/", "/fp/"];
    let mut all = source_files(dir, ".js", &without)?;
    all.retain(|text| is_readable(text));
    Ok(all)
}

/// Whether the lines are as short as in a file written by a person.
fn is_readable(text: &str) -> bool {
    let lines = text.lines().count().max(1);
    text.len() / lines < 80 && text.lines().all(|line| line.len() < 600)
}

/// HTML pages with their tags, but without style sheets, scripts and long lines that many pages share.
pub fn html_source(dir: &Path) -> Result<Vec<String>> {
    let mut pages = Vec::new();
    for path in files(dir, &[".html"])? {
        let page = text(&path)?;
        pages.push(["style", "script"].iter().fold(page, |page, name| without_element(&page, name)));
    }
    let mut seen = std::collections::HashMap::<&str, usize>::new();
    for page in &pages {
        let lines: std::collections::HashSet<&str> = page.lines().collect();
        lines.into_iter().for_each(|l| *seen.entry(l).or_default() += 1);
    }
    let keep = |l: &&str| seen[l] <= 12 || l.len() < 24;
    Ok(pages.iter().map(|p| p.lines().filter(keep).collect::<Vec<_>>().join("\n")).collect())
}

/// A page without the elements of this name.
fn without_element(page: &str, name: &str) -> String {
    let (open, close) = (format!("<{name}"), format!("</{name}>"));
    let mut out = String::with_capacity(page.len());
    let mut rest = page;
    while let Some(start) = rest.find(&open) {
        out.push_str(&rest[..start]);
        rest = rest[start..].find(&close).map_or("", |end| &rest[start + end + close.len()..]);
    }
    out + rest
}

/// JSON files, a large one in several documents: see [`json_documents`].
pub fn json(dir: &Path) -> Result<Vec<String>> {
    let mut documents = Vec::new();
    for path in files(dir, &[".json"])? {
        documents.extend(json_file(&path)?);
    }
    Ok(documents)
}

/// The description of GitHub's interface.
pub fn github_api(dir: &Path) -> Result<Vec<String>> {
    json_file(&only(dir, "api.github.com.json")?)
}

fn json_file(path: &Path) -> Result<Vec<String>> {
    // Files with comments, which JSON does not allow, are left out.
    let Ok(value) = serde_json::from_str(&text(path)?) else { return Ok(Vec::new()) };
    let mut documents = Vec::new();
    json_documents(value, &mut documents)?;
    documents.retain(|d| !is_mostly_numbers(d));
    Ok(documents)
}

/// The value as text on several lines. A value that is larger than a document should be is divided: neighbouring
/// members of an object or elements of an array stay together up to that size, and larger members or elements are
/// divided in turn.
fn json_documents(value: Value, documents: &mut Vec<String>) -> Result<()> {
    let whole = serde_json::to_string_pretty(&value)?;
    if whole.len() <= 3 * GROUP {
        documents.push(whole);
        return Ok(());
    }
    let parts: Vec<(Option<String>, Value)> = match value {
        Value::Object(members) => members.into_iter().map(|(key, value)| (Some(key), value)).collect(),
        Value::Array(elements) => elements.into_iter().map(|value| (None, value)).collect(),
        _ => return Ok(()),
    };
    let mut together = Vec::new();
    let mut bytes = 0;
    for (key, value) in parts {
        let size = serde_json::to_string_pretty(&value)?.len();
        if size > 3 * GROUP {
            json_documents(value, documents)?;
            continue;
        }
        together.push((key, value));
        bytes += size;
        if bytes > GROUP {
            documents.push(serde_json::to_string_pretty(&joined(std::mem::take(&mut together)))?);
            bytes = 0;
        }
    }
    if !together.is_empty() {
        documents.push(serde_json::to_string_pretty(&joined(together))?);
    }
    Ok(())
}

/// Joins members to an object, or elements to an array.
fn joined(parts: Vec<(Option<String>, Value)>) -> Value {
    if parts.iter().any(|(key, _)| key.is_none()) {
        return parts.into_iter().map(|(_, value)| value).collect();
    }
    Value::Object(parts.into_iter().filter_map(|(key, value)| Some((key?, value))).collect())
}

/// Whether the text is a table of numbers without language.
fn is_mostly_numbers(text: &str) -> bool {
    let letters = text.bytes().filter(u8::is_ascii_alphabetic).count();
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    3 * digits > letters
}

/// Metamath's main database: comments and statements; the proofs, which are compressed to letters, are left out.
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

/// Chess games, one in each document: players, result, opening, and the moves on one line in the usual form of PGN.
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

/// Rewrites `1.e4 e5 2.Nf3`, with line breaks anywhere, as `1. e4 e5 2. Nf3`.
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
    fn a_large_json_value_is_divided_between_its_members() {
        let row = |i: usize| serde_json::json!({"name": format!("entry {i}"), "text": "word ".repeat(40)});
        let value = serde_json::json!({"small": "a", "rows": (0..100).map(row).collect::<Vec<_>>(), "other": row(100)});
        let mut documents = Vec::new();
        json_documents(value, &mut documents).unwrap();
        assert!(documents.len() > 3 && documents.iter().all(|d| d.len() < 3 * GROUP));
        let all = documents.concat();
        assert!((0..=100).all(|i| all.contains(&format!("\"entry {i}\""))), "every entry is in one of them");
        assert!(documents.iter().all(|d| serde_json::from_str::<Value>(d).is_ok()));
        assert!(is_mostly_numbers("[1, 2, 3.5]") && !is_mostly_numbers(&all));
    }

    #[test]
    fn elements_are_cut_out_of_a_page() {
        let page = "<p>a</p><style type=\"text/css\">p { color: red }</style><b>b</b><style>";
        assert_eq!(without_element(page, "style"), "<p>a</p><b>b</b>");
    }

    #[test]
    fn minified_code_is_not_readable() {
        assert!(is_readable("let a = 1;\nlet b = 2;\n") && !is_readable(&"let a=1;".repeat(100)));
    }

    #[test]
    fn moves_are_spaced_as_usual() {
        assert_eq!(moves("1.e4 e5 15.\nc4 Nc7 27.d6 1-0"), "1. e4 e5 15. c4 Nc7 27. d6 1-0");
    }
}
