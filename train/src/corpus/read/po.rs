//! Reads translations: the sentences of a PO file, in the order of the file.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::{GROUP, files, group, prose, text};
use crate::corpus::clean;

/// An entry: the original and its translation.
#[derive(Debug, Default, PartialEq)]
struct Entry {
    original: String,
    translation: String,
    fuzzy: bool,
}

/// The sentences of one language, from every file `LANGUAGE.po` or below a folder of the language's name whose path
/// contains one of `within` (any path where `within` is empty). Files of a folder keep their order.
pub fn translations(dir: &Path, language: &str, within: &[&str]) -> Result<Vec<String>> {
    let mut documents = Vec::new();
    for path in files(dir, &[".po"])? {
        let name = path.to_string_lossy();
        let of_language = name.ends_with(&format!("/{language}.po"))
            || name.ends_with(&format!("-{language}.po"))
            || name.contains(&format!("/{language}/"));
        if of_language && (within.is_empty() || within.iter().any(|w| name.contains(w))) {
            let entries = entries(&text(&path)?).into_iter().filter(|e| !e.fuzzy && e.translation != e.original);
            documents.extend(joined(entries.map(|e| e.translation)));
        }
    }
    Ok(documents)
}

/// The English sentences that the German files translate.
pub fn originals(dir: &Path, within: &[&str]) -> Result<Vec<String>> {
    let mut documents = Vec::new();
    for path in files(dir, &["/de.po", "de.po"])? {
        if within.is_empty() || within.iter().any(|w| path.to_string_lossy().contains(w)) {
            documents.extend(joined(entries(&text(&path)?).into_iter().map(|e| e.original)));
        }
    }
    Ok(documents)
}

/// The sentences of one language from compiled files (`LANGUAGE/LC_MESSAGES/*.mo`), in the order of the originals.
pub fn compiled(dir: &Path, language: &str) -> Result<Vec<String>> {
    let mut documents = Vec::new();
    for path in files(dir, &[".mo"])? {
        if path.to_string_lossy().contains(&format!("/{language}/LC_MESSAGES/")) {
            let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let entries = messages(&bytes).with_context(|| format!("{} is damaged", path.display()))?;
            documents
                .extend(joined(entries.into_iter().filter(|e| e.translation != e.original).map(|e| e.translation)));
        }
    }
    Ok(documents)
}

/// The entries of a little-endian MO file. It starts with the magic number, a revision, the number of strings, and the
/// places of the two tables, of the originals and of the translations, that have the length and place of each string.
fn messages(file: &[u8]) -> Option<Vec<Entry>> {
    let word = |at: usize| Some(u32::from_le_bytes(file.get(at..at + 4)?.try_into().ok()?) as usize);
    if word(0)? != 0x9504_12de {
        return None;
    }
    let string = |table: usize, n: usize| {
        let (length, start) = (word(table + 8 * n)?, word(table + 8 * n + 4)?);
        let text = String::from_utf8_lossy(file.get(start..start.checked_add(length)?)?).into_owned();
        // Plural forms are separated by zero bytes.
        Some(text.split('\0').next().unwrap_or_default().to_string())
    };
    let (originals, translations) = (word(12)?, word(16)?);
    let mut found = Vec::new();
    for n in 0..word(8)? {
        let (original, translation) = (string(originals, n)?, string(translations, n)?);
        if !original.is_empty() {
            found.push(Entry { original, translation, fuzzy: false });
        }
    }
    Some(found)
}

fn joined(texts: impl Iterator<Item = String>) -> Vec<String> {
    group(texts.map(|t| plain(&t)).filter(|t| sentence(t)), "\n").into_iter().filter(|d| d.len() > GROUP / 16).collect()
}

/// A text without markup, each paragraph on one line.
fn plain(text: &str) -> String {
    let text = clean::inline_markup(text);
    let lines = text.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.filter(|l| prose::is_prose(l)).collect::<Vec<_>>().join("\n")
}

/// Whether a text is long enough for a sentence and has no placeholders.
fn sentence(text: &str) -> bool {
    let gaps = text.matches('%').count() + text.matches('$').count() + text.matches('{').count();
    let wide = text.chars().filter(|&c| c >= '\u{2e80}').count();
    let words = text.split_whitespace().count();
    gaps < 2 && !text.contains("translator") && (wide >= 14 || words >= 6 && text.len() >= 40)
}

/// The entries of a PO file, obsolete ones left out.
fn entries(file: &str) -> Vec<Entry> {
    enum Part {
        None,
        Original,
        Translation,
    }
    let mut found = Vec::new();
    let mut entry = Entry::default();
    let mut fuzzy = false;
    let mut part = Part::None;
    for line in file.lines() {
        let line = line.trim();
        let (keyword, rest) = line.split_once(' ').unwrap_or((line, ""));
        let quoted = match keyword {
            "msgid" => {
                found.push(std::mem::take(&mut entry));
                entry.fuzzy = std::mem::take(&mut fuzzy);
                part = Part::Original;
                rest
            }
            "msgstr" | "msgstr[0]" => {
                part = Part::Translation;
                rest
            }
            "#," => {
                fuzzy |= rest.contains("fuzzy");
                continue;
            }
            _ if line.starts_with('"') => line,
            _ => {
                part = Part::None;
                continue;
            }
        };
        match part {
            Part::Original => entry.original.push_str(&unquote(quoted)),
            Part::Translation => entry.translation.push_str(&unquote(quoted)),
            Part::None => {}
        }
    }
    found.push(entry);
    found.retain(|e| !e.original.is_empty());
    found
}

fn unquote(quoted: &str) -> String {
    let inner = quoted.trim().trim_start_matches('"');
    let inner = inner.strip_suffix('"').unwrap_or(inner);
    let mut out = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(c) = characters.next() {
        match (c, if c == '\\' { characters.next() } else { None }) {
            ('\\', Some('n')) => out.push('\n'),
            ('\\', Some('t' | 'r')) => out.push(' '),
            ('\\', Some(c)) => out.push(c),
            (c, _) => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_in_order_and_fuzzy_ones_are_marked() {
        let file = "msgid \"\"\nmsgstr \"head\\n\"\n\n#, fuzzy\nmsgid \"a\"\nmsgstr \"b\"\n\nmsgctxt \"x\"\n\
                    msgid \"\"\n\"one \"\n\
                    \"two\\n\"\nmsgstr[0] \"eins\"\nmsgstr[1] \"zwei\"\n#~ msgid \"old\"\n#~ msgstr \"alt\"\n";
        let found = entries(file);
        assert_eq!(found.len(), 2);
        assert!(found[0].fuzzy && found[0].translation == "b");
        assert_eq!((found[1].original.as_str(), found[1].translation.as_str()), ("one two\n", "eins"));
    }

    #[test]
    fn compiled_messages_are_read_and_damage_is_noticed() {
        let mut file = Vec::new();
        let words = [0x9504_12de, 0, 1, 20, 28, 3, 36, 4, 40u32];
        words.iter().for_each(|w| file.extend(w.to_le_bytes()));
        file.extend(b"one\0eins");
        let found = messages(&file).unwrap();
        assert_eq!((found[0].original.as_str(), found[0].translation.as_str()), ("one", "eins"));
        assert_eq!(messages(&file[..42]), None);
        assert_eq!(messages(b"text"), None);
    }

    #[test]
    fn labels_are_no_sentences() {
        assert!(!sentence("Open the file"));
        assert!(!sentence("%s of %s files were copied to the folder %s."));
        assert!(sentence("The old king looked over the walls and said nothing."));
        assert!(sentence("老国王从城墙上望下去，什么话也没有说。"));
    }
}
