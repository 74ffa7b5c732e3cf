//! Readers of natural language.

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

/// The Debian Administrator's Handbook in one language, a page a document.
pub fn handbook(dir: &Path, language: &str) -> Result<Vec<String>> {
    let dir = dir.join("usr/share/doc/debian-handbook/html").join(language);
    html_pages(&dir)
}

/// LibreOffice's help, a page a document.
pub fn office(dir: &Path) -> Result<Vec<String>> {
    html_pages(&dir.join("usr/share/libreoffice/help"))
}

/// Chinese documents without the long lines that nobody translated.
pub fn translated(documents: Result<Vec<String>>) -> Result<Vec<String>> {
    let keep = |l: &&str| l.len() < 40 || l.chars().any(|c| c >= '\u{2e80}');
    Ok(documents?.iter().map(|d| d.lines().filter(keep).collect::<Vec<_>>().join("\n")).collect())
}

/// Pages without the lines that many pages share (menus, notices) and without lines that are hardly words.
fn html_pages(dir: &Path) -> Result<Vec<String>> {
    let pages: Vec<String> =
        files(dir, &[".html"])?.iter().map(|p| Ok(clean::html(&text(p)?))).collect::<Result<_>>()?;
    let mut seen = std::collections::HashMap::<&str, usize>::new();
    for page in &pages {
        let lines: std::collections::HashSet<&str> = page.lines().collect();
        lines.into_iter().for_each(|l| *seen.entry(l).or_default() += 1);
    }
    let keep = |l: &&str| seen[l] <= 12 && l.chars().any(char::is_alphabetic);
    Ok(pages.iter().map(|p| p.lines().filter(keep).collect::<Vec<_>>().join("\n")).collect())
}

/// Jane Austen's novels, a chapter a document, out of R's data file: zlib streams, each after the big-endian length of
/// what it holds, of R's serialised character vectors. A string there is the flags 0x00040009 (or with another
/// encoding bit), its length, its bytes.
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

/// Moby Dick, a chapter a document.
pub fn moby_dick(dir: &Path) -> Result<Vec<String>> {
    files(&dir.join("package/data"), &[".txt"])?.iter().map(|p| Ok(clean::unwrap(&text(p)?))).collect()
}

/// Addresses on the state of the Union, one a document, with the spaces of scanned text put right.
pub fn speeches(dir: &Path) -> Result<Vec<String>> {
    let speeches = files(&dir.join("package/data"), &[".txt"])?;
    let mut parts = Vec::new();
    for path in speeches {
        let whole = text(&path)?;
        // A speech can be 150 kB in one line: cut between sentences into parts of about 8 kB.
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

/// The Bible, a chapter a document, a verse a line, through the reader that belongs to the data.
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

/// The dictionary, some entries a document, without the notes of which edition an entry came from.
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
