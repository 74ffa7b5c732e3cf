//! The addresses of Learn and Lab: `#/learn`, `#/learn/NAME?...` and `#/lab/NAME?...`.
//!
//! After `?` of a lab: its settings by their keys, without default values; `beside` (the settings that differ in a
//! second run, as a JSON object, or a list of such objects for several runs); `own` (the reader's points); `at` (the
//! step to train to at once); `then` (changes made during the run); `goal` (the condition of a task) and `say` (the
//! task in a teacher's words). `lang` is the language, as in Explore.

use crate::json::parse;
use crate::protocol::{Change, LabName, Settings};
use form_urlencoded::Serializer;
use serde_json::Value;

/// The view that an address names.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// The list of chapters.
    Learn,
    /// A chapter, by its name.
    Chapter(String),
    /// A lab.
    Lab(LabName),
    /// A name that no chapter or lab has.
    Unknown(String),
}

/// A parsed address.
#[derive(Clone, Debug, PartialEq)]
pub struct Address {
    /// The place.
    pub place: Place,
    /// The keys and values after `?`, in order.
    pub parameters: Vec<(String, String)>,
}

/// Keys that are not settings.
const OTHERS: [&str; 7] = ["beside", "own", "at", "then", "goal", "say", "lang"];

/// The most steps that a link may ask for.
pub const MOST_STEPS: u64 = 200_000;

/// A run of a lab as a link keeps it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    /// The settings that differ from the defaults.
    pub settings: Settings,
    /// The settings that differ in each further run; none for the lab's default.
    pub beside: Option<Vec<Settings>>,
    /// The reader's points: x, y and class or value.
    pub own: Option<Vec<[f32; 3]>>,
    /// The step to go to.
    pub at: u64,
    /// Changes made during the run.
    pub changes: Vec<Change>,
    /// The goal, in the syntax of [`crate::goal`].
    pub goal: Option<String>,
    /// The task in a teacher's words.
    pub say: Option<String>,
}

impl Address {
    /// Reads a fragment, from `#` on.
    pub fn parse(fragment: &str) -> Self {
        let path = fragment.trim_start_matches('#').trim_start_matches('/');
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let mut names = path.trim_end_matches('/').split('/');
        let place = match (names.next(), names.next(), names.next()) {
            (Some("learn"), None, None) => Place::Learn,
            (Some("learn"), Some(name), None) => Place::Chapter(name.to_owned()),
            (Some("lab"), None, None) => Place::Lab(LabName::LocalExperts),
            (Some("lab"), Some(name), None) => {
                LabName::parse(name).map_or_else(|| Place::Unknown(path.to_owned()), Place::Lab)
            }
            _ => Place::Unknown(path.to_owned()),
        };
        let parameters = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        Self { place, parameters }
    }

    /// The value of `key`; the first one where the key occurs twice.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.parameters.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// The run of a lab that the address asks for.
    pub fn run(&self) -> Run {
        let settings = self.parameters.iter().filter(|(key, _)| !OTHERS.contains(&key.as_str()));
        // A text that is a number is a text.
        let value = |key: &str, value: &str| if key == "text" { Value::from(value) } else { value_of(value) };
        let settings = settings.map(|(key, text)| (key.clone(), value(key, text))).collect();
        let one = |json: &str| parse::<Settings>(json).ok().map(|settings| vec![settings]);
        let some = |json: &str| parse::<Vec<Settings>>(json).ok();
        Run {
            settings,
            beside: self.get("beside").and_then(|json| one(json).or_else(|| some(json))),
            own: self.get("own").map(read_points),
            at: self.get("at").and_then(|at| at.parse().ok()).unwrap_or(0).min(MOST_STEPS),
            changes: self.get("then").and_then(|json| parse(json).ok()).unwrap_or_default(),
            goal: self.get("goal").map(str::to_owned),
            say: self.get("say").map(str::to_owned),
        }
    }
}

impl Run {
    /// The fragment of the lab `name` with this run, `#` included.
    pub fn fragment(&self, name: LabName) -> String {
        let mut query = Serializer::new(String::new());
        for (key, value) in &self.settings {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            query.append_pair(key, &text);
        }
        if let Some(beside) = &self.beside {
            let json = match &beside[..] {
                [one] => serde_json::to_string(one),
                some => serde_json::to_string(some),
            };
            query.append_pair("beside", &json.unwrap_or_default());
        }
        if let Some(own) = &self.own {
            query.append_pair("own", &write_points(own));
        }
        if self.at > 0 {
            query.append_pair("at", &self.at.to_string());
        }
        if !self.changes.is_empty() {
            query.append_pair("then", &serde_json::to_string(&self.changes).unwrap_or_default());
        }
        for (key, text) in [("goal", &self.goal), ("say", &self.say)] {
            if let Some(text) = text {
                query.append_pair(key, text);
            }
        }
        let query = query.finish();
        let mark = if query.is_empty() { "" } else { "?" };
        format!("#/lab/{}{mark}{query}", name.as_str())
    }
}

/// A number, `true` or `false`, else the text.
fn value_of(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(value @ (Value::Number(_) | Value::Bool(_))) => value,
        _ => Value::String(text.to_owned()),
    }
}

/// Points as whole hundredths: `12,-30,1;...`.
fn write_points(points: &[[f32; 3]]) -> String {
    let number = |x: &f32| format!("{}", (x * 100.0).round());
    let point = |p: &[f32; 3]| p.iter().map(number).collect::<Vec<_>>().join(",");
    points.iter().map(point).collect::<Vec<_>>().join(";")
}

/// The most points that a reader can draw.
pub const MOST_POINTS: usize = 2000;

fn read_points(text: &str) -> Vec<[f32; 3]> {
    let point = |text: &str| {
        let mut numbers = text.split(',').map(|x| x.parse::<f32>().ok().filter(|x| x.is_finite()));
        Some([numbers.next()??, numbers.next()??, numbers.next()??].map(|x| x / 100.0))
    };
    text.split(';').filter_map(point).take(MOST_POINTS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read() {
        for (fragment, place) in [
            ("#/learn", Place::Learn),
            ("#/learn/", Place::Learn),
            ("#/learn/mixtral", Place::Chapter("mixtral".into())),
            ("#/lab/router?seed=2", Place::Lab(LabName::Router)),
            ("#/lab", Place::Lab(LabName::LocalExperts)),
            ("#/lab/nothing", Place::Unknown("lab/nothing".into())),
        ] {
            assert_eq!(Address::parse(fragment).place, place, "{fragment}");
        }
    }

    #[test]
    fn a_run_comes_back_from_its_link() {
        let run = Run {
            settings: serde_json::from_str(r#"{"data":"moons","experts":3,"adapt":false,"variance":0.25}"#).unwrap(),
            beside: Some(vec![serde_json::from_str(r#"{"objective":"cooperative"}"#).unwrap()]),
            own: Some(vec![[0.12, -0.3, 1.0], [1.0, 0.0, 0.0]]),
            at: 120,
            changes: vec![Change {
                step: 60,
                settings: serde_json::from_str(r#"{"learning-rate":0.5}"#).unwrap(),
                ..Change::default()
            }],
            goal: Some("loss<0.1".into()),
            say: Some("Make it small & smooth".into()),
        };
        let fragment = run.fragment(LabName::LocalExperts);
        let read = Address::parse(&fragment);
        assert_eq!(read.place, Place::Lab(LabName::LocalExperts));
        assert_eq!(read.run(), run, "{fragment}");
        assert_eq!(Run::default().fragment(LabName::Router), "#/lab/router");
    }

    #[test]
    fn nonsense_is_left_out() {
        let two = Address::parse("#/lab/conditional?beside=[{\"mode\":\"on\"},{}]").run();
        assert_eq!(two.beside.map(|beside| beside.len()), Some(2));
        let run = Address::parse("#/lab/router?at=x&own=1,2;a,b,c;1,2,3&beside=[&then=5").run();
        assert_eq!((run.at, run.own, run.beside), (0, Some(vec![[0.01, 0.02, 0.03]]), None));
        assert!(run.changes.is_empty());
        assert_eq!(Address::parse("#/lab/fine-tune?text=12&seed=12").run().settings["text"], "12");
    }
}
