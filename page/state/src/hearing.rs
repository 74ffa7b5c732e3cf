//! Handles the worker's events.

use super::{Effect, ExpertOf, LayerChoice, Progress, State, TOKENS_TO_MEASURE};
use crate::changes::Changes;
use crate::phrase::phrase;
use crate::shared::Shared;
use moescope::model::ModelInfo;
use moescope::routing::Policy;
use moescope_worker::protocol::{Event, Preview, Request, Source};

impl State {
    /// Changes the state by an event of the worker.
    pub(super) fn hear(&mut self, event: Event) -> Vec<Effect> {
        match event {
            Event::Progress { what, done, total } => self.progress = Some(Progress { what, done, total }),
            Event::Previewed(preview) => {
                // A decision that was sent already is not asked for again.
                let asks = preview.asks && self.openings.preview.as_ref().is_none_or(|before| before.asks);
                self.openings.preview = Some(Shared::new(Preview { asks, ..*preview }));
            }
            Event::LoadCancelled => {
                self.load_answered();
                if self.loading == 0 {
                    match &self.in_use {
                        Some((_, asked)) => self.model_asked = asked.clone(),
                        None => return self.first_offered().map(Effect::LoadShipped).into_iter().collect(),
                    }
                }
            }
            Event::Kept(kept) => {
                self.progress = None;
                self.openings.keeping = false;
                self.openings.kept += 1;
                self.note(phrase!("kept.done", name = kept.name));
            }
            Event::NotKept { message } => {
                self.progress = None;
                self.openings.keeping = false;
                self.note(message.into());
            }
            Event::Pool(figures) => self.pool = Some(figures),
            Event::Timed(timed) => self.timed = Some(timed),
            Event::Loaded(info) => return self.loaded(*info),
            Event::StandsIn(info) => return self.stands_in(*info),
            Event::LoadFailed { message } => {
                self.load_answered();
                self.profile = None;
                // A newer load has replaced this one, so its result is ignored.
                if self.loading == 0 {
                    self.failed = true;
                    self.problem = Some(message.into());
                    if let Some((_, asked)) = &self.in_use {
                        self.model_asked = asked.clone();
                    }
                }
            }
            Event::Routed { generation, from, more, total, overflow, speed, done } => {
                if self.loading == 0 {
                    self.progress = None;
                }
                self.growing[0].append(&mut self.trace, from, more);
                let changed_at = self.changed_at;
                if self.past.is_none() {
                    self.played = None;
                    self.show_played();
                }
                self.changed_at = changed_at;
                // Where a run is sent in parts, the text changed at the start of the first part; generated text grows
                // with each part.
                if generation != self.changed_in || self.generating.is_some() {
                    self.changed_at = from;
                    self.changed_in = generation;
                }
                self.total = total;
                self.overflow = overflow;
                if speed.tokens >= TOKENS_TO_MEASURE && speed.ms > 0.0 {
                    self.speed = Some(speed);
                }
                if generation == self.generation {
                    self.changes.compare(&self.trace, total);
                    return self.run_went_on(done);
                }
            }
            Event::PolicySet { policy, limits, .. } => {
                self.trace = self.changes.set(policy, limits, &self.trace);
                self.speed = None;
            }
            Event::PolicyRefused { generation, message } => {
                if generation == self.generation {
                    self.running = false;
                    self.changes.refused = Some(message);
                    // The link and undo use the policy in use, not the one that was rejected.
                    self.changes.asked = self.changes.in_use.clone();
                }
            }
            Event::Baseline { from, more, speed, .. } => {
                self.growing[1].append(&mut self.changes.baseline, from, more);
                self.changes.baseline_ran(speed);
                self.changes.compare(&self.trace, self.total);
            }
            Event::Swept { request, found, progress, done } => self.changes.hear_swept(request, found, progress, done),
            Event::RunFailed { generation, message } => {
                if generation == self.generation {
                    self.running = false;
                    self.generating = None;
                }
                self.failed = true;
                self.problem = Some(message.into());
            }
            Event::BackendChanged(info) => {
                // If there is no GPU to switch to, only the badge says why.
                if self.model.as_ref().is_none_or(|model| model.backend != info.backend) {
                    info.note.iter().for_each(|note| self.note(note.into()));
                    self.speed = None;
                }
                self.model = Some(Shared::new(*info));
                self.profile = None;
            }
            Event::Inspected { request, layers, .. } => {
                if request == self.look_request {
                    self.look = Some(Shared::new(layers));
                }
            }
            Event::Tried { request, tried } => {
                self.change_game(|game| game.hear(request, tried));
            }
            Event::Profiled { request, profile } => {
                if request == self.profile_request {
                    self.profile = Some(Shared::new(profile));
                }
            }
            Event::RequestFailed { request, message } if request == self.profile_request => self.note(message.into()),
            Event::RequestFailed { request, message } => {
                let told = self.change_game(|game| game.hear_failure(request, &message));
                if !told && !self.hear_written(request, Err(&message)) {
                    self.changes.sweep_failed(request, message);
                }
            }
            Event::Generated { request, json } => {
                self.hear_written(request, Ok(&json));
            }
            // The answer to a call of `window.moescope`, which worker_client.rs handles.
            Event::Traced { .. } => {}
        }
        Vec::new()
    }

    /// A side of the two that write has answered; false where the answer is to something else.
    fn hear_written(&mut self, request: Request, answer: Result<&str, &str>) -> bool {
        let Some(writes) = &self.writes else { return false };
        let mut heard = (**writes).clone();
        let is_one = heard.hear(request, answer);
        if is_one {
            self.writes = Some(Shared::new(heard));
        }
        is_one
    }

    /// The oldest load was answered; returns its source and name.
    fn load_answered(&mut self) -> Option<(Source, Option<String>)> {
        let load = self.loads.pop_front();
        self.loading = self.loads.len();
        self.progress = None;
        self.openings.preview = None;
        load
    }

    /// The name of the first model of the site.
    fn first_offered(&self) -> Option<String> {
        self.offered.first().map(|offered| offered.name.clone())
    }

    fn loaded(&mut self, info: ModelInfo) -> Vec<Effect> {
        self.in_use = self.load_answered();
        if std::mem::take(&mut self.stands_in) {
            // What was chosen in the small model means nothing in this one.
            self.model = None;
            self.expert = None;
        }
        info.note.iter().for_each(|note| self.note(note.into()));
        self.failed = false;
        self.problem = None;
        self.trace = Shared::default();
        self.changes = Changes { asked: self.changes.asked.clone(), ..Changes::default() };
        self.past = None;
        self.recording = None;
        self.played = None;
        self.show_played();
        self.speed = None;
        (self.pool, self.timed) = (None, None);
        self.overflow = None;
        self.hovered = None;
        self.expert = self.expert_for(&info);
        self.look = None;
        self.looked_at = None;
        self.layer = self.layer_for(&info);
        let experts = info.experts;
        let info_name = &info.name.clone();
        self.model = Some(Shared::new(info));
        self.dossier = None;
        self.curves = None;
        let mut effects = vec![Effect::Colours(experts)];
        let offered = self.offered_model();
        effects.extend(
            offered.map(|offered| Effect::FetchExtras { name: offered.name.clone(), files: offered.files.clone() }),
        );
        effects.extend(self.route());
        if self.changes.asked != Policy::default() {
            effects.extend(self.set_policy(self.changes.asked.clone()));
        }
        if let Some((step, _)) = self.step_asked {
            if self.can_watch() {
                effects.extend(self.watch());
            } else {
                self.step_asked = None;
                self.note(phrase!("note.no-recording", name = info_name, step = step));
            }
        }
        effects
    }

    /// A small model answers until the load in progress has ended.
    fn stands_in(&mut self, info: ModelInfo) -> Vec<Effect> {
        if self.model.is_some() || self.loading == 0 {
            return Vec::new();
        }
        self.stands_in = true;
        self.layer = LayerChoice::One(info.layers / 2);
        let mut effects = vec![Effect::Colours(info.experts)];
        self.model = Some(Shared::new(info));
        effects.extend(self.route());
        effects
    }

    /// The expert that the link names, where the model has it.
    fn expert_for(&mut self, info: &ModelInfo) -> Option<ExpertOf> {
        // An expert of another model cannot be chosen in this one.
        let asked = self.expert.take().filter(|_| self.model.is_none())?;
        if asked.layer < info.layers && (asked.expert as usize) < info.experts {
            return Some(asked);
        }
        self.note(phrase!("note.expert", layer = asked.layer, expert = asked.expert, name = &info.name));
        None
    }

    /// Ignores a token that the link names and the text does not have.
    fn check_token(&mut self) {
        if std::mem::take(&mut self.token_asked) && self.past.is_none() {
            let length = self.trace.len();
            if let Some(position) = self.pinned.take_if(|position| *position >= length) {
                self.range_end = None;
                self.note(phrase!(length; "note.token", position = position));
            }
        }
    }

    /// The layer to show for a model: the one that the link names; else, if a model was in use, the one shown so far;
    /// else a layer just past the middle, where topics are separated and the picture is still easy to follow.
    fn layer_for(&mut self, info: &ModelInfo) -> LayerChoice {
        let of_link = self.layer_asked.take();
        let asked = of_link.or(self.model.as_ref().map(|_| self.layer));
        match asked {
            Some(LayerChoice::One(layer)) if layer >= info.layers => {
                if of_link.is_some() {
                    self.note(phrase!("note.layer", layer = layer, name = &info.name, last = info.layers - 1));
                }
                LayerChoice::One(info.layers / 2)
            }
            Some(choice) => choice,
            None => LayerChoice::One(info.layers / 2),
        }
    }

    /// An answer of the current run arrived.
    fn run_went_on(&mut self, done: bool) -> Vec<Effect> {
        if done {
            self.running = false;
            self.check_token();
        }
        let Some(generating) = &self.generating else { return Vec::new() };
        let new = self.trace.tokens.iter().skip(generating.tokens).map(|token| token.text.as_str());
        let text = std::iter::once(generating.before.as_str()).chain(new).collect::<String>();
        self.text = Shared::new(text);
        if done {
            self.generating = None;
        }
        vec![Effect::ShowText]
    }
}
