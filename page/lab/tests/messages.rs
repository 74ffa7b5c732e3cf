//! The texts of Learn and Lab: both languages have all with the same places, and the code asks for each that there is.

use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn texts(language: &str) -> Map<String, Value> {
    let path = root().join(format!("../../www/lab/messages/{language}.json"));
    serde_json::from_str(&read(&path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn places(text: &Value) -> BTreeSet<String> {
    let text = text.as_str().expect("a text");
    text.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name.to_owned()).collect()
}

/// The files of a directory and of those in it.
fn code(directory: &Path) -> String {
    let entries = std::fs::read_dir(directory).expect("the code");
    let paths = entries.map(|entry| entry.expect("a file of the code").path());
    paths.map(|path| if path.is_dir() { code(&path) } else { read(&path) }).collect()
}

#[test]
fn both_languages_have_every_text_with_the_same_places() {
    let (english, mut chinese) = (texts("en"), texts("zh"));
    // The data name kinds of text in English.
    chinese.retain(|key, _| !key.starts_with("domain."));
    let keys = |texts: &Map<String, Value>| texts.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(keys(&english), keys(&chinese));
    for (key, text) in &english {
        assert_eq!(places(text), places(&chinese[key]), "{key}");
    }
}

#[test]
fn the_code_asks_for_the_texts_that_there_are() {
    let (english, code) = (texts("en"), code(&root().join("src")));
    let written: BTreeSet<&str> = code.split('"').collect();
    let is_call = |at: usize| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    let calls = code.match_indices("t!(\"").filter(|(at, _)| is_call(*at)).map(|(at, call)| &code[at + call.len()..]);
    let asked = calls.filter_map(|call| call.split('"').next());
    let missing: Vec<&str> = asked.filter(|key| !english.contains_key(*key)).collect();
    assert!(missing.is_empty(), "texts that there are not: {missing:?}");
    let beginnings: BTreeSet<&str> =
        code.split("format!(\"").skip(1).filter_map(|call| call.split('{').next()).collect();
    let beginnings: Vec<&str> = beginnings.into_iter().filter(|beginning| beginning.ends_with('.')).collect();
    let is_asked = |key: &str| written.contains(key) || beginnings.iter().any(|beginning| key.starts_with(beginning));
    let dead: Vec<&String> = english.keys().filter(|key| !is_asked(key)).collect();
    assert!(dead.is_empty(), "texts that nothing asks for: {dead:#?}");
}

#[test]
fn every_control_and_choice_has_a_name() {
    use moescope_lab::controls::{Kind, besides, controls};
    use moescope_lab::protocol::LabName;
    let english = texts("en");
    let has = |key: String| assert!(english.contains_key(&key), "{key}");
    for lab in LabName::ALL {
        has(format!("lab.{}", lab.as_str()));
        has(format!("lab.{}.about", lab.as_str()));
        for control in controls(lab) {
            has(format!("control.{}", control.key));
            has(format!("control.{}.about", control.key));
            if let Kind::Choice(names) = control.kind {
                let words = names.iter().filter(|name| name.parse::<u32>().is_err());
                words.for_each(|name| has(format!("choice.{}.{name}", control.key)));
            }
        }
        besides(lab).iter().for_each(|(name, _)| has(format!("beside.{name}")));
    }
}
