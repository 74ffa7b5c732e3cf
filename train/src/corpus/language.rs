//! Keeps the lines that are in a domain's own language, because partly translated manuals also have English lines.

/// Frequent short words of each language, by which the language of a line is recognised.
const WORDS: [(&str, &str); 4] = [
    ("english", " the of to and is in that you for it with are this be as can not or from by have was if will "),
    (
        "german",
        " der die das und ist nicht ein eine zu den von mit sie es auf dem wird für sich des im auch werden ich wir ",
    ),
    ("french", " le la les de des et est un une du que pour dans vous ce pas sur en il ne qui par au avec sont à "),
    ("spanish", " el la los las de que y en un una es por con para se del no su lo al como más está o si "),
];

/// Phrases of lines about copyright, licence or translation, which are left out.
const NOTICES: [&str; 18] = [
    "General Public License",
    "Free Documentation License",
    "Free Software Foundation",
    "documentation libre",
    "un bogue dans la traduction",
    "La traduction française de cette page",
    "Fehler in der Übersetzung",
    "Die deutsche Übersetzung",
    "Diese Übersetzung ist",
    "La traducción al español",
    "Esta traducción es",
    "errores en la traducción",
    "Copyright ©",
    "Copyright (C)",
    "(c) 20",
    "debian-l10n",
    "JM Project",
    "翻译维护",
];

/// The documents of a domain without lines in other languages, notices and repeated lines. Domains that are not
/// natural language are returned unchanged.
pub fn only(domain: &str, documents: Vec<String>) -> Vec<String> {
    match domain {
        "chinese" | "japanese" => {
            let documents = documents.iter().map(|d| lines(d, wide_line));
            documents.filter(|d| wide_document(d) && kana(d) == (domain == "japanese")).collect()
        }
        _ if WORDS.iter().any(|(name, _)| *name == domain) => {
            documents.iter().filter(|d| !licence(d)).map(|d| lines(d, |l| in_language(l, domain))).collect()
        }
        _ => documents,
    }
}

fn lines(document: &str, wanted: impl Fn(&str) -> bool) -> String {
    let mut kept = Vec::new();
    for line in document.lines() {
        let notice = NOTICES.iter().any(|n| line.contains(n)) || line.starts_with("[ ");
        let repeated = !line.is_empty() && kept.last() == Some(&line);
        if !notice && !repeated && wanted(line) {
            kept.push(line);
        }
    }
    kept.join("\n")
}

/// Whether a line of at least six words has no more words of another language than of its own.
fn in_language(line: &str, language: &str) -> bool {
    let words: Vec<String> =
        line.split_whitespace().map(|w| format!(" {} ", w.trim_matches(|c: char| !c.is_alphabetic()))).collect();
    if words.len() < 6 {
        return true;
    }
    let mut own = 0;
    let mut others = 0;
    for (name, frequent) in WORDS {
        let count = words.iter().filter(|w| frequent.contains(w.to_lowercase().as_str())).count();
        if name == language {
            own = count;
        } else {
            others = others.max(count);
        }
    }
    others <= own + 1
}

/// Whether the text is a licence rather than a manual.
fn licence(document: &str) -> bool {
    ["covered work", "Cover Texts", "Invariant Section", "WITHOUT WARRANTY OF ANY KIND", "Licensor"]
        .iter()
        .any(|phrase| document.contains(phrase))
}

fn wide(c: char) -> bool {
    c >= '\u{2e80}'
}

/// Whether a line is short or has a wide character.
fn wide_line(line: &str) -> bool {
    line.len() < 40 || line.chars().any(wide)
}

/// Whether at least a quarter of the characters are wide; otherwise little of the page is translated.
fn wide_document(document: &str) -> bool {
    4 * document.chars().filter(|&c| wide(c)).count() > document.chars().count()
}

/// Whether a text has kana, which occur in every Japanese sentence and in no Chinese one.
fn kana(document: &str) -> bool {
    let kana = document.chars().filter(|c| ('\u{3040}'..'\u{3100}').contains(c)).count();
    20 * kana > document.chars().filter(|&c| wide(c)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn english_lines_leave_a_german_document() {
        let text = "Überschrift\nDer Befehl kann aus dem Bildfenster erreicht werden und ist einfach.\n\
                    This command can be found in the menu of the image window.\nGIMP Toolbox Dialog One Two Three Four";
        let kept = only("german", vec![text.to_string()]).remove(0);
        assert!(kept.contains("Der Befehl") && kept.contains("Toolbox") && !kept.contains("This command"), "{kept}");
    }

    #[test]
    fn notices_repetitions_and_licences_go() {
        let text = "A. Title\nA. Title\nCopyright © 2020 Somebody\nThe king looked over the walls and said nothing.";
        assert_eq!(
            only("english", vec![text.to_string(), "If you convey a covered work".to_string()]),
            ["A. Title\nThe king looked over the walls and said nothing."]
        );
    }

    #[test]
    fn chinese_and_japanese_are_told_apart() {
        let texts =
            vec!["老国王从城墙上望下去，什么话也没有说。".to_string(), "王は城壁の上から見下ろした。".to_string()];
        assert_eq!(only("chinese", texts.clone()), texts[..1]);
        assert_eq!(only("japanese", texts.clone()), texts[1..]);
        assert_eq!(only("rust", texts.clone()), texts);
    }
}
