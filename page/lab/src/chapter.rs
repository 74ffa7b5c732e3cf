//! A chapter, as `www/chapters/NAME.json` holds it (docs/learn.md).

use crate::protocol::{LabName, Settings};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// A text in every language, by its code.
pub type Texts = BTreeMap<String, String>;

/// An entry of the list of chapters.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// The name in addresses.
    pub name: String,
    /// Its place, from 0.
    pub number: u32,
    /// The title.
    pub title: Texts,
    /// What it claims.
    pub claim: Texts,
    /// The lab that belongs to it.
    #[serde(default)]
    pub lab: Option<LabName>,
}

/// A chapter.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chapter {
    /// The name in addresses.
    pub name: String,
    /// Its place, from 0.
    pub number: u32,
    /// The title.
    pub title: Texts,
    /// Its claim, in one sentence.
    pub claim: Texts,
    /// The picture beside the text.
    pub picture: Picture,
    /// The paragraphs.
    pub body: Vec<Paragraph>,
    /// What to try.
    #[serde(rename = "try")]
    pub tries: Vec<Try>,
    /// A question to the reader.
    pub question: Question,
    /// Its sources.
    pub sources: Vec<Source>,
    /// The address of Explore, from `?` on, that shows it on a model.
    pub explore: String,
    /// The lab that belongs to it.
    #[serde(default)]
    pub lab: Option<LabName>,
}

/// The picture of a chapter. A paragraph may change any of its options.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Picture {
    /// A running lab.
    Lab {
        /// Which.
        lab: LabName,
        /// Its settings.
        #[serde(default)]
        settings: Settings,
        /// What differs in each further run.
        #[serde(default)]
        beside: Vec<Settings>,
        /// The controls that are shown; all where there are none.
        #[serde(default)]
        controls: Vec<String>,
    },
    /// A sentence, routed by the main model.
    Sentence {
        /// The layer shown.
        layer: usize,
        /// The token chosen.
        token: usize,
    },
    /// Training loss over the computation spent.
    Curves {
        /// The models.
        models: Vec<String>,
        /// The loss at which they are compared, in nats per token.
        level: f64,
    },
    /// Experts' loads while models trained.
    Load {
        /// The models.
        models: Vec<String>,
        /// The layer.
        layer: usize,
        /// Which recorded step, from 0.
        snapshot: usize,
    },
    /// Which kinds of text a model's experts read.
    Domains {
        /// The model.
        model: String,
        /// The layer.
        layer: usize,
    },
    /// How many tokens a model drops in each layer.
    Dropped {
        /// The model.
        model: String,
    },
    /// The parameters of Mixtral, part by part.
    Mixtral {
        /// Experts of a layer.
        experts: u64,
        /// Experts that a token uses.
        #[serde(rename = "top-k")]
        top_k: u64,
    },
}

/// A paragraph.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Paragraph {
    /// The text, with places and the markup of [`crate::markup`].
    pub say: Texts,
    /// The options of the picture that it changes.
    #[serde(default)]
    pub show: Option<Settings>,
}

/// What to try.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Try {
    /// What to do.
    #[serde(rename = "do")]
    pub task: Texts,
    /// The expected observation.
    pub see: Texts,
    /// The condition for having seen it, in the syntax of [`crate::goal`].
    #[serde(default)]
    pub goal: Option<String>,
}

/// A question whose answer is computed.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The question.
    pub ask: Texts,
    /// The answer; its places are figures of the picture.
    pub answer: Texts,
    /// The condition for showing the answer, in the syntax of [`crate::goal`].
    #[serde(default)]
    pub after: Option<String>,
}

/// A source.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Authors, year, title.
    pub title: String,
    /// Its address.
    pub address: String,
}

impl Chapter {
    /// The picture at paragraph `at`: the chapter's, changed by what this paragraph shows.
    ///
    /// # Errors
    /// The paragraph's options are none of the picture.
    pub fn picture_at(&self, at: usize) -> Result<Picture, String> {
        let Some(show) = self.body.get(at).and_then(|paragraph| paragraph.show.as_ref()) else {
            return Ok(self.picture.clone());
        };
        let mut picture = self.picture.clone();
        for (key, value) in show {
            picture.change(key, value)?;
        }
        Ok(picture)
    }
}

impl Picture {
    fn change(&mut self, key: &str, value: &Value) -> Result<(), String> {
        fn put<T: serde::de::DeserializeOwned>(place: &mut T, value: &Value) -> Result<(), String> {
            *place = serde_json::from_value(value.clone()).map_err(|error| error.to_string())?;
            Ok(())
        }
        match (self, key) {
            (Self::Lab { settings, .. }, "settings") => put(settings, value),
            (Self::Lab { beside, .. }, "beside") => put(beside, value),
            (Self::Sentence { layer, .. } | Self::Load { layer, .. } | Self::Domains { layer, .. }, "layer") => {
                put(layer, value)
            }
            (Self::Sentence { token, .. }, "token") => put(token, value),
            (Self::Curves { models, .. } | Self::Load { models, .. }, "models") => put(models, value),
            (Self::Curves { level, .. }, "level") => put(level, value),
            (Self::Load { snapshot, .. }, "snapshot") => put(snapshot, value),
            (Self::Domains { model, .. } | Self::Dropped { model }, "model") => put(model, value),
            (Self::Mixtral { experts, .. }, "experts") => put(experts, value),
            (Self::Mixtral { top_k, .. }, "top-k") => put(top_k, value),
            (_, key) => Err(format!("the picture has no option {key}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::goal::Goal;
    use std::path::PathBuf;

    fn read<T: serde::de::DeserializeOwned>(name: &str) -> T {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../www/chapters").join(name);
        let json = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_str(&json).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn chapters() -> Vec<Chapter> {
        let cards: Vec<Card> = read("index.json");
        cards.iter().map(|card| read(&format!("{}.json", card.name))).collect()
    }

    #[test]
    fn there_are_fourteen_chapters_and_the_list_agrees() {
        let cards: Vec<Card> = read("index.json");
        assert_eq!(cards.len(), 14);
        for (number, (card, chapter)) in cards.iter().zip(chapters()).enumerate() {
            assert_eq!((card.number, chapter.number), (number as u32, number as u32));
            assert_eq!((&card.name, &card.title, &card.claim), (&chapter.name, &chapter.title, &chapter.claim));
            assert_eq!(card.lab, chapter.lab, "{}", card.name);
        }
    }

    #[test]
    fn every_text_is_in_both_languages_with_the_same_places() {
        for chapter in chapters() {
            let body = chapter.body.iter().map(|paragraph| &paragraph.say);
            let tries = chapter.tries.iter().flat_map(|one| [&one.task, &one.see]);
            let question = [&chapter.question.ask, &chapter.question.answer];
            for texts in [&chapter.title, &chapter.claim].into_iter().chain(body).chain(tries).chain(question) {
                let places = |language: &str| {
                    let text = texts.get(language).unwrap_or_else(|| panic!("{}: no {language}", chapter.name));
                    let mut places: Vec<&str> =
                        text.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0)).collect();
                    places.sort_unstable();
                    places.dedup();
                    places
                };
                assert_eq!(places("en"), places("zh"), "{}: {}", chapter.name, texts["en"]);
            }
        }
    }

    #[test]
    fn pictures_change_as_paragraphs_say_and_goals_can_be_read() {
        for chapter in chapters() {
            for at in 0..chapter.body.len() {
                chapter.picture_at(at).unwrap_or_else(|error| panic!("{}, paragraph {at}: {error}", chapter.name));
            }
            let goals = chapter.tries.iter().filter_map(|one| one.goal.as_ref()).chain(&chapter.question.after);
            for goal in goals {
                Goal::parse(goal).unwrap_or_else(|part| panic!("{}: {part} is no comparison", chapter.name));
            }
            assert!(chapter.explore.starts_with('?') && !chapter.sources.is_empty(), "{}", chapter.name);
        }
    }
}
