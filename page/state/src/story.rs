//! Stories: a few steps that set text, model, routing and view, with two sentences and a question each.
//!
//! A story is a file in `www/stories`, so that anyone can write one; docs/stories.md describes it.

use crate::shared::Shared;
use crate::view::{Tab, View};
use crate::{COLOURS, colour_name};
use crate::{ColourBy, Effect, ExpertOf, GameStep, LayerChoice, Picture, SELF, State, Status, changes};
use moescope::routing::Policy;
use moescope_worker::protocol::{Command, Request, Sweep};
use serde::Deserialize;
use std::collections::BTreeMap;

/// A text in several languages, by language code.
pub type Texts = BTreeMap<String, String>;

/// The entry of a story in the list of stories.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Card {
    /// Its name in links; its file is `stories/NAME.json`.
    pub name: String,
    /// Its title.
    pub title: Texts,
    /// The expert whose colour the card has.
    #[serde(default)]
    pub colour: u32,
}

/// A story.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Story {
    /// As in [`Card`].
    pub name: String,
    /// Its title.
    pub title: Texts,
    /// Its steps, at least one.
    pub steps: Vec<Step>,
}

/// A step: the state of the page, and the text about it. A field that is left out has its value at the opening of the
/// page; text and model stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Step {
    /// Two sentences. Figures of the change fill `{layer}`, `{expert}`, `{more}`, `{before}`, `{after}`, `{moved}` and
    /// `{tokens}`.
    pub say: Texts,
    /// A question to the reader.
    pub ask: Texts,
    /// Directory of the model in `models/`.
    pub model: Option<String>,
    /// The text.
    pub text: Option<String>,
    /// The number of times that the text is repeated.
    pub repeat: Option<usize>,
    /// The layer shown: a number, or "all".
    pub layer: Option<LayerName>,
    /// What the strip's colours mean.
    pub colour: Option<String>,
    /// The picture under the strip: "map", "load" or "flow".
    pub picture: Option<String>,
    /// The text to find.
    pub find: String,
    /// The drawer's tab.
    pub tab: Option<String>,
    /// What is changed about the routing (docs/gates.md).
    pub policy: Option<serde_json::Value>,
    /// Whether the policy of the previous step stays.
    pub keep_change: bool,
    /// Whether to switch off the expert whose absence raises the loss most; the page finds it by trying each expert.
    pub without_costliest: bool,
    /// The model to compare with, or "self".
    pub compare: Option<String>,
    /// Whether to replay the training from its first snapshot.
    pub training: bool,
    /// Begin the game against the router.
    pub beat: bool,
    /// The place on the page that is framed: "stage", "strip", "writes", "change", "drawer", "picture", "compare" or
    /// "beat".
    pub frame: Option<String>,
}

/// A layer in a story.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum LayerName {
    /// One layer.
    Number(usize),
    /// The word "all".
    Word(String),
}

/// What a step waits for before it is complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Waiting {
    /// Nothing.
    #[default]
    Nothing,
    /// The routing of the text, after which each expert is tried.
    Text,
    /// The trial of all experts, a request with this number.
    Trial(Request),
    /// The model, to show its training.
    Training,
    /// The text, to begin a game on it.
    Game,
}

/// A story in progress.
#[derive(Clone, Debug, PartialEq)]
pub struct Telling {
    /// The story.
    pub story: Shared<Story>,
    /// The step shown.
    pub step: usize,
    /// What the step waits for.
    pub waiting: Waiting,
}

impl Telling {
    /// The step shown.
    pub fn step(&self) -> &Step {
        &self.story.steps[self.step]
    }
}

impl State {
    pub(crate) fn open_story(&mut self, name: Option<String>) -> Vec<Effect> {
        self.story.clone_from(&name);
        match name {
            Some(name) => vec![Effect::FetchStory(name)],
            None if self.telling.take().is_some() => {
                self.compare = None;
                self.game = None;
                self.leave_past();
                if self.changes.asked == Policy::default() { Vec::new() } else { self.set_policy(Policy::default()) }
            }
            None => Vec::new(),
        }
    }

    pub(crate) fn begin_story(&mut self, story: Story) -> Vec<Effect> {
        // A story that arrives after another one was chosen is ignored.
        if story.steps.is_empty() || self.story.as_deref() != Some(story.name.as_str()) {
            return Vec::new();
        }
        self.telling = Some(Telling { story: Shared::new(story), step: 0, waiting: Waiting::Nothing });
        self.go_to_step(0)
    }

    pub(crate) fn go_to_step(&mut self, number: usize) -> Vec<Effect> {
        let Some(telling) = self.telling.as_mut().filter(|telling| number < telling.story.steps.len()) else {
            return Vec::new();
        };
        // The change that a step keeps may not have been found yet.
        let is_sought = matches!(telling.waiting, Waiting::Text | Waiting::Trial(_));
        telling.step = number;
        let step = telling.step().clone();
        telling.waiting = match () {
            () if step.without_costliest || step.keep_change && is_sought => Waiting::Text,
            () if step.training => Waiting::Training,
            () if step.beat => Waiting::Game,
            () => Waiting::Nothing,
        };
        // What the step opens comes into view once it is there; the rest is there.
        self.place_asked = ["compare", "picture"].into_iter().find(|place| step.frame.as_deref() == Some(place));
        self.leave_past();
        self.clear_selection();
        self.game = None;
        self.show_step(&step);
        let policy =
            step.policy.as_ref().and_then(|policy| Policy::parse(&policy.to_string()).ok()).unwrap_or_default();
        let policy = if step.keep_change { self.changes.asked.clone() } else { policy };
        let text = step.text.as_ref().map(|text| text.repeat(step.repeat.unwrap_or(1)));
        let text = text.filter(|text| **text != *self.text);
        let mut effects = Vec::new();
        let is_new = text.is_some();
        if let Some(text) = text {
            self.text_before = Some(self.text.clone());
            self.text = Shared::new(text);
            effects.push(Effect::ShowText);
        }
        if let Some(model) = step.model.filter(|model| self.model_asked.as_ref() != Some(model)) {
            self.changes.asked = policy;
            effects.push(Effect::LoadShipped(model));
            return effects;
        }
        if is_new {
            effects.extend(self.route());
        }
        if policy != self.changes.asked {
            effects.extend(self.set_policy(policy));
        }
        effects
    }

    fn show_step(&mut self, step: &Step) {
        let tab = step.tab.as_deref().and_then(Tab::named).unwrap_or_default();
        self.view =
            View { tab, present: self.view.present, embed: std::mem::take(&mut self.view.embed), ..View::default() };
        self.picture = match step.picture.as_deref() {
            Some("load") => Picture::Load,
            Some("flow") => Picture::Flow,
            _ => Picture::Map,
        };
        let colour = |name: &str| COLOURS.into_iter().find(|colour| colour_name(*colour) == name);
        self.colour_by = step.colour.as_deref().and_then(colour).unwrap_or(ColourBy::Expert);
        self.search.clone_from(&step.find);
        self.compare = step.compare.clone().filter(|with| with == SELF || self.offered.iter().any(|o| o.name == *with));
        self.compare_policy = Policy::default();
        let middle = self.model.as_ref().map(|model| LayerChoice::One(model.layers / 2));
        let layer = match &step.layer {
            Some(LayerName::Number(number)) => Some(LayerChoice::One(*number)),
            Some(LayerName::Word(word)) if word == "all" => Some(LayerChoice::All),
            _ => None,
        };
        self.layer_asked = layer;
        if let Some(layer) = layer.or(middle) {
            self.layer = layer;
        }
        self.search();
    }

    /// Continues the step, if what it waited for is there.
    pub(crate) fn go_on_telling(&mut self) -> Vec<Effect> {
        let Some(telling) = &self.telling else { return Vec::new() };
        let ready = self.status() == Status::Ready && self.trace.len() > 1;
        let is_its_model = telling.step().model.is_none() || telling.step().model == self.model_asked;
        match telling.waiting {
            Waiting::Text if ready && is_its_model && !self.changes.are_on() => {
                let request = self.next_request();
                self.changes.sweep(request);
                self.wait_for(Waiting::Trial(request));
                vec![Effect::Send(Command::Sweep { request, sweep: Sweep::Ablation })]
            }
            Waiting::Game if ready && is_its_model && !self.changes.are_on() => {
                self.wait_for(Waiting::Nothing);
                self.play(GameStep::Begin)
            }
            Waiting::Trial(request) => self.switch_costliest_off(request),
            Waiting::Training if ready && is_its_model && self.can_watch() => {
                self.wait_for(Waiting::Nothing);
                self.watch()
            }
            _ => Vec::new(),
        }
    }

    fn switch_costliest_off(&mut self, request: Request) -> Vec<Effect> {
        let sweep = self.changes.sweep.as_ref().filter(|sweep| sweep.request == request);
        let Some(sweep) = sweep else {
            // Another run took its place, perhaps with another text: the trial starts again.
            self.wait_for(Waiting::Text);
            return Vec::new();
        };
        if sweep.running {
            return Vec::new();
        }
        let costliest = sweep.ablated.iter().max_by(|a, b| a.bits_per_byte.total_cmp(&b.bits_per_byte)).copied();
        self.wait_for(Waiting::Nothing);
        let Some(costliest) = costliest else { return Vec::new() };
        self.layer = LayerChoice::One(costliest.layer);
        let policy = changes::toggled(&Policy::default(), Some(costliest.layer), costliest.expert, true);
        self.set_policy(policy)
    }

    fn wait_for(&mut self, waiting: Waiting) {
        if let Some(telling) = &mut self.telling {
            telling.waiting = waiting;
        }
    }
}

/// The expert that a policy switches off, if it is a single expert of a single layer.
pub fn expert_off(policy: &Policy) -> Option<ExpertOf> {
    let [rule] = policy.0.as_slice() else { return None };
    match (rule.layers.as_deref(), rule.off.as_slice(), rule.tokens) {
        (Some([layer]), [expert], None) => Some(ExpertOf { layer: *layer, expert: *expert }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Action;
    use crate::address::Address;

    fn told(json: &str) -> (State, Vec<Effect>) {
        let mut state = State::new(&Address::default(), false, None);
        state.apply(Action::Story(Some("test".into())));
        let story = serde_json::from_str(json).expect("a story");
        let effects = state.apply(Action::StoryCame(Box::new(story)));
        (state, effects)
    }

    const STORY: &str = r#"{"name": "test", "title": {"en": "Test"}, "steps": [
        {"say": {"en": "One."}, "ask": {"en": "Why?"}, "text": "ab ", "repeat": 3, "tab": "balance", "layer": "all"},
        {"say": {"en": "Two."}, "ask": {"en": "How?"}, "model": "switch", "policy": {"top_k": 1}}]}"#;

    #[test]
    fn a_step_sets_text_and_view() {
        let (state, effects) = told(STORY);
        assert_eq!(&**state.text, "ab ab ab ");
        assert_eq!((state.view.tab, state.layer), (Tab::Balance, LayerChoice::All));
        assert!(matches!(effects.as_slice(), [Effect::ShowText]), "no model is here to run it yet");
    }

    #[test]
    fn a_step_loads_its_model_and_what_it_leaves_out_is_as_at_the_opening() {
        let (mut state, _) = told(STORY);
        let effects = state.apply(Action::StoryStep(1));
        assert!(matches!(effects.as_slice(), [Effect::LoadShipped(name)] if name == "switch"));
        assert_eq!(state.view.tab, Tab::Token);
        assert_eq!(state.changes.asked, Policy::parse(r#"{"top_k":1}"#).expect("a policy"));
        assert_eq!(&**state.text, "ab ab ab ", "the text stays");
    }

    #[test]
    fn a_change_that_is_still_sought_is_sought_in_the_step_that_keeps_it() {
        let (mut state, _) = told(
            r#"{"name": "test", "title": {"en": "Test"}, "steps": [
            {"say": {"en": "One."}, "ask": {"en": "Why?"}},
            {"say": {"en": "Two."}, "ask": {"en": "How?"}, "without_costliest": true},
            {"say": {"en": "Three."}, "ask": {"en": "So?"}, "keep_change": true}]}"#,
        );
        let waiting = |state: &State| state.telling.as_ref().map(|telling| telling.waiting);
        state.apply(Action::StoryStep(2));
        assert_eq!(waiting(&state), Some(Waiting::Nothing), "nothing is sought");
        state.apply(Action::StoryStep(1));
        state.apply(Action::StoryStep(2));
        assert_eq!(waiting(&state), Some(Waiting::Text), "the expert of the step before is not found yet");
    }

    #[test]
    fn beyond_the_last_step_nothing_happens() {
        let (mut state, _) = told(STORY);
        assert!(state.apply(Action::StoryStep(2)).is_empty());
        assert_eq!(state.telling.expect("it is told").step, 0);
    }

    #[test]
    fn a_story_that_nobody_waits_for_is_not_told() {
        let mut state = State::new(&Address::default(), false, None);
        let story = serde_json::from_str(STORY).expect("a story");
        assert!(state.apply(Action::StoryCame(Box::new(story))).is_empty());
        assert!(state.telling.is_none());
    }

    #[test]
    fn the_end_of_a_story_puts_the_routing_back() {
        let (mut state, _) = told(STORY);
        state.apply(Action::StoryStep(1));
        state.apply(Action::Story(None));
        assert!(state.telling.is_none() && state.story.is_none());
        assert_eq!(state.changes.asked, Policy::default());
    }

    #[test]
    fn one_expert_off_is_told_from_other_changes() {
        let off = |json| expert_off(&Policy::parse(json).expect("a policy"));
        assert_eq!(off(r#"[{"layers":[3],"off":[2]}]"#), Some(ExpertOf { layer: 3, expert: 2 }));
        assert_eq!(off(r#"{"off":[2]}"#), None);
        assert_eq!(off(r#"[{"layers":[3],"off":[2,5]}]"#), None);
        assert_eq!(off("null"), None);
    }
}
