//! The page's data and how it changes: an [`Action`] changes the [`State`] and asks for [`Effect`]s. Nothing here uses
//! a browser API; the page's `app.rs` carries out the effects.

mod action;
pub mod address;
pub mod anatomy;
pub mod attention;
pub mod beat;
pub mod changes;
pub mod curves;
pub mod death;
pub mod example;
mod growing;
mod hearing;
pub mod history;
pub mod message_keys;
pub mod openings;
pub mod phrase;
pub mod route;
pub mod run;
pub mod shared;
pub mod story;
pub mod told;
pub mod training_snapshot;
pub mod view;
pub mod writes;

pub use action::{Action, Effect, GameStep};

use crate::address::Address;
use crate::beat::Game;
use crate::changes::Changes;
use crate::curves::Curves;
use crate::death::Death;
use crate::example::Example;
use crate::growing::Growing;
use crate::history::{History, Place};
use crate::openings::Openings;
use crate::phrase::{Phrase, phrase};
use crate::shared::Shared;
use crate::story::{Card, Telling};
use crate::training_snapshot::{Moment, Past, RECORDING};
use crate::view::{Tab, View};
use crate::writes::Writes;
use moescope::engine::cpu::pool::PoolFigures;
use moescope::model::ModelInfo;
use moescope::routing::analytics::find;
use moescope::routing::dossier::Dossier;
use moescope::routing::lens::LayerLens;
use moescope::routing::{Limit, Policy, Recording, Trace};
use moescope_worker::protocol::{
    BackendChoice, Command, Opening, Overflow, Profile, Request, Sampling, Source, Speed, Timed,
};
use std::collections::VecDeque;

/// The speed of a run with fewer tokens is not shown.
const TOKENS_TO_MEASURE: usize = 4;

/// The file of a model's dossiers.
pub const DOSSIER: &str = "experts.json";
/// The file of a model's training curves.
pub const CURVES: &str = "curves.json";

/// In the place of a second model's name: the model in use, for comparing policies.
pub const SELF: &str = "self";

/// The layer or layers that the views show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerChoice {
    /// One layer, by its number.
    One(usize),
    /// All layers.
    All,
}

/// What the picture under the tokens shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Picture {
    /// The routing map: layers by tokens.
    #[default]
    Map,
    /// The load: layers by experts.
    Load,
    /// The flow from expert to expert through the layers.
    Flow,
}

/// The meaning of a token's colour in the strip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ColourBy {
    /// The expert with the largest weight.
    #[default]
    Expert,
    /// The weight of that expert.
    Weight,
    /// How unsure the router was.
    Entropy,
    /// How little the model expected the token (the loss).
    Surprise,
    /// The kind of text that the chosen experts suggest.
    Domain,
}

/// All meanings.
pub const COLOURS: [ColourBy; 5] =
    [ColourBy::Expert, ColourBy::Weight, ColourBy::Entropy, ColourBy::Surprise, ColourBy::Domain];

/// The name in links and in message keys.
pub fn colour_name(colour_by: ColourBy) -> &'static str {
    match colour_by {
        ColourBy::Expert => "expert",
        ColourBy::Weight => "weight",
        ColourBy::Entropy => "entropy",
        ColourBy::Surprise => "surprise",
        ColourBy::Domain => "domain",
    }
}

/// One expert of one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpertOf {
    /// The layer's number.
    pub layer: usize,
    /// The expert's.
    pub expert: u32,
}

/// The values of `body[data-state]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// No model is loaded yet, or another one is being loaded.
    Loading,
    /// The last run is complete.
    Ready,
    /// A run is in progress.
    Running,
    /// There was an error, which the page shows.
    Error,
}

impl Status {
    /// The value of the attribute.
    pub fn name(self) -> &'static str {
        match self {
            Self::Loading => "loading",
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Error => "error",
        }
    }
}

/// A model that `models/index.json` offers.
#[derive(Clone, Debug, Default, PartialEq, serde::Deserialize)]
pub struct Offered {
    /// Directory in `models/`.
    pub name: String,
    /// One line about it.
    #[serde(default)]
    pub about: String,
    /// Its files besides the model itself, for example "experts.json".
    #[serde(default)]
    pub files: Vec<String>,
    /// Bytes of its weights; 0 where that is not known.
    #[serde(default)]
    pub bytes: u64,
    /// The shares of the experts of its middle layer over held-out text.
    #[serde(default)]
    pub loads: Vec<f32>,
    /// A text that shows what is special about it.
    #[serde(default)]
    pub opening: Option<String>,
}

/// Progress of a long piece of work.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// What is being done.
    pub what: String,
    /// Bytes done.
    pub done: u64,
    /// Bytes in all.
    pub total: Option<u64>,
}

/// A generation in progress.
#[derive(Clone, Debug, PartialEq)]
struct Generating {
    /// The text before the generation.
    before: String,
    /// Number of tokens of that text.
    tokens: usize,
}

/// The page's data.
pub struct State {
    /// The contents of the text box.
    pub text: Shared<String>,
    /// The text before an example or a generation replaced it.
    pub text_before: Option<Shared<String>>,
    /// The trace of the text so far.
    pub trace: Shared<Trace>,
    /// The part of the trace that the views show: all of it, or its beginning during playback.
    pub shown: Shared<Trace>,
    /// During playback, the number of tokens that are shown.
    pub played: Option<usize>,
    /// The model in use.
    pub model: Option<Shared<ModelInfo>>,
    /// Whether it is used only until the one that was asked for has arrived.
    pub stands_in: bool,
    /// The dossiers of its experts, where the model has them.
    pub dossier: Option<Shared<Dossier>>,
    /// Its training curves, where the model has them.
    pub curves: Option<Shared<Curves>>,
    /// The recording of its training, once it was fetched.
    pub recording: Option<Shared<Recording>>,
    /// The training snapshot that is shown instead of the finished model.
    pub past: Option<Past>,
    /// The visitor's changes to the routing.
    pub changes: Changes,
    /// The history of views.
    pub history: History,
    /// The models that the site has.
    pub offered: Shared<Vec<Offered>>,
    /// Example texts.
    pub examples: Shared<Vec<Example>>,
    /// The text that the visitor left here last time.
    pub kept_text: Option<Shared<String>>,
    /// The layer shown.
    pub layer: LayerChoice,
    /// The picture shown.
    pub picture: Picture,
    /// The meaning of the strip's colours.
    pub colour_by: ColourBy,
    /// What each layer did to the chosen token, once it was computed.
    pub look: Option<Shared<Vec<LayerLens>>>,
    /// The text to find.
    pub search: String,
    /// The other end of the range of tokens that begins at the chosen one.
    pub range_end: Option<usize>,
    /// Which of the shown tokens are in the range; without a range, which contain the text to find. Empty where there
    /// is neither.
    pub found: Shared<Vec<bool>>,
    /// The token under the pointer.
    pub hovered: Option<usize>,
    /// The token chosen by click or keyboard.
    pub pinned: Option<usize>,
    /// The chosen expert.
    pub expert: Option<ExpertOf>,
    /// The state of drawer and stage.
    pub view: View,
    /// The continuations of the text, with the visitor's changes and without.
    pub writes: Option<Shared<Writes>>,
    /// The stories that the site has.
    pub stories: Shared<Vec<Card>>,
    /// The story in progress.
    pub telling: Option<Telling>,
    /// The game against the router.
    pub game: Option<Shared<Game>>,
    /// Name or address of the model that this one is compared with.
    pub compare: Option<String>,
    /// The policy of the second side.
    pub compare_policy: Policy,
    /// How to generate.
    pub sampling: Sampling,
    /// How many tokens to generate.
    pub tokens: usize,
    /// Whether the theme is dark.
    pub dark: bool,
    /// The chosen backend.
    pub backend: BackendChoice,
    /// Name or address of the chosen model, as a link has it.
    pub model_asked: Option<String>,
    /// The name of the chosen story.
    pub story: Option<String>,
    /// Number of models being loaded; only the last one will be used.
    pub loading: usize,
    /// Progress of the load.
    pub progress: Option<Progress>,
    /// The error that is shown.
    pub problem: Option<Phrase>,
    /// Notes that are shown, one line each.
    pub notes: Vec<Phrase>,
    /// The first token that changed in the last run, or in the last step of a generation or playback.
    pub changed_at: usize,
    /// Number of tokens of the text in the current run.
    pub total: usize,
    /// Where the text exceeded the context.
    pub overflow: Option<Overflow>,
    /// Speed of the last run that was long enough to measure.
    pub speed: Option<Speed>,
    /// How long the GPU's kernels take, once that was measured.
    pub profile: Option<Shared<Profile>>,
    /// What is known about opening models.
    pub openings: Openings,
    /// What was asked of the pool of experts, where experts are read on demand.
    pub pool: Option<PoolFigures>,
    /// What both engines took for the first text, where they were timed.
    pub timed: Option<Timed>,
    /// The source of the chosen model, to load it again on another backend.
    source: Option<Source>,
    /// Source and name of the model in use.
    in_use: Option<(Source, Option<String>)>,
    /// Sources and names of the loads that have not been answered, in order.
    loads: VecDeque<(Source, Option<String>)>,
    /// The policy under which both continuations were shown last.
    written_under: Option<Policy>,
    /// The older traces of `trace`, and of the trace without the visitor's changes.
    growing: [Growing; 2],
    generation: u64,
    running: bool,
    failed: bool,
    generating: Option<Generating>,
    /// The run to which `changed_at` belongs.
    changed_in: u64,
    /// The inspected token, and the run to which it belongs.
    looked_at: Option<(usize, u64)>,
    look_request: Request,
    profile_request: Request,
    /// Requests that were sent.
    requests: u64,
    /// The layer in the link, until a model is loaded that has it or not.
    layer_asked: Option<LayerChoice>,
    /// Whether the link asks for nothing but a text and a language, so that any model can answer it.
    is_plain: bool,
    /// The training step in the link, and the one to compare with.
    step_asked: Option<(u64, Option<u64>)>,
    /// The recorded text in the link.
    recorded_asked: Option<String>,
    /// Whether the link has a token.
    token_asked: bool,
    /// The place on the page that the link is about, until it has been shown.
    place_asked: Option<&'static str>,
}

impl State {
    /// The state when the page opens.
    pub fn new(address: &Address, dark: bool, kept_text: Option<String>) -> Self {
        Self {
            text: Shared::new(address.text.clone().unwrap_or_default()),
            text_before: None,
            trace: Shared::default(),
            shown: Shared::default(),
            played: None,
            model: None,
            stands_in: false,
            dossier: None,
            curves: None,
            recording: None,
            past: None,
            changes: Changes { asked: address.policy.clone().unwrap_or_default(), ..Changes::default() },
            history: History::default(),
            offered: Shared::default(),
            examples: Shared::default(),
            kept_text: kept_text.map(Shared::new),
            layer: address.layer.unwrap_or(LayerChoice::One(0)),
            picture: address.picture.unwrap_or_default(),
            colour_by: address.colour_by.unwrap_or_default(),
            look: None,
            search: address.search.clone().unwrap_or_default(),
            range_end: address.range_end.filter(|_| address.token.is_some()),
            found: Shared::default(),
            hovered: None,
            pinned: address.token,
            expert: address.expert,
            // The drawer shows the chosen expert.
            view: View {
                tab: address.tab.unwrap_or(if address.expert.is_some() { Tab::Expert } else { Tab::Token }),
                present: address.present,
                embed: address.embed.clone(),
                ..View::default()
            },
            writes: None,
            stories: Shared::default(),
            telling: None,
            game: None,
            compare: address.compare.clone(),
            compare_policy: address.compare_policy.clone().unwrap_or_default(),
            sampling: Sampling::default(),
            tokens: 64,
            dark,
            backend: address.backend.unwrap_or_default(),
            model_asked: address.model.clone(),
            story: address.story.clone(),
            loading: 0,
            progress: None,
            problem: None,
            notes: Vec::new(),
            changed_at: 0,
            total: 0,
            overflow: None,
            speed: None,
            profile: None,
            openings: Openings::default(),
            pool: None,
            timed: None,
            source: None,
            in_use: None,
            loads: VecDeque::new(),
            written_under: None,
            growing: Default::default(),
            generation: 0,
            running: false,
            failed: false,
            generating: None,
            changed_in: 0,
            looked_at: None,
            look_request: Request::default(),
            profile_request: Request::default(),
            requests: 0,
            layer_asked: address.layer,
            is_plain: address.is_plain(),
            step_asked: address.step.map(|step| (step, address.beside)),
            recorded_asked: address.recorded.clone(),
            token_asked: address.token.is_some(),
            place_asked: match address {
                // A story says itself what it is about; a frame and a projector have few places.
                Address { story: Some(_), .. } | Address { present: true, .. } => None,
                Address { embed, .. } if !embed.is_empty() => None,
                Address { compare: Some(_), .. } | Address { beside: Some(_), .. } => Some("compare"),
                Address { picture: Some(_), .. } => Some("picture"),
                _ => None,
            },
        }
    }

    /// The value of `body[data-state]`.
    pub fn status(&self) -> Status {
        if self.failed && self.problem.is_some() && !self.running {
            Status::Error
        } else if self.loading > 0 || self.model.is_none() {
            Status::Loading
        } else if self.running {
            Status::Running
        } else {
            Status::Ready
        }
    }

    /// Whether text is being generated.
    pub fn is_generating(&self) -> bool {
        self.generating.is_some()
    }

    /// The token that the inspector shows: the one under the pointer, else the chosen one, else the newest.
    pub fn inspected(&self) -> Option<usize> {
        let last = self.shown.len().checked_sub(1)?;
        Some(self.hovered.filter(|&p| p <= last).or(self.pinned.filter(|&p| p <= last)).unwrap_or(last))
    }

    /// Whether the inspector shows the chosen token.
    pub fn shows_pinned(&self) -> bool {
        self.pinned.is_some() && self.pinned == self.inspected()
    }

    /// The expert that the inspector shows: the chosen one, else the first expert of the inspected token in the layer
    /// shown (in the last layer where all are shown).
    pub fn inspected_expert(&self) -> Option<ExpertOf> {
        if self.expert.is_some() {
            return self.expert;
        }
        let layer = match self.layer {
            LayerChoice::One(number) => self.shown.layer(number)?,
            LayerChoice::All => self.shown.layers.last()?,
        };
        let expert = *layer.selected_of(self.inspected()?).first()?;
        Some(ExpertOf { layer: layer.layer, expert })
    }

    /// The expert whose tokens are marked: the one under the pointer, else the chosen one.
    pub fn marked_expert(&self) -> Option<ExpertOf> {
        self.view.pointed.or(self.expert)
    }

    /// The layer that is open on the stage: the layer shown, else the last routed layer.
    pub fn open_layer(&self) -> usize {
        match self.layer {
            LayerChoice::One(layer) => layer,
            LayerChoice::All => self.shown.layers.last().map_or(0, |layer| layer.layer),
        }
    }

    /// The trace of the text, or of the recorded text at a training snapshot.
    pub fn whole(&self) -> &Shared<Trace> {
        self.past.as_ref().map_or(&self.trace, |past| &past.trace)
    }

    /// Number of tokens of the text that have not been routed yet.
    pub fn to_come(&self) -> usize {
        let routing = self.running && self.past.is_none();
        if routing { self.total.saturating_sub(self.trace.len()) } else { 0 }
    }

    /// Whether the model has a recording of its training.
    pub fn can_watch(&self) -> bool {
        self.offered_model().is_some_and(|offered| offered.files.iter().any(|file| file == RECORDING))
    }

    /// The entry of the model in use in the list of models.
    pub fn offered_model(&self) -> Option<&Offered> {
        self.offered.iter().find(|offered| Some(&offered.name) == self.model_asked.as_ref())
    }

    /// Cuts the shown trace to the tokens that were played.
    fn show_played(&mut self) {
        self.shown = self.whole().clone();
        if let Some(tokens) = self.played {
            self.shown.change(|trace| trace.truncate(tokens));
            self.changed_at = tokens.saturating_sub(1);
        }
        self.search();
    }

    fn search(&mut self) {
        let mut found = match self.search.is_empty() && self.range_end.is_none() {
            true => Vec::new(),
            false => find(&self.shown, &self.search),
        };
        if let (Some(start), Some(end)) = (self.pinned, self.range_end) {
            let (first, last) = (start.min(end), start.max(end));
            found.fill(false);
            found.iter_mut().take(last + 1).skip(first).for_each(|token| *token = true);
        }
        if *self.found != found {
            self.found = Shared::new(found);
        }
    }

    /// Changes the state by `action`.
    pub fn apply(&mut self, action: Action) -> Vec<Effect> {
        let old = action.goes_somewhere().then(|| self.place());
        let mut effects = self.change(action);
        if let Some(old) = old {
            let new = self.place();
            if old != new && old.model.is_some() {
                self.history.went(old, &new);
            }
        }
        effects.extend(self.reveal_asked());
        effects.extend(self.look_inside());
        effects.extend(self.go_on_telling());
        effects.extend(self.write_both());
        effects
    }

    /// The source of the model in use.
    pub fn own_source(&self) -> Option<Source> {
        self.in_use.as_ref().map(|(source, _)| source.clone())
    }

    /// The experts that the visitor has switched off.
    pub fn experts_off(&self) -> Vec<ExpertOf> {
        let Some(model) = self.model.as_ref().filter(|_| self.changes.are_on() && self.past.is_none()) else {
            return Vec::new();
        };
        let all =
            (0..model.layers).flat_map(|layer| (0..model.experts as u32).map(move |expert| ExpertOf { layer, expert }));
        all.filter(|expert| changes::is_off(&self.changes.in_use, expert.layer, expert.expert)).collect()
    }

    /// The capacity of the experts of the layer shown.
    pub fn limit(&self) -> Option<Limit> {
        let (LayerChoice::One(layer), model, None) = (self.layer, self.model.as_ref()?, &self.past) else {
            return None;
        };
        if self.changes.are_on() {
            return self.changes.limits.get(layer).copied()?;
        }
        model.capacity.map(|most| Limit::own(most, model.context))
    }

    /// The current view.
    fn place(&self) -> Place {
        Place {
            model: self.source.clone().map(|source| (source, self.model_asked.clone())),
            layer: self.layer,
            picture: self.picture,
            colour_by: self.colour_by,
            pinned: self.pinned,
            range_end: self.range_end,
            search: self.search.clone(),
            expert: self.expert,
            compare: self.compare.clone(),
            compare_policy: self.compare_policy.clone(),
            past: self.past.as_ref().map(|past| past.moment),
            policy: self.changes.asked.clone(),
        }
    }

    fn go_to(&mut self, place: Place) -> Vec<Effect> {
        let here = self.place();
        self.layer = place.layer;
        self.picture = place.picture;
        self.colour_by = place.colour_by;
        self.pinned = place.pinned;
        self.range_end = place.range_end;
        self.search = place.search;
        self.expert = place.expert;
        self.compare = place.compare;
        self.compare_policy = place.compare_policy;
        self.recall(place.past);
        match place.model {
            Some((source, asked)) if here.model.as_ref() != Some(&(source.clone(), asked.clone())) => {
                self.changes.asked = place.policy;
                self.change(Action::Load { source, asked })
            }
            _ if here.policy != place.policy => self.change(Action::Policy(place.policy)),
            _ => Vec::new(),
        }
    }

    /// Shows a training snapshot, or the text again.
    fn recall(&mut self, moment: Option<Moment>) {
        let recording = self.recording.clone();
        self.past = moment.zip(recording).map(|(moment, recording)| Past::new(&recording, moment));
        self.played = None;
        let changed_at = self.changed_at;
        self.show_played();
        self.changed_at = changed_at;
    }

    /// Changes which training snapshot is shown.
    fn move_past(&mut self, change: impl FnOnce(&mut Moment)) {
        if let Some(mut moment) = self.past.as_ref().map(|past| past.moment) {
            change(&mut moment);
            self.recall(Some(moment));
        }
    }

    /// Clears the selection, which belongs to another text.
    fn clear_selection(&mut self) {
        self.hovered = None;
        self.pinned = None;
        self.range_end = None;
        self.expert = None;
    }

    /// Returns from a training snapshot to the visitor's own text.
    fn leave_past(&mut self) {
        if self.past.is_some() {
            self.clear_selection();
            self.recall(None);
        }
    }

    fn watch(&mut self) -> Vec<Effect> {
        if let Some(recording) = &self.recording {
            let text = training_snapshot::text_like(recording, &self.text);
            self.clear_selection();
            self.recall(Some(Moment { snapshot: 0, text, beside: None }));
            return Vec::new();
        }
        self.offered_model().map(|offered| Effect::FetchRecording(offered.name.clone())).into_iter().collect()
    }

    /// The recording was fetched: shows the snapshot in the link, else the first one.
    fn recorded(&mut self, recording: Recording) {
        let asked = self.step_asked.take();
        let text = self.recorded_asked.take();
        let mut at = |step: u64| {
            let found = training_snapshot::snapshot_at(&recording, step);
            if found.is_none() {
                let expected = Phrase::key("address.step");
                self.notes.push(phrase!("address.ignored", name = "step", value = step, expected = expected));
            }
            found
        };
        let (snapshot, beside) = match asked {
            Some((step, beside)) => (at(step), beside.and_then(&mut at)),
            None => (Some(0), None),
        };
        let named = text.and_then(|id| recording.texts().iter().position(|text| text.id == id));
        let text = named.unwrap_or_else(|| training_snapshot::text_like(&recording, &self.text));
        self.recording = Some(Shared::new(recording));
        if asked.is_none() {
            self.clear_selection();
        }
        self.recall(snapshot.map(|snapshot| Moment { snapshot, text, beside }));
    }

    /// Once the page has come to rest, shows the place that the link is about.
    fn reveal_asked(&mut self) -> Option<Effect> {
        let ready = self.status() == Status::Ready && !self.shown.is_empty();
        self.place_asked.take_if(|_| ready).map(Effect::Reveal)
    }

    /// Once the page has come to rest, asks what each layer did to the chosen token.
    fn look_inside(&mut self) -> Option<Effect> {
        let chosen = self.pinned.filter(|&position| position < self.trace.len() && self.past.is_none());
        let wanted = chosen.map(|position| (position, self.generation));
        if wanted == self.looked_at || (wanted.is_some() && self.status() != Status::Ready) {
            return None;
        }
        self.looked_at = wanted;
        self.look = None;
        let request = self.next_request();
        self.look_request = request;
        wanted.map(|(position, _)| Effect::Send(Command::Inspect { request, position }))
    }

    /// When the text has run with the changes and without, asks for both continuations.
    fn write_both(&mut self) -> Vec<Effect> {
        let ready = self.status() == Status::Ready && self.writes.is_none() && self.changes.effect.is_some();
        let Some(model) = self.model.as_ref().filter(|_| ready && self.past.is_none()) else { return Vec::new() };
        if self.trace.len() >= model.context {
            return Vec::new();
        }
        let requests = [self.next_request(), self.next_request()];
        let (writes, commands) = Writes::ask(&self.text, self.sampling, requests);
        self.writes = Some(Shared::new(writes));
        let mut effects: Vec<Effect> = commands.into_iter().map(Effect::Send).collect();
        // Once for each change: a visitor who types under a change stays where the typing is.
        let is_new = self.written_under.as_ref() != Some(&self.changes.in_use);
        if is_new && self.view.embed.is_empty() && self.compare.is_none() {
            effects.push(Effect::Reveal("writes"));
        }
        self.written_under = Some(self.changes.in_use.clone());
        effects
    }

    fn next_request(&mut self) -> Request {
        self.requests += 1;
        Request::Page(self.requests)
    }

    fn change(&mut self, action: Action) -> Vec<Effect> {
        match action {
            Action::Edit(text) => {
                self.leave_past();
                self.text_before = None;
                self.text = Shared::new(text);
                return self.route();
            }
            Action::Replace(text) => {
                self.text_before = Some(self.text.clone());
                return self.replace(Shared::new(text));
            }
            Action::OpeningText(name) => {
                let opening = self.offered.iter().find(|offered| offered.name == name);
                if let Some(text) = opening.and_then(|offered| offered.opening.clone()).filter(|_| !self.is_own_text())
                {
                    return self.change(Action::Replace(text));
                }
            }
            Action::UndoReplace => {
                if let Some(before) = self.text_before.take() {
                    return self.replace(before);
                }
            }
            Action::Worker(event) => return self.hear(*event),
            Action::Models(offered) => {
                self.offered = Shared::new(offered);
                if let Some(story) = self.story.clone().filter(|_| self.telling.is_none()) {
                    return vec![Effect::FetchStory(story)];
                }
            }
            Action::Dossier(name, dossier) => {
                if self.model_asked.as_deref() == Some(name.as_str()) {
                    self.dossier = Some(Shared::new(*dossier));
                }
            }
            Action::DossierOpened(dossier) => {
                let fits = |model: &ModelInfo| {
                    dossier.layers.iter().all(|layer| {
                        model.each_layer.get(layer.layer).is_some_and(|own| own.experts == layer.experts.len())
                    })
                };
                match &self.model {
                    Some(model) if fits(model) => {
                        self.note(phrase!("dossier.opened", name = &dossier.model));
                        self.dossier = Some(Shared::new(*dossier));
                        self.view.show(Tab::Expert);
                    }
                    _ => self.note(phrase!("dossier.other", name = &dossier.model)),
                }
            }
            Action::Curves(name, curves) => {
                if self.model_asked.as_deref() == Some(name.as_str()) {
                    self.curves = Some(Shared::new(curves));
                }
            }
            Action::Watch => return self.watch(),
            Action::Recording(name, recording) => {
                if self.model_asked.as_deref() == Some(name.as_str()) {
                    match recording {
                        Ok(recording) => self.recorded(*recording),
                        Err(message) => self.note(message.into()),
                    }
                }
            }
            Action::Snapshot(Some(snapshot)) => self.move_past(|moment| moment.snapshot = snapshot),
            Action::Snapshot(None) => self.leave_past(),
            Action::RecordedText(text) => {
                self.clear_selection();
                self.move_past(|moment| moment.text = text);
            }
            Action::Beside(beside) => self.move_past(|moment| moment.beside = beside),
            Action::Policy(policy) => {
                self.leave_past();
                return self.set_policy(policy);
            }
            Action::DismissRefusal => self.changes.refused = None,
            Action::PolicyRefused(message) => self.changes.refused = Some(message),
            Action::Profile => {
                self.profile_request = self.next_request();
                return vec![Effect::Send(Command::Profile { request: self.profile_request })];
            }
            Action::Sweep(sweep) => {
                let request = self.next_request();
                self.changes.sweep(request);
                return vec![Effect::Send(Command::Sweep { request, sweep })];
            }
            Action::Undo => {
                let here = self.place();
                return self.history.back(here).map_or_else(Vec::new, |place| self.go_to(place));
            }
            Action::Redo => {
                let here = self.place();
                return self.history.forth(here).map_or_else(Vec::new, |place| self.go_to(place));
            }
            Action::Examples(examples) => {
                self.examples = Shared::new(examples);
                if let (true, Some(first)) = (self.text.is_empty(), self.examples.first()) {
                    // The link's values belong to this text.
                    self.text = Shared::new(first.text.clone());
                    let mut effects = self.route();
                    effects.push(Effect::ShowText);
                    return effects;
                }
            }
            Action::Load { source, asked } => {
                let opening = self.openings.first(&source);
                return self.load(source, asked, opening);
            }
            Action::StandIn(source) => return self.stand_in(source),
            Action::LoadBegan { source, asked, backend, extent } => {
                self.backend = backend;
                self.openings.begin(extent);
                self.begin_loading(source, asked);
            }
            Action::Token { address, token } => self.openings.set_token(&address, &token),
            Action::OpenPreviewed { backend, extent } => {
                self.backend = backend;
                self.openings.decide(extent);
                return vec![Effect::Send(Command::Open { backend, extent })];
            }
            Action::Keep => {
                let Some(source @ Source::Url(_)) = self.own_source() else { return Vec::new() };
                let token = self.openings.token_for(&source);
                self.openings.keeping = true;
                return vec![Effect::Send(Command::Keep { source, token })];
            }
            Action::CancelLoad => return vec![Effect::Send(Command::CancelLoad)],
            Action::Backend(backend) => {
                self.backend = backend;
                let source = self.source.clone();
                let asked = self.model_asked.clone();
                let Some(source) = source else { return Vec::new() };
                let opening = self.openings.again(&source);
                return self.load(source, asked, opening);
            }
            Action::Layer(layer) => {
                self.layer = layer;
                self.expert = None;
            }
            Action::Picture(picture) => {
                self.picture = picture;
                return vec![Effect::Reveal("picture")];
            }
            Action::ColourBy(colour_by) => self.colour_by = colour_by,
            Action::Hover(position) => self.hovered = position,
            Action::Pin(position) => {
                self.pinned = position;
                self.expert = None;
                if position.is_none() {
                    self.view.drawer_open = false;
                } else if self.view.tab != Tab::Change {
                    // In the tab of changes, choosing a token is for sending it to an expert.
                    self.view.show(Tab::Token);
                }
                if self.range_end.take().is_some() {
                    self.search();
                }
            }
            Action::Extend(position) => {
                self.pinned = self.pinned.or(self.inspected());
                self.range_end = Some(position);
                self.expert = None;
                self.search();
            }
            Action::Search(search) => {
                self.search = search;
                self.range_end = None;
                self.search();
            }
            Action::FindNext => {
                let after = self.pinned.map_or(0, |position| position + 1);
                let found =
                    |range: std::ops::Range<usize>| range.into_iter().find(|&p| self.found.get(p) == Some(&true));
                if let Some(next) = found(after..self.found.len()).or_else(|| found(0..after)) {
                    self.pinned = Some(next);
                    self.changed_at = next;
                }
            }
            Action::Expert(expert) => {
                self.expert = expert;
                if let Some(chosen) = expert {
                    self.layer = LayerChoice::One(chosen.layer);
                    self.view.show(Tab::Expert);
                }
            }
            Action::Tab(tab) => self.view.show(tab),
            Action::Drawer(open) => self.view.drawer_open = open,
            Action::Point(expert) => self.view.pointed = expert,
            Action::Dense(dense) => self.view.dense = dense,
            Action::Present(present) => self.view.present = present,
            Action::Stories(cards) => self.stories = Shared::new(cards),
            Action::Story(name) => return self.open_story(name),
            Action::StoryCame(story) => return self.begin_story(*story),
            Action::StoryStep(step) => return self.go_to_step(step),
            Action::Game(step) => return self.play(step),
            Action::Play(tokens) => {
                self.played = tokens.filter(|&tokens| tokens < self.whole().len());
                self.show_played();
            }
            Action::Compare(with) => {
                self.compare = with;
                if self.compare.is_some() {
                    return vec![Effect::Reveal("compare")];
                }
                self.compare_policy = Policy::default();
            }
            Action::ComparePolicy(policy) => self.compare_policy = policy,
            Action::KeepBeside => {
                self.compare.get_or_insert_with(|| SELF.into());
                self.compare_policy = self.changes.in_use.clone();
            }
            Action::OtherExperts(experts) => {
                let own = self.model.as_ref().map_or(0, |model| model.experts);
                return vec![Effect::Colours(own.max(experts))];
            }
            Action::Generate => return self.generate(),
            Action::Stop => return vec![Effect::Send(Command::Stop)],
            Action::Sampling(sampling) => self.sampling = sampling,
            Action::Tokens(tokens) => self.tokens = tokens,
            Action::Dark(dark) => self.dark = dark,
            Action::EngineDied { death, again } => return self.engine_died(&death, again),
            Action::Fail(message) => {
                self.problem = Some(message);
                self.failed = true;
            }
            Action::Note(note) => self.note(note),
            Action::DismissProblem => {
                self.problem = None;
                self.failed = false;
            }
            Action::DismissNotes => self.notes.clear(),
            Action::ForgetKept => {
                self.kept_text = None;
                return vec![Effect::ForgetKept];
            }
        }
        Vec::new()
    }

    /// The visitor has written the text, or pasted it: it is none that the page offers.
    fn is_own_text(&self) -> bool {
        let examples = self.examples.iter().map(|example| example.text.as_str());
        let openings = self.offered.iter().filter_map(|offered| offered.opening.as_deref());
        !self.text.is_empty() && !examples.chain(openings).any(|text| text == self.text.as_str())
    }

    /// A step of the game against the router.
    pub(crate) fn play(&mut self, step: GameStep) -> Vec<Effect> {
        match step {
            GameStep::Begin => {
                self.leave_past();
                self.clear_selection();
                self.game = Game::new(&self.trace, self.open_layer()).map(Shared::new);
                if self.game.is_none() {
                    self.note(Phrase::key("beat.short"));
                }
            }
            GameStep::Pick(expert) => self.change_game(|game| game.pick(expert)),
            GameStep::Next => self.change_game(Game::go_on),
            GameStep::End => self.game = None,
        }
        if !matches!(step, GameStep::Begin | GameStep::Next) {
            return Vec::new();
        }
        let request = self.next_request();
        let Some(game) = &mut self.game else { return Vec::new() };
        let mut changed = (**game).clone();
        let asked = changed.ask(request);
        *game = Shared::new(changed);
        asked.into_iter().map(Effect::Send).collect()
    }

    pub(crate) fn change_game<T: Default>(&mut self, change: impl FnOnce(&mut Game) -> T) -> T {
        let Some(game) = &mut self.game else { return T::default() };
        let mut changed = (**game).clone();
        let result = change(&mut changed);
        *game = Shared::new(changed);
        result
    }

    /// The small model must not answer for what a link or the visitor asked of the other one.
    fn stand_in(&self, source: Source) -> Vec<Effect> {
        let may = self.is_plain && self.loading > 0 && self.model.is_none();
        may.then_some(Effect::Send(Command::StandIn { source })).into_iter().collect()
    }

    fn load(&mut self, source: Source, asked: Option<String>, opening: Opening) -> Vec<Effect> {
        self.begin_loading(source.clone(), asked);
        vec![Effect::Send(Command::Load { source, backend: self.backend, opening })]
    }

    fn begin_loading(&mut self, source: Source, asked: Option<String>) {
        self.source = Some(source.clone());
        self.model_asked = asked.clone();
        self.loads.push_back((source, asked));
        self.loading = self.loads.len();
        self.progress = None;
        self.problem = None;
        self.failed = false;
    }

    /// Loads the model again, if one was in use; the text stays.
    fn engine_died(&mut self, death: &Death, again: bool) -> Vec<Effect> {
        self.loads.clear();
        self.loading = 0;
        self.progress = None;
        self.running = false;
        self.generating = None;
        let in_use = self.in_use.clone().filter(|_| again);
        let Some((source, asked)) = in_use else {
            self.failed = true;
            self.problem = Some(death.in_words());
            return Vec::new();
        };
        self.note(match death {
            Death::BrokeOff(reason) => phrase!("engine.restarted", reason = reason),
            Death::NotLoaded(_) => death.in_words(),
        });
        let opening = self.openings.again(&source);
        self.load(source, asked, opening)
    }

    fn note(&mut self, note: Phrase) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    fn replace(&mut self, text: Shared<String>) -> Vec<Effect> {
        self.leave_past();
        self.text = text;
        self.pinned = None;
        self.range_end = None;
        self.expert = None;
        let mut effects = self.route();
        effects.push(Effect::ShowText);
        effects
    }

    /// Asks the worker to route the current text.
    fn route(&mut self) -> Vec<Effect> {
        self.generating = None;
        if self.model.is_none() {
            return Vec::new();
        }
        self.begin_run();
        vec![Effect::Send(Command::Route { generation: self.generation, text: (*self.text).clone() })]
    }

    /// Asks the worker to route the text under another policy.
    fn set_policy(&mut self, policy: Policy) -> Vec<Effect> {
        self.changes.asked = policy.clone();
        self.changes.refused = None;
        if self.model.is_none() {
            return Vec::new();
        }
        self.generating = None;
        self.begin_run();
        vec![Effect::Send(Command::SetPolicy { generation: self.generation, policy })]
    }

    fn generate(&mut self) -> Vec<Effect> {
        if self.model.is_none() || self.running {
            return Vec::new();
        }
        self.leave_past();
        self.text_before = Some(self.text.clone());
        self.generating = Some(Generating { before: (*self.text).clone(), tokens: self.trace.len() });
        self.pinned = None;
        self.begin_run();
        let (generation, tokens, sampling) = (self.generation, self.tokens, self.sampling);
        vec![Effect::Send(Command::Generate { generation, tokens, sampling })]
    }

    fn begin_run(&mut self) {
        self.generation += 1;
        self.running = true;
        self.failed = false;
        // These results belong to the old routing.
        self.changes.effect = None;
        self.changes.sweep = None;
        self.writes = None;
        self.game = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use moescope::model::files::read_dir;
    use moescope::model::{Backend, Model, ModelInfo};
    use moescope_worker::protocol::Event;
    use std::path::Path;

    fn page(link: &str) -> State {
        let mut state = State::new(&Address::parse("", link), false, None);
        let example = |id: &str, text: &str| Example { id: id.into(), label: id.into(), text: text.into() };
        state.apply(Action::Examples(vec![example("one", "An example.")]));
        let offered = |name: &str, opening: Option<&str>| Offered {
            name: name.into(),
            opening: opening.map(str::to_owned),
            ..Offered::default()
        };
        state.apply(Action::Models(vec![offered("main", None), offered("switch", Some("the the the"))]));
        state
    }

    #[test]
    fn a_model_brings_its_text_unless_the_visitor_has_written_one() {
        let mut state = page("");
        assert_eq!(state.text.as_str(), "An example.");
        state.apply(Action::OpeningText("switch".into()));
        assert_eq!(state.text.as_str(), "the the the");
        state.apply(Action::UndoReplace);
        assert_eq!(state.text.as_str(), "An example.", "it can be taken back");
        state.apply(Action::Edit("Words of my own".into()));
        state.apply(Action::OpeningText("switch".into()));
        assert_eq!(state.text.as_str(), "Words of my own");
        state.apply(Action::Edit(String::new()));
        state.apply(Action::OpeningText("main".into()));
        assert_eq!(state.text.as_str(), "", "this model has none");
    }

    #[test]
    fn a_small_model_stands_in_until_the_first_one_has_arrived() {
        let source = |name: &str| Source::Url(name.into());
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/fixtures/basic");
        let basic = Model::new(&read_dir(&fixture).expect("a fixture")).expect("a model").info(Backend::Cpu, None);
        let info = |name: &str, layers| Box::new(ModelInfo { name: name.into(), layers, ..basic.clone() });
        let asks = |link: &str| {
            let mut state = page(link);
            state.apply(Action::Load { source: source("main"), asked: Some("main".into()) });
            let effects = state.apply(Action::StandIn(source("tiny")));
            (matches!(effects.as_slice(), [Effect::Send(Command::StandIn { .. })]), state)
        };
        for link in ["#/?layer=2", "#/?model=main", "#/?story=one-word", "#/?expert=1.2", "#/?embed=strip"] {
            assert!(!asks(link).0, "{link} is about one model");
        }
        let (asked, mut state) = asks("#/?text=hello&lang=zh");
        assert!(asked);
        state.hear(Event::StandsIn(info("tiny", 4)));
        assert!(state.stands_in && state.status() == Status::Loading && state.layer == LayerChoice::One(2));
        state.hear(Event::Loaded(info("main", 6)));
        assert!(!state.stands_in && state.layer == LayerChoice::One(3));
        assert_eq!(state.model.as_ref().map(|model| model.name.as_str()), Some("main"));
        // A model with fewer layers: the visitor did not ask for the layer shown before.
        state.apply(Action::Load { source: source("small"), asked: None });
        state.hear(Event::Loaded(info("small", 2)));
        assert!(state.layer == LayerChoice::One(1) && state.notes.is_empty(), "{:?}", state.notes);
        state.apply(Action::Load { source: source("main"), asked: Some("main".into()) });
        state.hear(Event::Loaded(info("main", 6)));
        // Too late: the model itself is there.
        state.hear(Event::StandsIn(info("tiny", 4)));
        assert_eq!(state.model.as_ref().map(|model| model.name.as_str()), Some("main"));
    }

    #[test]
    fn dossiers_from_a_file_must_fit_the_model() {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/fixtures/basic");
        let info = Model::new(&read_dir(&fixture).expect("a fixture")).expect("a model").info(Backend::Cpu, None);
        let mut state = page("");
        state.hear(Event::Loaded(Box::new(info)));
        let dossier = |experts: usize| {
            let expert = r#"{"expert":0,"load":0,"mean_weight":0,"domains":[],"domain_information":0,
                "token_information":0,"tokens":[],"with":[],"contexts":[]}"#;
            let experts = vec![expert; experts].join(",");
            let json = format!(
                r#"{{"schema":1,"model":"mine","tokens":9,"domains":[],"layers":[{{"layer":1,
                "domain_information":0,"token_information":0,"experts":[{experts}]}}]}}"#
            );
            Box::new(serde_json::from_str(&json).expect("dossiers"))
        };
        state.apply(Action::DossierOpened(dossier(4)));
        assert!(state.dossier.is_none(), "a layer of this model has eight experts");
        assert_eq!(state.notes.last(), Some(&phrase!("dossier.other", name = "mine")));
        state.apply(Action::DossierOpened(dossier(8)));
        assert_eq!(state.dossier.as_ref().map(|dossier| dossier.model.as_str()), Some("mine"));
        assert_eq!(state.view.tab, Tab::Expert);
    }

    #[test]
    fn what_opens_out_of_view_is_revealed() {
        let mut state = page("");
        let revealed = |effects: Vec<Effect>| {
            effects.into_iter().find_map(|effect| match effect {
                Effect::Reveal(place) => Some(place),
                _ => None,
            })
        };
        assert_eq!(revealed(state.apply(Action::Compare(Some("switch".into())))), Some("compare"));
        assert_eq!(revealed(state.apply(Action::Picture(Picture::Flow))), Some("picture"));
        assert_eq!(revealed(state.apply(Action::Compare(None))), None);
        // A link is about a place, unless a story or a frame says otherwise.
        for (link, place) in [
            ("#/?compare=self", Some("compare")),
            ("#/?view=flow", Some("picture")),
            ("#/?view=flow&story=one-word", None),
            ("#/?view=flow&embed=map", None),
            ("", None),
        ] {
            assert_eq!(page(link).place_asked, place, "{link}");
        }
    }
}
