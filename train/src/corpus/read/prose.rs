//! Reads natural language.

use std::fs;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::{GROUP, files, group, only, text};
use crate::corpus::{clean, fetch};

/// Manual pages of one language.
pub fn manpages(dir: &Path, language: &str) -> Result<Vec<String>> {
    let dir = dir.join("usr/share/man").join(language);
    files(&dir, &[".gz"])?.iter().map(|p| Ok(clean::roff(&text(p)?))).collect()
}

/// HTML pages below `folder` whose path has one of these endings and contains none of `without`, one in each document.
pub fn pages(dir: &Path, folder: &str, endings: &[&str], without: &[&str]) -> Result<Vec<String>> {
    markup_pages(&dir.join(folder), endings, without, clean::html)
}

/// DocBook files of one language, from a folder with the language's name.
pub fn docbook(dir: &Path, language: &str) -> Result<Vec<String>> {
    let documents = markup_files(dir, &[".docbook"], &[], clean::docbook, |path| {
        path.contains(&format!("/HTML/{language}/"))
            || path.contains(&format!("/po/{language}/"))
            || path.contains(&format!("/{language}/docs/"))
            || (language == "en" && path.contains("/doc/") && !path.contains("/po/") && !path.contains("/HTML/"))
    })?;
    Ok(without_shared_lines(&documents))
}

/// GNOME's help in one language (`C` is English), one page in each document.
pub fn mallard(dir: &Path, language: &str) -> Result<Vec<String>> {
    let folder = dir.join("usr/share/help").join(language);
    markup_pages(&folder, &[".page"], &[], clean::docbook)
}

/// Files of markup, as plain text, whose path has one of these endings, passes `wanted` and contains none of
/// `without`.
fn markup_files(
    dir: &Path,
    endings: &[&str],
    without: &[&str],
    plain: fn(&str) -> String,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<String>> {
    let mut documents = Vec::new();
    for path in files(dir, endings)? {
        let name = path.to_string_lossy();
        if wanted(&name) && !without.iter().any(|w| name.contains(w)) {
            documents.extend(parts(&plain(&text(&path)?)));
        }
    }
    Ok(documents)
}

fn markup_pages(dir: &Path, endings: &[&str], without: &[&str], plain: fn(&str) -> String) -> Result<Vec<String>> {
    Ok(without_shared_lines(&markup_files(dir, endings, without, plain, |_| true)?))
}

/// Splits a long page at line ends into parts of about 12 kB.
fn parts(page: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    for line in page.lines() {
        if parts.last().is_some_and(|p| p.len() > 3 * GROUP) {
            parts.push(String::new());
        }
        let last = parts.last_mut().expect("there is always one");
        last.push_str(line);
        last.push('\n');
    }
    parts
}

/// Documents without the lines that many of them share (menus, notices), without lines that are hardly words, and
/// without runs of short lines (tables, lists of names).
fn without_shared_lines(documents: &[String]) -> Vec<String> {
    let mut seen = std::collections::HashMap::<&str, usize>::new();
    for page in documents {
        let lines: std::collections::HashSet<&str> = page.lines().collect();
        lines.into_iter().for_each(|l| *seen.entry(l).or_default() += 1);
    }
    let keep = |l: &&str| seen[l] <= 8 && l.chars().any(char::is_alphabetic);
    documents.iter().map(|d| running_text(d.lines().filter(keep))).collect()
}

/// The lines without runs of more than three that are no sentences.
fn running_text<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut short: Vec<&str> = Vec::new();
    for line in lines {
        if is_prose(line) && (line.len() > 50 || line.ends_with(['.', '。', '？', '！', '!', '?'])) {
            if short.len() <= 3 {
                kept.append(&mut short);
            } else {
                // The last line before a sentence may be its heading.
                kept.extend(short.pop());
                short.clear();
            }
            kept.push(line);
        } else {
            short.push(line);
        }
    }
    kept.join("\n")
}

/// Whether a line is mostly letters, unlike a table, a formula, a command or an address.
pub fn is_prose(line: &str) -> bool {
    let (mut letters, mut others) = (0, 0);
    for c in line.chars() {
        if c.is_alphabetic() || matches!(c, ' ' | ',' | '.' | '，' | '。' | '、' | '\'' | '’' | '"' | '-') {
            letters += 1;
        } else {
            others += 1;
        }
    }
    letters > 7 * others && !line.contains("://") && !line.contains("--")
}

/// Texts separated by lines of `%`, several in each document.
pub fn fortunes(dir: &Path, folder: &str) -> Result<Vec<String>> {
    let mut documents = Vec::new();
    for path in files(&dir.join(folder), &[""])? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with(".dat") || name.ends_with(".u8") || name.contains("ascii") {
            continue;
        }
        let whole = text(&path)?;
        let entries = whole.split("\n%").map(|e| e.trim_start_matches('%').trim().to_string());
        documents.extend(group(entries.filter(|e| e.len() > 20 && !e.contains("\u{1b}")), "\n\n"));
    }
    Ok(documents)
}

/// Documents in reStructuredText, without directives, roles and underlines.
pub fn rst(dir: &Path, folder: &str, without: &[&str]) -> Result<Vec<String>> {
    let endings = [".rst", ".rst.gz", ".rst.txt", ".txt.gz"];
    markup_pages(&dir.join(folder), &endings, without, clean::rst)
}

/// Perl's documentation in POD.
pub fn pod(dir: &Path) -> Result<Vec<String>> {
    let without = ["perlapi", "perltoc", "perluniprops", "delta", "perlintern", "perlmodlib", "perl5", "perlebcdic"];
    markup_pages(dir, &[".pod"], &without, clean::pod)
}

/// Sentences, one on each line, several in each document.
pub fn lines(dir: &Path, name: &str) -> Result<Vec<String>> {
    let whole = text(&only(dir, name)?)?;
    Ok(group(whole.lines().map(|l| l.trim().to_string()).filter(|l| !l.is_empty()), "\n"))
}

/// Reviews of books, hotels and goods, one on each line.
pub fn reviews(dir: &Path) -> Result<Vec<String>> {
    let mut documents = lines(dir, "neg.txt")?;
    documents.extend(lines(dir, "pos.txt")?);
    Ok(documents)
}

/// Conversations and descriptions of a space game: the texts between backticks.
pub fn endless_sky(dir: &Path) -> Result<Vec<String>> {
    let mut documents = Vec::new();
    for path in files(dir, &[".txt"])?.iter().filter(|p| p.to_string_lossy().contains("/data/")) {
        let whole = text(path)?;
        let spoken = whole.lines().filter_map(|l| l.split('`').nth(1)).filter(|l| l.len() > 40 && is_prose(l));
        documents.extend(group(spoken.map(|l| l.replace('\t', " ").trim().to_string()), "\n"));
    }
    Ok(documents)
}

/// Entries of a dictionary file of the `dict` format whose heads begin a line and whose texts are indented.
pub fn encyclopaedia(dir: &Path, name: &str) -> Result<Vec<String>> {
    let whole = text(&only(dir, name)?)?;
    let mut entries: Vec<String> = Vec::new();
    for line in whole.lines() {
        let head = !line.is_empty() && !line.starts_with(char::is_whitespace);
        if head {
            entries.push(line.trim().to_string());
        } else if let Some(entry) = entries.last_mut() {
            entry.push('\n');
            entry.push_str(line.trim());
        }
    }
    let entries = entries.iter().map(|e| match e.split_once('\n') {
        Some((head, rest)) => format!("{head}\n{}", clean::unwrap(&rest.replace(['{', '}'], ""))),
        None => String::new(),
    });
    Ok(group(entries.skip(8).filter(|e| e.len() > 80), "\n\n"))
}

/// Jane Austen's novels, one chapter in each document, from R's data file. The file has zlib streams, each after the
/// big-endian length of its contents: R's serialised character vectors. A string there is the flags 0x00040009 (or
/// with another encoding bit), its length and its bytes.
pub fn austen(dir: &Path) -> Result<Vec<String>> {
    let packed = fs::read(only(dir, "Rdata.rdb")?)?;
    let mut chapters = Vec::new();
    let mut at = 0;
    while at + 4 < packed.len() {
        let mut inflate = flate2::bufread::ZlibDecoder::new(&packed[at + 4..]);
        let mut book = Vec::new();
        inflate.read_to_end(&mut book).context("the novels' data file is damaged")?;
        at += 4 + inflate.total_in() as usize;
        let text = r_strings(&book).join("\n");
        let mut chapter = String::new();
        for line in text.lines() {
            if line.trim().to_lowercase().starts_with("chapter ") && !chapter.is_empty() {
                chapters.push(clean::unwrap(&chapter));
                chapter.clear();
            }
            chapter.push_str(line.trim_end());
            chapter.push('\n');
        }
        chapters.push(clean::unwrap(&chapter));
    }
    ensure!(chapters.len() > 100, "the novels' data file holds only {} chapters", chapters.len());
    Ok(chapters)
}

fn r_strings(data: &[u8]) -> Vec<String> {
    let word = |at: usize| u32::from_be_bytes(data[at..at + 4].try_into().expect("four bytes"));
    let mut strings = Vec::new();
    let mut at = 0;
    while at + 8 <= data.len() {
        let length = word(at + 4) as usize;
        if word(at) & 0xfff0_00ff == 0x0000_0009 && at + 8 + length <= data.len() {
            strings.push(String::from_utf8_lossy(&data[at + 8..at + 8 + length]).into_owned());
            at += 8 + length;
        } else {
            at += 1;
        }
    }
    strings
}

/// Moby Dick, one chapter in each document.
pub fn moby_dick(dir: &Path) -> Result<Vec<String>> {
    files(&dir.join("package/data"), &[".txt"])?.iter().map(|p| Ok(clean::unwrap(&text(p)?))).collect()
}

/// Speeches on the state of the Union, one in each document, with the spaces of scanned text corrected.
pub fn speeches(dir: &Path) -> Result<Vec<String>> {
    let speeches = files(&dir.join("package/data"), &[".txt"])?;
    let mut parts = Vec::new();
    for path in speeches {
        let whole = text(&path)?;
        // A speech can be 150 kB on one line; it is split between sentences into parts of about 8 kB.
        let words = whole.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut part = String::new();
        for sentence in words.split_inclusive(". ") {
            part.push_str(sentence);
            if part.len() > 2 * GROUP {
                parts.push(std::mem::take(&mut part).trim().to_string());
            }
        }
        parts.push(part.trim().to_string());
    }
    Ok(parts)
}

/// The Bible, one chapter in each document and one verse on each line, extracted by the program that belongs to the
/// data.
pub fn bible(dir: &Path) -> Result<Vec<String>> {
    let archives = dir.join("../../archives");
    let reader = crate::corpus::sources::Package::Deb("bible-kjv");
    let fetched = fetch::fetch(reader, &archives)?;
    let program = fetch::unpack(&fetched, reader, &archives, &dir.join(".."))?.join("usr/bin/bible").canonicalize()?;
    let verses = fetch::run(&program.to_string_lossy(), &["-p", "usr/lib", "-l100000", "gen1:1-rev22:21"], dir)
        .context("the package bible-kjv did not run; `apt-get install libreadline8` may help")?;
    let verses = String::from_utf8_lossy(&verses).into_owned();
    let mut chapters: Vec<String> = Vec::new();
    for line in verses.lines().filter(|l| !l.trim().is_empty()) {
        if line.starts_with(' ') {
            let chapter = chapters.last_mut().context("a verse before the first chapter")?;
            chapter.push_str(line.trim());
            chapter.push('\n');
        } else {
            chapters.push(format!("{}\n", line.trim()));
        }
    }
    ensure!(chapters.len() > 1000, "the Bible has only {} chapters", chapters.len());
    Ok(chapters)
}

/// The dictionary, several entries in each document, without notes on the edition of an entry.
pub fn dictionary(dir: &Path) -> Result<Vec<String>> {
    let whole = text(&only(dir, "gcide.dict.dz")?)?;
    let note = |l: &&str| {
        let l = l.trim();
        !(l.starts_with('[')
            && l.ends_with(']')
            && ["Webster", "WordNet", "PJC", "Century"].iter().any(|n| l.contains(n)))
    };
    let plain = whole.lines().filter(note).map(str::trim_end).collect::<Vec<_>>().join("\n");
    let mut entries: Vec<String> = Vec::new();
    for paragraph in plain.split("\n\n").filter(|p| !p.trim().is_empty()) {
        match entries.last_mut() {
            Some(entry) if paragraph.starts_with(' ') => {
                entry.push('\n');
                entry.push_str(paragraph);
            }
            _ => entries.push(paragraph.to_string()),
        }
    }
    Ok(group(entries.into_iter().skip(20), "\n\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r_strings_are_found() {
        let data = b"X\n\0\0\0\x10\0\0\0\x02\0\x04\0\x09\0\0\0\x04EMMA\0\x04\0\x09\0\0\0\0";
        assert_eq!(r_strings(data), ["EMMA", ""]);
    }
}
