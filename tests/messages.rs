//! The page's messages: all languages have the same messages with the same placeholders, and the code uses each.

use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn texts(file: &Path) -> Map<String, Value> {
    let json = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    serde_json::from_str(&json).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The placeholders of a message, over all its plural forms.
fn places(text: &Value) -> BTreeSet<String> {
    match text {
        Value::String(text) => {
            text.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name.to_owned()).collect()
        }
        Value::Object(forms) => forms.values().flat_map(places).collect(),
        other => panic!("{other} is neither a text nor a set of plural forms"),
    }
}

fn languages() -> Vec<String> {
    let index = std::fs::read_to_string(root().join("www/messages/index.json")).expect("the list of languages");
    let index: Vec<Value> = serde_json::from_str(&index).expect("the list of languages is JSON");
    index.iter().map(|language| language["code"].as_str().expect("a language has a code").to_owned()).collect()
}

#[test]
fn every_language_has_every_text_with_the_same_places() {
    let english = texts(&root().join("www/messages/en.json"));
    let languages = languages();
    assert!(languages.contains(&"en".to_owned()));
    let names = names_of_data();
    for language in languages {
        let mut other = texts(&root().join(format!("www/messages/{language}.json")));
        other.retain(|key, _| !names.contains(key));
        let (ours, theirs): (BTreeSet<_>, BTreeSet<_>) = (english.keys().collect(), other.keys().collect());
        assert_eq!(ours, theirs, "keys of {language}");
        for (key, text) in &english {
            assert_eq!(places(text), places(&other[key]), "places of {key} in {language}");
        }
    }
}

/// Keys that data files name: those of the examples, and of the kinds of text in the experts' dossiers.
fn names_of_data() -> BTreeSet<String> {
    let read = |path: &str| -> Value {
        let json = std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        serde_json::from_str(&json).unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    let names = |kind: &str, list: &Value, name: &str| -> Vec<String> {
        let list = list.as_array().expect("a list");
        list.iter().map(|item| format!("{kind}.{}", item[name].as_str().expect("a name"))).collect()
    };
    let examples = names("example", &read("www/examples.json"), "id");
    let domains = names("domain", &read("www/models/main/experts.json")["domains"], "name");
    let models = std::fs::read_dir(root().join("www/models")).expect("the models").map(|model| model.expect("a model"));
    let models = models.filter(|model| model.path().join("card.md").is_file());
    let models = models.map(|model| format!("model-about.{}", model.file_name().to_string_lossy()));
    examples.into_iter().chain(domains).chain(models).collect()
}

#[test]
fn every_language_but_english_has_its_own_names_of_the_data() {
    for language in languages().into_iter().filter(|language| language != "en") {
        let texts = texts(&root().join(format!("www/messages/{language}.json")));
        let missing: Vec<String> = names_of_data().into_iter().filter(|name| !texts.contains_key(name)).collect();
        assert!(missing.is_empty(), "{language} lacks {missing:?}");
    }
}

#[test]
fn a_text_for_a_number_has_a_form_for_every_other_number() {
    for language in languages() {
        for (key, text) in texts(&root().join(format!("www/messages/{language}.json"))) {
            if let Value::Object(forms) = text {
                assert!(forms.contains_key("other"), "{key} in {language} has no form \"other\"");
            }
        }
    }
}

/// The compiler rejects a key that is written out and does not exist (page/state/src/message_keys.rs). This test finds
/// messages that the code does not use, neither by their whole key nor by the beginning of a key.
#[test]
fn every_text_is_asked_for() {
    let english = texts(&root().join("www/messages/en.json"));
    let folders = ["page/src", "page/state/src", "page/worker/src"].map(|folder| files(&root().join(folder)));
    let code: String = folders.into_iter().flatten().map(|path| read(&path)).collect();
    let scripts = ["www/boot.js", "index.html"].map(|path| read(&root().join(path))).concat();
    let written: BTreeSet<&str> = code.split('"').chain(scripts.split('"')).collect();
    let beginnings: BTreeSet<&str> =
        code.split("format!(\"").skip(1).filter_map(|call| call.split('{').next()).collect();
    let beginnings: Vec<&str> = beginnings.into_iter().filter(|beginning| beginning.ends_with('.')).collect();
    assert!(beginnings.len() > 5, "only {beginnings:?} were found in the code");
    let is_asked = |key: &str| written.contains(key) || beginnings.iter().any(|beginning| key.starts_with(beginning));
    let dead: Vec<&String> = english.keys().filter(|key| !is_asked(key)).collect();
    assert!(dead.is_empty(), "texts that nothing asks for: {dead:#?}");
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files of a directory and its subdirectories.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).expect("the page's code");
    let paths = entries.map(|entry| entry.expect("a file of the page's code").path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
