//! Measures how the tokenizer divides text: bytes per token in every domain, and fragments per word in the examples.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use serde::Deserialize;
use tokenizers::Tokenizer;

use crate::corpus;
use crate::tokenizer;

/// Text of each file that is measured, bytes.
const SAMPLE: usize = 300_000;

/// An example of the page.
#[derive(Deserialize)]
struct Example {
    id: String,
    text: String,
}

/// How the words of a text are divided.
#[derive(Debug, Default, PartialEq)]
struct Fragments {
    /// Number of words: longest runs of letters, without those of scripts that have no spaces.
    words: usize,
    /// Number of tokens that contain letters of these words.
    fragments: usize,
    /// Number of words of one or two tokens.
    short: usize,
}

/// Two tables: the held-out and evaluation text of each domain in the folder `corpus`, and the examples of the page.
///
/// # Errors
/// The tokenizer or the examples cannot be read, or the folder holds no held-out text.
pub fn report(corpus: &Path, tokenizer: &Path, examples: &Path) -> Result<String> {
    let tokenizer = tokenizer::read(tokenizer)?;
    let mut names: Vec<String> = Vec::new();
    for entry in fs::read_dir(corpus).with_context(|| format!("cannot read {}", corpus.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".held.txt").map(String::from));
    }
    names.sort();
    ensure!(!names.is_empty(), "{} holds no text; collect it with `cargo xtask corpus`", corpus.display());
    let mut out = String::from("| domain | bytes per token, held-out | evaluation |\n| --- | --: | --: |\n");
    for name in names {
        let held_out = bytes_per_token(&tokenizer, &corpus.join(format!("{name}.held.txt")))?;
        let evaluation = corpus.join(format!("{name}.eval.txt"));
        let evaluation = match evaluation.exists() {
            true => format!("{:.2}", bytes_per_token(&tokenizer, &evaluation)?),
            false => String::new(),
        };
        let _ = writeln!(out, "| {name} | {held_out:.2} | {evaluation} |");
    }
    let text = fs::read_to_string(examples).with_context(|| format!("cannot read {}", examples.display()))?;
    let examples: Vec<Example> =
        serde_json::from_str(&text).with_context(|| format!("{} holds no examples", examples.display()))?;
    out.push_str("\n| example | bytes per token | words | fragments per word | words of one or two tokens |\n");
    out.push_str("| --- | --: | --: | --: | --: |\n");
    for Example { id, text } in examples {
        let (fragments, tokens) = fragments(&tokenizer, &text)?;
        let bytes = text.len() as f64 / tokens.max(1) as f64;
        let each = fragments.fragments as f64 / fragments.words.max(1) as f64;
        let short = 100 * fragments.short / fragments.words.max(1);
        let _ = writeln!(out, "| {id} | {bytes:.2} | {} | {each:.2} | {short} % |", fragments.words);
    }
    Ok(out)
}

/// Bytes per token in the first [`SAMPLE`] bytes of a file, without the separators of documents.
fn bytes_per_token(tokenizer: &Tokenizer, path: &Path) -> Result<f64> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let (mut bytes, mut tokens) = (0, 0);
    for document in corpus::documents(&text) {
        bytes += document.len();
        tokens += encode(tokenizer, document)?.len();
        if bytes > SAMPLE {
            break;
        }
    }
    Ok(bytes as f64 / tokens.max(1) as f64)
}

/// The first byte and the end of each token of a text.
fn encode(tokenizer: &Tokenizer, text: &str) -> Result<Vec<(usize, usize)>> {
    let encoding = tokenizer.encode(text, false).map_err(|e| anyhow!("cannot encode: {e}"))?;
    Ok(encoding.get_offsets().to_vec())
}

/// The words of a text, and its tokens.
fn fragments(tokenizer: &Tokenizer, text: &str) -> Result<(Fragments, usize)> {
    let tokens = encode(tokenizer, text)?;
    let mut found = Fragments::default();
    for (start, end) in words(text) {
        let parts = tokens.iter().filter(|&&(from, to)| from < end && to > start).count();
        found.words += 1;
        found.fragments += parts;
        found.short += usize::from(parts <= 2);
    }
    Ok((found, tokens.len()))
}

/// The first byte and the end of each word: a longest run of letters. Characters from U+2E80 on (mostly Chinese and
/// Japanese) belong to scripts without spaces, so they are not part of a word.
fn words(text: &str) -> Vec<(usize, usize)> {
    let mut words: Vec<(usize, usize)> = Vec::new();
    for (at, c) in text.char_indices().filter(|(_, c)| c.is_alphabetic() && *c < '\u{2e80}') {
        match words.last_mut() {
            Some(word) if word.1 == at => word.1 += c.len_utf8(),
            _ => words.push((at, at + c.len_utf8())),
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_runs_of_letters() {
        let text = "Größe, don't x1y 中文 a";
        let found: Vec<&str> = words(text).into_iter().map(|(start, end)| &text[start..end]).collect();
        assert_eq!(found, ["Größe", "don", "t", "x", "y", "a"]);
    }

    #[test]
    fn fragments_are_the_tokens_that_a_word_touches() {
        let tokenizer = tokenizer::tests::small(8, &"river boat\n".repeat(300));
        let (found, tokens) = fragments(&tokenizer, "river qzxk boat").unwrap();
        // The space before "qzxk" is a token of its own, and no fragment.
        assert_eq!(found, Fragments { words: 3, fragments: 6, short: 2 });
        assert_eq!(tokens, 7);
    }
}
