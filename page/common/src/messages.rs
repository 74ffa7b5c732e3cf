//! A program's messages: a flat map from key to text with `{name}` placeholders, or to `{"one": .., "other": ..}`
//! where the text depends on a number. English is built into each program. Another language is a file, fetched when
//! it is chosen, and an entry in `www/messages/index.json`.

use crate::format;
use serde::Deserialize;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Text {
    Plain(String),
    Plural(HashMap<String, String>),
}

type Texts = HashMap<String, Text>;

#[derive(Default)]
struct Catalogue {
    english: Texts,
    chosen: Texts,
}

thread_local! {
    static CATALOGUE: RefCell<Catalogue> = RefCell::default();
    static LANGUAGE: RefCell<String> = RefCell::new("en".into());
}

/// A language for which the page has messages.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Language {
    /// Its BCP 47 code, which names its file.
    pub code: String,
    /// Its name in the language itself.
    pub name: String,
}

/// The English texts of this program, as JSON; called before any text is asked for.
///
/// # Panics
/// They are no catalogue: tests/messages.rs reads all of them.
pub fn begin(english: &str) {
    let english = serde_json::from_str(english).expect("the English texts are checked by a test");
    CATALOGUE.with_borrow_mut(|catalogue| catalogue.english = english);
}

/// The code of the language chosen.
pub fn language() -> String {
    LANGUAGE.with_borrow(Clone::clone)
}

/// Uses the messages of `json` (and English ones where one is missing), and formats numbers in `language`.
pub fn choose(language: &str, json: &str) -> Result<(), serde_json::Error> {
    let chosen = serde_json::from_str(json)?;
    CATALOGUE.with_borrow_mut(|catalogue| catalogue.chosen = chosen);
    LANGUAGE.set(language.to_owned());
    format::choose(language);
    Ok(())
}

/// Goes back to English.
pub fn choose_english() {
    CATALOGUE.with_borrow_mut(|catalogue| catalogue.chosen = Texts::new());
    LANGUAGE.set("en".into());
    format::choose("en");
}

/// The message `key` with its placeholders filled in; used by [`t!`].
pub fn text(key: &str, places: &[(&str, String)]) -> String {
    look_up(key, |text| match text {
        Text::Plain(text) => Some(fill(text, places)),
        Text::Plural(_) => None,
    })
}

/// The message `key` for the number `n`, which also fills the placeholder `{n}`; used by [`t!`].
pub fn plural(key: &str, n: usize, places: &[(&str, String)]) -> String {
    let mut all = vec![("n", format::count(n as f64))];
    all.extend(places.iter().cloned());
    let form = format::plural_form(n);
    look_up(key, |text| match text {
        Text::Plain(text) => Some(fill(text, &all)),
        Text::Plural(forms) => forms.get(&form).or_else(|| forms.get("other")).map(|text| fill(text, &all)),
    })
}

/// The name of an example or a kind of text. The data have it, in English; a language may have its own, as `KIND.ID`.
pub fn name_of(kind: &str, id: &str, otherwise: &str) -> String {
    let own = |text: &Text| match text {
        Text::Plain(text) => Some(text.clone()),
        Text::Plural(_) => None,
    };
    CATALOGUE
        .with_borrow(|catalogue| catalogue.chosen.get(&format!("{kind}.{id}")).and_then(own))
        .unwrap_or_else(|| otherwise.to_owned())
}

/// The text in the chosen language; where there is none, the English one.
pub fn of_languages(texts: &BTreeMap<String, String>) -> String {
    let language = LANGUAGE.with_borrow(Clone::clone);
    texts.get(&language).or_else(|| texts.get("en")).cloned().unwrap_or_default()
}

fn look_up(key: &str, use_text: impl Fn(&Text) -> Option<String>) -> String {
    CATALOGUE.with_borrow(|catalogue| {
        let texts = [&catalogue.chosen, &catalogue.english];
        texts.into_iter().filter_map(|texts| texts.get(key)).find_map(use_text).unwrap_or_else(|| key.to_owned())
    })
}

/// `text` with its places filled.
pub fn fill(text: &str, places: &[(&str, String)]) -> String {
    let mut filled = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        let Some(close) = rest[open..].find('}').map(|at| open + at) else { break };
        filled.push_str(&rest[..open]);
        match places.iter().find(|(name, _)| *name == &rest[open + 1..close]) {
            Some((_, value)) => filled.push_str(value),
            None => filled.push_str(&rest[open..=close]),
        }
        rest = &rest[close + 1..];
    }
    filled.push_str(rest);
    filled
}

/// A text of the program: `t!("key")`, `t!("key", name = value)`, and for texts that depend on a number
/// `t!(n; "key")`.
#[macro_export]
macro_rules! t {
    ($key:expr $(, $name:ident = $value:expr)* $(,)?) => {
        $crate::messages::text($key, &[$((stringify!($name), $value.to_string())),*])
    };
    ($n:expr; $key:expr $(, $name:ident = $value:expr)* $(,)?) => {
        $crate::messages::plural($key, $n, &[$((stringify!($name), $value.to_string())),*])
    };
}
