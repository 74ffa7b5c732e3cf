//! Measures the share of real words in the texts that a model writes.

use std::collections::HashSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::corpus::fetch::{fetch, unpack};
use crate::corpus::sources::Package;

/// The word list of a language.
struct Language {
    name: &'static str,
    package: Package,
    /// The list in the package: one word on a line, or a dictionary of `hunspell` with its affix rules.
    list: &'static str,
    /// Runs of letters that are words only before an apostrophe and are therefore not in any list.
    elided: &'static [&'static str],
}

const LANGUAGES: &[Language] = &[
    Language {
        name: "english",
        package: Package::Deb("wamerican-large"),
        list: "usr/share/dict/american-english-large",
        elided: &[],
    },
    Language { name: "german", package: Package::Deb("wngerman"), list: "usr/share/dict/ngerman", elided: &[] },
    Language {
        name: "french",
        package: Package::Deb("wfrench"),
        list: "usr/share/dict/french",
        elided: &["c", "d", "j", "l", "m", "n", "s", "t", "qu", "jusqu", "lorsqu", "puisqu", "quoiqu"],
    },
    // The plain list of Spanish words has no plurals and no verb forms.
    Language {
        name: "spanish",
        package: Package::Deb("hunspell-es"),
        list: "usr/share/hunspell/es_ES.dic",
        elided: &[],
    },
];

/// The words of a text in lower case: its longest runs of letters (and combining marks). A run next to a digit or an
/// underscore does not count as a word.
fn words(text: &str) -> Vec<String> {
    let parts = text.split(|c: char| !(c.is_alphanumeric() || c == '_' || ('\u{300}'..'\u{370}').contains(&c)));
    let spelt = parts.filter(|part| !part.is_empty() && !part.contains(|c: char| c.is_numeric() || c == '_'));
    spelt.map(str::to_lowercase).collect()
}

/// A table with the number of words in each text (given by its language and its file), and the share of them that is
/// in the word list of its language. Missing word lists are fetched into `folder`. The evaluation text there, which
/// people wrote, is measured as well, because no list is complete.
///
/// # Errors
/// A language has no list, a file cannot be read, or the package of a list cannot be fetched.
pub fn report(folder: &Path, texts: &[(String, PathBuf)]) -> Result<String> {
    let mut out =
        String::from("| text | words | in the list | of text that people wrote | not in the list, for example |\n");
    out.push_str("| --- | --: | --: | --: | --- |\n");
    for (language, path) in texts {
        let list = list(language, folder)?;
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let words = words(&continuations(&text));
        ensure!(!words.is_empty(), "{} holds no words", path.display());
        let mut unknown: Vec<&str> = words.iter().filter(|w| !list.contains(*w)).map(String::as_str).collect();
        let share = 1.0 - unknown.len() as f64 / words.len() as f64;
        let people = match fs::read_to_string(folder.join(format!("{language}.eval.txt"))) {
            Ok(text) => format!("{:.1} %", 100.0 * known(&self::words(&text), &list)),
            Err(_) => String::new(),
        };
        unknown.dedup();
        unknown.truncate(12);
        let (count, share) = (words.len(), 100.0 * share);
        let _ = writeln!(out, "| {language} | {count} | {share:.1} % | {people} | {} |", unknown.join(" "));
    }
    Ok(out)
}

/// The share of `words` that are in `list`.
fn known(words: &[String], list: &HashSet<String>) -> f64 {
    words.iter().filter(|w| list.contains(*w)).count() as f64 / words.len().max(1) as f64
}

/// The text that a model wrote: the `continuation` of each line of JSON (as `moescope generate` prints them), one on a
/// line; any other text unchanged. The last word of a continuation may be incomplete and is left out.
fn continuations(text: &str) -> String {
    let continuation = |line: &str| -> Option<String> {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        let written = line["continuation"].as_str()?;
        let end = written.rfind(|c: char| !c.is_alphanumeric()).unwrap_or(0);
        // The first letters may belong to the last word of the prompt.
        let goes_on = written.starts_with(char::is_alphanumeric);
        let start = line["prompt"].as_str().filter(|_| goes_on).map_or("", last_word);
        Some(format!("{start}{}", &written[..end]))
    };
    let lines: Option<Vec<String>> = text.lines().filter(|l| !l.trim().is_empty()).map(continuation).collect();
    lines.map_or_else(|| text.to_owned(), |lines| lines.join("\n"))
}

/// The letters at the end of a text.
fn last_word(text: &str) -> &str {
    text.rsplit(|c: char| !c.is_alphanumeric()).next().unwrap_or("")
}

/// The words of a language, in lower case.
fn list(language: &str, folder: &Path) -> Result<HashSet<String>> {
    let known = || LANGUAGES.iter().map(|l| l.name).collect::<Vec<_>>().join(", ");
    let language = LANGUAGES.iter().find(|l| l.name == language);
    let language = language.with_context(|| format!("there is no such language; there are {}", known()))?;
    let (archives, unpacked) = (folder.join("archives"), folder.join("words"));
    let fetched = fetch(language.package, &archives)?;
    let path = unpack(&fetched, language.package, &archives, &unpacked)?.join(language.list);
    let read = |path: &Path| fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
    let entries = match path.extension() {
        Some(_) => inflected(&read(&path)?, &read(&path.with_extension("aff"))?),
        None => read(&path)?,
    };
    let mut list: HashSet<String> = words(&entries).into_iter().collect();
    list.extend(language.elided.iter().map(|word| word.to_string()));
    fs::remove_dir_all(&unpacked)?;
    Ok(list)
}

/// A rule of a `hunspell` dictionary: an ending (or a beginning) that replaces another one if a condition on the word
/// holds.
struct Affix<'a> {
    flag: char,
    prefix: bool,
    strip: &'a str,
    add: &'a str,
    /// Rules for the new word.
    further: &'a str,
    condition: Vec<(bool, Vec<char>)>,
}

/// All forms of all words of a `hunspell` dictionary whose flags are single characters, one form on a line: each word
/// with the endings of its rules, with endings added to those endings, and with its prefixes.
fn inflected(dictionary: &str, rules: &str) -> String {
    let rules: Vec<Affix> = rules.lines().filter_map(affix).collect();
    let apply = |word: &str, flags: &str| -> Vec<(String, String)> {
        let of_word = rules.iter().filter(|rule| flags.contains(rule.flag));
        of_word.filter_map(|rule| Some((rule.apply(word)?, rule.further.to_string()))).collect()
    };
    let mut out = String::new();
    // The first line is the number of words.
    for line in dictionary.lines().skip(1) {
        let entry = line.split_whitespace().next().unwrap_or("");
        let (word, flags) = entry.split_once('/').unwrap_or((entry, ""));
        let mut forms = vec![(word.to_string(), flags.to_string())];
        // An ending, an ending of the result, and a prefix before all of them.
        for _ in 0..2 {
            let more: Vec<_> = forms.iter().flat_map(|(word, flags)| apply(word, flags)).collect();
            forms.extend(more);
        }
        for (form, _) in forms {
            out.push_str(&form);
            out.push('\n');
        }
    }
    out
}

/// Parses a rule. `SFX A r ción/S ar` belongs to group A: after "ar", "ción" replaces "r", and the rules of S apply to
/// the new word.
fn affix(line: &str) -> Option<Affix<'_>> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let &[kind @ ("SFX" | "PFX"), flag, strip, add, condition, ..] = fields.as_slice() else { return None };
    let (add, further) = add.split_once('/').unwrap_or((add, ""));
    let text = |field| if field == "0" { "" } else { field };
    let condition = if condition == "." { Vec::new() } else { character_sets(condition) };
    Some(Affix {
        flag: flag.chars().next()?,
        prefix: kind == "PFX",
        strip: text(strip),
        add: text(add),
        further,
        condition,
    })
}

/// Parses `[^ab]c` as a list of character sets, each with whether its characters are excluded.
fn character_sets(condition: &str) -> Vec<(bool, Vec<char>)> {
    let mut sets = Vec::new();
    let mut characters = condition.chars();
    while let Some(c) = characters.next() {
        let set: Vec<char> = if c == '[' { characters.by_ref().take_while(|&c| c != ']').collect() } else { vec![c] };
        match set.split_first() {
            Some(('^', excluded)) if c == '[' => sets.push((true, excluded.to_vec())),
            _ => sets.push((false, set)),
        }
    }
    sets
}

impl Affix<'_> {
    /// The word under this rule; `None` where the rule does not apply to it.
    fn apply(&self, word: &str) -> Option<String> {
        let fits = |(c, (excluded, set)): (char, &(bool, Vec<char>))| set.contains(&c) != *excluded;
        let length = self.condition.len();
        let characters: Vec<char> = word.chars().collect();
        let part = match self.prefix {
            true => characters.get(..length)?,
            false => characters.get(characters.len().checked_sub(length)?..)?,
        };
        if !part.iter().copied().zip(&self.condition).all(fits) {
            return None;
        }
        match self.prefix {
            true => Some(format!("{}{}", self.add, word.strip_prefix(self.strip)?)),
            false => Some(format!("{}{}", word.strip_suffix(self.strip)?, self.add)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_runs_of_letters_in_lower_case() {
        assert_eq!(words("L'été, x1 foo_bar Größe-Test 中"), ["l", "été", "größe", "test", "中"]);
    }

    #[test]
    fn a_continuation_without_its_last_word_is_measured_with_the_end_of_its_prompt() {
        let text = r#"{"prompt": "The hou", "continuation": "se was gre", "ids": [1]}
{"prompt": "In ", "continuation": "the end.", "ids": []}
{"prompt": "It", "continuation": " is", "ids": []}"#;
        assert_eq!(words(&continuations(text)), ["house", "was", "the", "end"]);
        assert_eq!(continuations("plain text"), "plain text");
    }

    #[test]
    fn rules_inflect_words() {
        let rules = "SET UTF-8\nSFX A Y 2\nSFX A r ción/S ar\nSFX A er ición/S [^cn]er\nSFX S Y 1\nSFX S ón ones ón\n\
                     PFX d Y 1\nPFX d 0 auto [^r]\n";
        let forms = inflected("3\nformar/Ad\nnacer/A\nsol\n", rules);
        let forms: HashSet<&str> = forms.lines().collect();
        assert!(["formar", "formación", "formaciones", "autoformar", "nacer", "sol"].iter().all(|w| forms.contains(w)));
        assert!(!forms.iter().any(|w| w.starts_with("nacición")), "the rule is not for a word in \"cer\"");
    }
}
