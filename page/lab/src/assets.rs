//! The files that labs read: digits, texts, models. The worker fetches them before a lab begins.

use crate::protocol::{LabName, Plan, Settings};
use crate::runs::{fine_tune, over, router};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Handwritten digits (learn/data/README.md).
pub const DIGITS: &str = "digits.bin";
/// Texts of this project: an object of text by name.
pub const TEXTS: &str = "texts.json";
/// The text that is fine-tuned on where the reader gives none.
pub const GIVEN: &str = "given.txt";
/// The tokenizer of the shipped models.
pub const TOKENIZER: &str = "models/tokenizer/tokenizer.json";
/// What `transformers` reads beside it.
pub const TOKENIZER_CONFIG: &str = "models/tokenizer/tokenizer_config.json";

/// The file of a shipped model.
pub fn of_model(model: &str, file: &str) -> String {
    format!("models/{model}/{file}")
}

/// Files by their names. Names that begin with `models/` are the site's, the others are beside the lab's program.
#[derive(Clone, Debug, Default)]
pub struct Assets(BTreeMap<String, Rc<Vec<u8>>>);

impl Assets {
    /// Adds a file.
    pub fn insert(&mut self, name: &str, bytes: Vec<u8>) {
        self.0.insert(name.to_owned(), Rc::new(bytes));
    }

    /// Forgets a file.
    pub fn forget(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// The bytes of a file.
    ///
    /// # Errors
    /// It was not fetched.
    pub fn get(&self, name: &str) -> Result<Rc<Vec<u8>>, String> {
        self.0.get(name).cloned().ok_or_else(|| format!("the file {name} is missing; load the page again"))
    }

    /// A file as text.
    ///
    /// # Errors
    /// It was not fetched, or is no text.
    pub fn text(&self, name: &str) -> Result<String, String> {
        String::from_utf8(self.get(name)?.to_vec()).map_err(|_| format!("the file {name} is no text"))
    }

    /// Which of these files are not here yet.
    pub fn missing(&self, names: BTreeSet<String>) -> Vec<String> {
        names.into_iter().filter(|name| !self.0.contains_key(name)).collect()
    }
}

/// The files that the runs of a plan read.
pub fn needed(lab: LabName, plan: &Plan) -> BTreeSet<String> {
    let none = [Settings::new()];
    let runs = if plan.runs.is_empty() { &none[..] } else { &plan.runs[..] };
    let of = |difference: &Settings| {
        let settings = over(&plan.settings, difference);
        match lab {
            LabName::LocalExperts => Vec::new(),
            LabName::DeepMixture | LabName::Conditional => vec![DIGITS.to_owned()],
            LabName::Router => router::needed(&settings),
            LabName::FineTune => fine_tune::needed(&settings),
        }
    };
    runs.iter().flat_map(of).collect()
}

/// The files as the repository has them, for tests.
#[cfg(test)]
pub fn of_repository(lab: LabName, plan: &Plan) -> Assets {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut assets = Assets::default();
    for name in needed(lab, plan) {
        let bytes = match name.as_str() {
            DIGITS => std::fs::read(root.join("learn/data/digits.bin")).unwrap(),
            TEXTS => {
                let list = std::fs::read_to_string(root.join("www/lab/texts.json")).unwrap();
                let list: BTreeMap<String, Vec<String>> = serde_json::from_str(&list).unwrap();
                let read = |path: &String| std::fs::read_to_string(root.join(path)).unwrap();
                let texts = list.iter().map(|(name, files)| (name, files.iter().map(read).collect::<String>()));
                serde_json::to_vec(&texts.collect::<BTreeMap<_, _>>()).unwrap()
            }
            GIVEN => std::fs::read(root.join("www/lab/given.txt")).unwrap(),
            model => std::fs::read(root.join("www").join(model)).unwrap(),
        };
        assets.insert(&name, bytes);
    }
    assets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lab_reads_what_its_runs_name() {
        let plan = |json: &str| Plan { settings: serde_json::from_str(json).unwrap(), ..Plan::default() };
        assert!(needed(LabName::LocalExperts, &Plan::default()).is_empty());
        assert_eq!(needed(LabName::DeepMixture, &Plan::default()).len(), 1);
        let beside = Plan { runs: vec![Settings::new(), plan(r#"{"model":"dense"}"#).settings], ..Plan::default() };
        let names = needed(LabName::FineTune, &beside);
        assert!(names.contains("models/main/config.json") && names.contains("models/dense/model.safetensors"));
        assert_eq!(needed(LabName::Router, &Plan::default()).len(), 1);
        assert!(needed(LabName::Router, &plan(r#"{"model":"main"}"#)).contains(TOKENIZER));
        let mut assets = Assets::default();
        assets.insert(GIVEN, b"a".to_vec());
        assert_eq!(assets.text(GIVEN).unwrap(), "a");
        assert_eq!(assets.missing([GIVEN.to_owned(), TEXTS.to_owned()].into()), [TEXTS]);
        assert!(assets.get(TEXTS).unwrap_err().contains("texts.json"));
    }
}
