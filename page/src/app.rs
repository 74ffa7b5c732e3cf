//! The page's root component: it holds the state, carries out its effects, and lays out the cards.

use crate::embed::Embedder;
use crate::i18n::messages::{self, Language, say, t};
use crate::keys::{self, Key};
use crate::model::ModelInfo;
use crate::routing::Policy;
use crate::site::{
    expected_model, fetch_extras, fetch_languages, fetch_lists, fetch_recording, fetch_story, fetch_texts, shipped,
};
use crate::state::address::{Address, LONGEST_TEXT, as_in_a_text_box};
use crate::state::death::Death;
use crate::state::route::Route;
use crate::state::shared::Shared;
use crate::state::view::Part;
use crate::state::{Action, Effect, LayerChoice, State, Status};
use crate::ui::balance::load_balance::LoadBalance;
use crate::ui::beat::beat_card::BeatCard;
use crate::ui::browser::canvas::{forget_look, next_frame};
use crate::ui::browser::deferred::Deferred;
use crate::ui::browser::palette::Palette;
use crate::ui::browser::ready_state::{Pending, ReadyState};
use crate::ui::browser::{storage, theme};
use crate::ui::change::change_bar::ChangeBar;
use crate::ui::change::policy_card::PolicyCard;
use crate::ui::change::writes_view::WritesView;
use crate::ui::charts::picture::PictureCard;
use crate::ui::charts::save;
use crate::ui::compare::compare_card::Compare;
use crate::ui::compare::compare_snapshots::CompareSnapshots;
use crate::ui::cost::cost_card::CostCard;
use crate::ui::inspect::expert_inspector::ExpertInspector;
use crate::ui::inspect::token_inspector::TokenInspector;
use crate::ui::present::present_bar::PresentBar;
use crate::ui::shell::drawer::Drawer;
use crate::ui::shell::header::Header;
use crate::ui::shell::headline::Headline;
use crate::ui::shell::help::Help;
use crate::ui::shell::live_region::LiveRegion;
use crate::ui::shell::model_select::part;
use crate::ui::shell::notices::Notices;
use crate::ui::stage::stage_card::Stage;
use crate::ui::story::story_cards::StoryCards;
use crate::ui::story::story_step::{StoryStep, reveal};
use crate::ui::strip::strip_tools::StripTools;
use crate::ui::strip::strip_view::StripView;
use crate::ui::text::examples::Examples;
use crate::ui::text::generate::Generate;
use crate::ui::text::text_box::{self, Typed};
use crate::ui::text::text_field::TextField;
use crate::ui::training::training_card::{TrainingCard, moment_name};
use crate::worker::protocol::{Command, Event, Logits, Prompt};
use crate::worker_client::WorkerClient;
use crate::{dropped, version};
use gloo::events::{EventListener, EventListenerOptions};
use gloo::timers::callback::Timeout;
use gloo::utils::{document, window};
use std::rc::Rc;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{HtmlElement, KeyboardEvent};
use yew::prelude::*;

/// Time without changes after which address and storage are updated.
const REST_MS: u32 = 400;

/// Minimum time between two renderings of the results of a run.
const PACE_MS: f64 = 50.0;

/// After so long, what was opened has its place.
const REVEAL_MS: u32 = 250;

/// What it takes to draw what a layer made of a token, in the unit of frame_budget.rs.
const A_TOKEN: usize = 20;

/// An engine that crashes again within this time is not loaded again.
const AGAIN_MS: f64 = 20_000.0;

/// A message to the page from outside of its views.
pub enum Message {
    /// A change of the state.
    Act(Action),
    /// The worker sent an event; events are collected.
    Heard(Event),
    /// The engine's worker ended.
    Died(Death),
    /// The site has another version of the page.
    NewVersion,
    /// Handle the collected events.
    Hear,
    /// A key that no view handled.
    Key(KeyboardEvent),
    /// The help sheet opens or closes.
    Help(bool),
    /// The list of languages was fetched.
    Languages(Vec<Language>),
    /// The visitor chose another language.
    Speak(String),
    /// The messages of that language were fetched.
    Spoken(String, Option<String>),
    /// Update address and storage.
    Rest,
    /// The visitor wants the new version.
    LoadNewVersion,
    /// The visitor changed the fragment of the address, or followed a link that differs only in it.
    FragmentChanged,
}

#[derive(Properties, PartialEq)]
pub struct AppProps {
    /// The contents of the text box from before the program ran.
    pub typed: Typed,
}

/// The page.
pub struct App {
    state: State,
    link: Rc<WorkerClient>,
    text_area: NodeRef,
    palette: Shared<Palette>,
    dispatch: Callback<Action>,
    /// Saves the trace of a text as JSON.
    ask: Callback<String>,
    /// Events that have arrived; a burst of them is handled and drawn once.
    heard: Vec<Event>,
    soon: Option<Timeout>,
    heard_at: f64,
    rest: Option<Timeout>,
    help: bool,
    /// The site has another version of the page.
    has_new_version: bool,
    languages: Shared<Vec<Language>>,
    language: String,
    /// The language in the address; without one, the browser's language is used.
    language_asked: Option<String>,
    storage_refused: bool,
    /// The page that embeds this one.
    embedder: Option<Embedder>,
    /// The page is being loaded again.
    leaving: bool,
    ready_state: ReadyState,
    /// Exists from a change until the document shows it.
    pending: Option<Pending>,
    /// When the engine crashed last.
    died_at: f64,
    _listeners: Vec<EventListener>,
}

impl Component for App {
    type Message = Message;
    type Properties = AppProps;

    fn create(context: &Context<Self>) -> Self {
        let location = window().location();
        let address = match Route::read(&location.search().unwrap_or_default(), &location.hash().unwrap_or_default()) {
            Route::Explore(address) => *address,
            // Another program's place: it is not this one that opens it.
            Route::Learn(_) | Route::Lab(_) => Address::default(),
        };
        // In a frame the text is the other page's matter.
        let kept = storage::kept().filter(|_| address.embed.is_empty());
        let mut state = State::new(&address, theme::begin(), kept.clone());
        state.text = Shared::new(first_text(&context.props().typed, address.text.clone(), kept));
        state.notes.extend(address.ignored.iter().cloned());
        if !storage::is_available() {
            state.notes.push(t!("keep.unavailable").into());
        }
        let link = context.link();
        let dispatch = link.callback(Message::Act);
        let hear = link.callback(Message::Heard);
        let died = link.callback(Message::Died);
        let first = expected_model(address.model.as_deref());
        let engine =
            Rc::new(WorkerClient::new(move |event| hear.emit(event), move |death| died.emit(death), first.as_deref()));
        crate::api::install(engine.clone(), dispatch.clone());
        let ask = save_json(&engine, &dispatch);
        let embedder = Embedder::find().filter(|_| !address.embed.is_empty());
        let obeys = embedder.as_ref().map(|embedder| embedder.obey(engine.clone(), dispatch.clone()));
        fetch_lists(&dispatch, address.model.clone());
        fetch_languages(&link.callback(Message::Languages));
        Self {
            state,
            link: engine,
            text_area: NodeRef::default(),
            palette: Shared::default(),
            _listeners: listeners(context).into_iter().chain(obeys).collect(),
            dispatch,
            ask,
            heard: Vec::new(),
            soon: None,
            heard_at: 0.0,
            rest: None,
            help: false,
            has_new_version: false,
            languages: Shared::default(),
            language: "en".into(),
            language_asked: address.language,
            storage_refused: false,
            leaving: false,
            embedder,
            ready_state: ReadyState::default(),
            pending: None,
            died_at: 0.0,
        }
    }

    fn update(&mut self, context: &Context<Self>, message: Message) -> bool {
        match message {
            Message::Act(action) => self.act(action),
            Message::Heard(event) => {
                let more_comes =
                    matches!(event, Event::Routed { done: false, .. } | Event::Baseline { done: false, .. });
                self.heard.push(event);
                self.hear_soon(context, more_comes);
                return false;
            }
            Message::NewVersion => self.has_new_version = true,
            Message::Died(death) => {
                self.hear();
                if matches!(death, Death::BrokeOff(_)) {
                    self.link.restart();
                }
                let now = js_sys::Date::now();
                let again = now - self.died_at > AGAIN_MS;
                self.died_at = now;
                self.act(Action::EngineDied { death, again });
            }
            Message::Hear => self.hear(),
            Message::Key(event) => return self.key(&event),
            Message::Help(open) => self.help = open,
            Message::Languages(languages) => {
                self.languages = Shared::new(languages);
                self.choose_first_language(context);
            }
            Message::Speak(language) => {
                self.language_asked = Some(language.clone());
                fetch_texts(language, context.link().callback(|(language, json)| Message::Spoken(language, json)));
            }
            Message::Spoken(language, json) => self.speak(language, json),
            Message::Rest => {
                self.rest = None;
                self.remember();
                return false;
            }
            Message::FragmentChanged => {
                if !self.follow_link() {
                    return false;
                }
            }
            Message::LoadNewVersion => {
                // The new version opens with what the address says, which must be the newest text.
                self.remember();
                self.reload();
                return false;
            }
        }
        let link = context.link().clone();
        self.rest = Some(Timeout::new(REST_MS, move || link.send_message(Message::Rest)));
        self.pending.get_or_insert_with(|| self.ready_state.pending());
        self.ready_state.status(self.state.status());
        if let Some(embedder) = &self.embedder {
            embedder.tell(&self.state);
        }
        true
    }

    fn rendered(&mut self, context: &Context<Self>, first: bool) {
        if first {
            text_box::show(&self.text_area, &self.state.text);
            if let Some(caret) = context.props().typed.caret {
                text_box::focus(&self.text_area, caret);
            }
            self.ready_state.status(self.state.status());
        }
        self.pending = None;
        save::of_model(self.state.model.as_deref().map_or_else(String::new, name_with_part));
        mark_root("data-present", self.state.view.present);
        mark_root("data-embed", !self.state.view.embed.is_empty());
    }

    fn view(&self, context: &Context<Self>) -> Html {
        let frame = self.state.telling.as_ref().and_then(|telling| telling.step().frame.clone());
        if !self.state.view.embed.is_empty() {
            return self.embedded();
        }
        if self.state.view.present {
            return self.presented(frame);
        }
        // Texts are read when a view is made: another language makes all of them anew.
        html! {
            <>
                { self.header(context) }
                <main key={self.language.clone()} data-frame={frame} data-game={self.state.game.is_some().to_string()}>
                    { self.hero() }
                    <div class="column">
                        { self.new_version(context) }
                        { self.notices() }
                        { self.telling() }
                        { self.change_bar() }
                        { self.game() }
                        { self.stage() }
                        { self.editor() }
                        <Deferred work=60 patience=2 ready_state={self.ready_state.clone()}>
                            { self.compare_card() }{ self.picture_card() }
                        </Deferred>
                    </div>
                    { self.drawer() }
                    <LiveRegion trace={self.state.trace.clone()} layer={self.state.layer}
                        status={self.state.status()} />
                </main>
                { self.footer() }
                if self.help { <Help close={context.link().callback(|()| Message::Help(false))} /> }
            </>
        }
    }
}

// The views.
impl App {
    /// On a projector: headline, story, stage, strip and one picture.
    fn presented(&self, frame: Option<String>) -> Html {
        let link = Route::Explore(Box::new(Address {
            backend: None,
            ..Address::of(&self.state, self.language_asked.as_deref())
        }));
        let location = window().location();
        let link = location.origin().unwrap_or_default() + &location.pathname().unwrap_or_default() + &link.to_string();
        html! {
            <main key={format!("present-{}", self.language)} class="presented" data-frame={frame}
                data-game={self.state.game.is_some().to_string()}>
                <PresentBar {link} dispatch={self.dispatch.clone()} />
                { self.headline() }
                { self.notices() }
                { self.telling() }
                { self.change_bar() }
                { self.game() }
                { self.stage() }
                <section class="card editor" aria-label={t!("strip.title")}>
                    { self.strip() }
                    if let Some(writes) = &self.state.writes { <WritesView writes={writes.clone()} /> }
                </section>
                <Deferred work=60 patience=2 ready_state={self.ready_state.clone()}>
                    { self.compare_card() }{ self.picture_card() }
                </Deferred>
                <LiveRegion trace={self.state.trace.clone()} layer={self.state.layer} status={self.state.status()} />
            </main>
        }
    }

    /// In a frame of another page: the parts that it asks for, in its order.
    fn embedded(&self) -> Html {
        let part = |part: &Part| match part {
            Part::Text => html! {
                <section key="text" class="card editor" aria-label={t!("text.label")}>
                    <div class="row wrap toolbar">{ self.strip_tools() }<span class="grow"></span>{ self.generate() }
                        </div>
                    { self.text_field() }
                </section>
            },
            Part::Stage => self.stage(),
            Part::Strip => html! {
                <section key="strip" class="card editor" aria-label={t!("strip.title")}>{ self.strip() }</section>
            },
            Part::Map => html! {
                <Deferred key="map" work=60 patience=2 ready_state={self.ready_state.clone()}>{ self.picture_card() }
                    </Deferred>
            },
            Part::Drawer => self.drawer(),
        };
        let whole = Address { embed: Vec::new(), ..Address::of(&self.state, self.language_asked.as_deref()) };
        html! {
            <main key={format!("embed-{}", self.language)} class="embedded" data-game="false">
                <h1 class="hidden" translate="no">{ "Moescope" }</h1>
                { self.notices() }
                { self.change_bar() }
                { for self.state.view.embed.iter().map(part) }
                <p class="embed-foot"><a href={format!("./{whole}")} target="_blank" rel="noopener">
                    { t!("embed.open") }</a></p>
                <LiveRegion trace={self.state.trace.clone()} layer={self.state.layer} status={self.state.status()} />
            </main>
        }
    }

    fn headline(&self) -> Html {
        let state = &self.state;
        let offered = state.offered_model();
        let is_first = state.model.is_none() || offered.is_some_and(|model| Some(model) == state.offered.first());
        html! {
            <Headline model={state.model.clone()} offered={offered.cloned()} {is_first} />
        }
    }

    fn header(&self, context: &Context<Self>) -> Html {
        let state = &self.state;
        let link = context.link();
        html! {
            <Header key={format!("header-{}", self.language)} model={state.model.clone()} loading={state.loading > 0}
                own={state.own_source().filter(|_| state.offered_model().is_none())} openings={state.openings.clone()}
                offered={state.offered.clone()} can_undo={state.history.has_back()} asked={state.model_asked.clone()}
                compare={state.compare.clone()} speed={state.speed} timed={state.timed} profile={state.profile.clone()}
                backend={state.backend} dark={state.dark}
                text_too_long={state.text.chars().nth(LONGEST_TEXT).is_some()} languages={self.languages.clone()}
                language={self.language.clone()} refresh={link.callback(|()| Message::Rest)}
                help={link.callback(|()| Message::Help(true))} speak={link.callback(Message::Speak)}
                dispatch={self.dispatch.clone()} />
        }
    }

    fn new_version(&self, context: &Context<Self>) -> Html {
        if !self.has_new_version {
            return html! {};
        }
        let load = context.link().callback(|_: MouseEvent| Message::LoadNewVersion);
        html! {
            <div class="notices" role="status">
                <div class="notice" data-testid="new-version">
                    <p>{ t!("version.new") }</p>
                    <button type="button" onclick={load}>{ t!("version.load") }</button>
                </div>
            </div>
        }
    }

    fn hero(&self) -> Html {
        let state = &self.state;
        let told = state.telling.as_ref().map(|telling| telling.story.name.clone());
        html! {
            <div class="hero">
                { self.headline() }
                <StoryCards cards={state.stories.clone()} {told} dispatch={self.dispatch.clone()} />
            </div>
        }
    }

    fn telling(&self) -> Html {
        let state = &self.state;
        state.telling.clone().map_or_else(Html::default, |telling| {
            html! {
                <StoryStep {telling} policy={state.changes.in_use.clone()} effect={state.changes.effect.clone()}
                    dispatch={self.dispatch.clone()} />
            }
        })
    }

    fn notices(&self) -> Html {
        let state = &self.state;
        html! {
            <Notices progress={state.progress.clone()} loading={state.loading > 0 }
                stand_in={state.model.as_ref().filter(|_| state.stands_in).map(|model| model.name.clone())}
                preview={state.openings.preview.clone()} part={state.model.as_deref().and_then(part)}
                problem={state.problem.as_ref().map(say)}
                notes={state.notes.iter().map(say).collect::<Vec<_>>()} dispatch={self.dispatch.clone()} />
        }
    }

    fn change_bar(&self) -> Html {
        let state = &self.state;
        html! {
            <ChangeBar in_use={state.changes.in_use.clone()} effect={state.changes.effect.clone()}
                refused={state.changes.refused.clone()} compared={state.compare.is_some()}
                dispatch={self.dispatch.clone()} />
        }
    }

    /// The game; what would give the router's choice away is not shown beside it.
    fn game(&self) -> Html {
        let state = &self.state;
        state.game.clone().map_or_else(Html::default, |game| {
            html! {
                <BeatCard {game} trace={state.trace.clone()} dossier={state.dossier.clone()}
                    dispatch={self.dispatch.clone()} />
            }
        })
    }

    fn stage(&self) -> Html {
        let state = &self.state;
        let policy = if state.past.is_none() { state.changes.asked.clone() } else { Policy::default() };
        html! {
            <Stage trace={state.shown.clone()} position={state.inspected()} model={state.model.clone()}
                open={state.open_layer()}
                {policy} dense={state.view.dense} expert={state.marked_expert()}
                    look={state.look.clone().filter(|_| state.shows_pinned())}
                on_layer={self.dispatch.reform(|layer| Action::Layer(LayerChoice::One(layer)))}
                on_expert={self.dispatch.reform(Action::Expert)} on_point={self.dispatch.reform(Action::Point)}
                on_dense={self.dispatch.reform(Action::Dense)} />
        }
    }

    /// The text and its tokens.
    fn editor(&self) -> Html {
        html! {
            <section class="card editor" aria-label={t!("strip.title")}>
                <div class="row wrap toolbar">
                    { self.strip_tools() }
                    <span class="grow"></span>
                    { self.generate() }
                </div>
                { self.text_field() }
                { self.strip() }
                if let Some(writes) = &self.state.writes { <WritesView writes={writes.clone()} /> }
            </section>
        }
    }

    fn strip_tools(&self) -> Html {
        let state = &self.state;
        let routed = state.model.as_ref().is_some_and(|model| model.experts > 0);
        html! {
            <>
                <Examples examples={state.examples.clone()} text={state.text.clone()}
                    kept_text={state.kept_text.clone()}
                    dispatch={self.dispatch.clone()} />
                if routed {
                    <StripTools layers={state.model.as_ref().map_or(0, |model| model.layers)} layer={state.layer}
                        colour_by={state.colour_by} has_dossier={state.dossier.is_some() && state.past.is_none()}
                        recorded={state.past.is_some()} search={state.search.clone()}
                        has_range={state.range_end.is_some()}
                        found={state.found.clone()} length={state.whole().len()} played={state.played}
                        ready_state={self.ready_state.clone()} dispatch={self.dispatch.clone()} />
                }
            </>
        }
    }

    fn generate(&self) -> Html {
        let state = &self.state;
        let (routed, context) = (state.trace.len(), state.model.as_ref().map_or(0, |model| model.context));
        html! {
            <Generate sampling={state.sampling} tokens={state.tokens} generating={state.is_generating()}
                possible={state.model.is_some() && routed > 0} full={context > 0 && routed >= context}
                dispatch={self.dispatch.clone()} />
        }
    }

    fn text_field(&self) -> Html {
        let state = &self.state;
        html! {
            <TextField node={self.text_area.clone()} has_model={state.model.is_some()} text={state.text.clone()}
                can_undo={state.text_before.is_some() && !state.is_generating()} routed={state.trace.len()}
                context={state.model.as_ref().map_or(0, |model| model.context)} overflow={state.overflow.clone()}
                dispatch={self.dispatch.clone()} />
        }
    }

    fn strip(&self) -> Html {
        let state = &self.state;
        let empty = match (&state.model, state.text.is_empty()) {
            (None, _) => t!("strip.empty.model"),
            (Some(_), true) => t!("strip.empty.text"),
            (Some(_), false) => t!("strip.empty.running"),
        };
        html! {
            <StripView dossier={state.dossier.clone().filter(|_| state.past.is_none())}
                recorded={self.moment_in_words()}
                range_end={state.range_end} found={state.found.clone()} trace={state.shown.clone()}
                waiting={state.model.is_none()} routed={state.model.as_ref().is_none_or(|model| model.experts > 0)}
                layer={state.layer} colour_by={state.colour_by} pinned={state.pinned} hovered={state.hovered}
                marked={state.marked_expert()} change={state.changes.effect.clone().filter(|_| state.past.is_none())}
                policy={if state.past.is_none() { state.changes.in_use.clone() } else { Policy::default() }}
                look={state.look.clone()} changed_at={state.changed_at} overflow={state.overflow.clone()}
                to_come={state.to_come()} ready_state={self.ready_state.clone()} {empty}
                    dispatch={self.dispatch.clone()} />
        }
    }

    fn drawer(&self) -> Html {
        let state = &self.state;
        let pane = |work: usize, patience: usize, content: Html| {
            html! { <Deferred {work} {patience} ready_state={self.ready_state.clone()}>{ content }</Deferred> }
        };
        // In the order of the tabs.
        let panes = vec![
            pane(A_TOKEN * state.shown.layers.len(), 3, self.token_inspector()),
            pane(80, 5, self.expert_inspector()),
            pane(100, 4, self.load_card()),
            pane(60, 5, self.policy_card()),
            pane(30, 6, self.training_card()),
            pane(
                30,
                6,
                html! { <CostCard model={state.model.clone()} trace={state.trace.clone()} pool={state.pool} /> },
            ),
        ];
        html! { <Drawer tab={state.view.tab} open={state.view.drawer_open} {panes} dispatch={self.dispatch.clone()} /> }
    }

    fn compare_card(&self) -> Html {
        let state = &self.state;
        if let (Some(past), Some(recording)) = (&state.past, &state.recording) {
            let Some((beside, trace)) = past.moment.beside.zip(past.beside.clone()) else { return html! {} };
            let names = [past.moment.snapshot, beside].map(|snapshot| moment_name(recording, snapshot));
            return html! {
                <CompareSnapshots traces={[past.trace.clone(), trace]} {names} layer={state.layer}
                    dispatch={self.dispatch.clone()} />
            };
        }
        let Some(with) = state.compare.clone() else { return html! {} };
        html! {
            <Compare {with} policy={state.compare_policy.clone()} first_policy={state.changes.in_use.clone()}
                own={state.own_source()} openings={state.openings.clone()} text={state.text.clone()}
                trace={state.trace.clone()}
                model={state.model.clone()}
                offered={state.offered.clone()} layer={state.layer} backend={state.backend}
                dispatch={self.dispatch.clone()} />
        }
    }

    fn picture_card(&self) -> Html {
        let state = &self.state;
        html! {
            <PictureCard found={state.found.clone()} recorded={state.past.is_some()} length={state.whole().len()}
                text={state.text.clone()} ask={self.ask.clone()} trace={state.shown.clone()}
                palette={self.palette.clone()} dark={state.dark}
                picture={state.picture} layer={state.layer} inspected={state.inspected()} pinned={state.pinned}
                expert={state.expert} marked={state.marked_expert()} dispatch={self.dispatch.clone()} />
        }
    }

    fn policy_card(&self) -> Html {
        let state = &self.state;
        let Some(model) = state.model.clone().filter(|model| model.experts > 0 && state.past.is_none()) else {
            return html! { <p class="empty">{ t!("policy.none") }</p> };
        };
        let end = |first: usize| state.range_end.unwrap_or(first);
        let chosen = state.pinned.map(|first| (first.min(end(first)), first.max(end(first))));
        let chosen = chosen.filter(|(_, last)| *last < state.trace.len());
        let speed = state.speed.map(|speed| speed.tokens as f64 / speed.ms.max(1e-3) * 1000.0);
        html! {
            <PolicyCard {model} changes={state.changes.clone()} trace={state.trace.clone()} layer={state.layer} {chosen}
                inspected={state.inspected()} running={state.status() == Status::Running} {speed}
                dispatch={self.dispatch.clone()} />
        }
    }

    fn training_card(&self) -> Html {
        let state = &self.state;
        let curves = state.curves.clone().filter(|curves| curves.training.len() > 1);
        if curves.is_none() && !state.can_watch() {
            return html! { <p class="empty">{ t!("training.none") }</p> };
        }
        html! {
            <TrainingCard {curves} can_watch={state.can_watch()} recording={state.recording.clone()}
                moment={state.past.as_ref().map(|past| past.moment)} dispatch={self.dispatch.clone()} />
        }
    }

    /// The training snapshot that is shown, in words.
    fn moment_in_words(&self) -> Option<String> {
        let (past, recording) = (self.state.past.as_ref()?, self.state.recording.as_ref()?);
        let text = &recording.texts()[past.moment.text];
        let text = messages::name_of("example", &text.id, &text.label);
        Some(t!("recorded.note", text = text, when = moment_name(recording, past.moment.snapshot)))
    }

    fn load_card(&self) -> Html {
        let state = &self.state;
        html! {
            <LoadBalance limit={state.limit()} off={state.experts_off()} trace={state.shown.clone()} layer={state.layer}
                expert={state.expert}
                dispatch={self.dispatch.clone()} />
        }
    }

    fn token_inspector(&self) -> Html {
        let state = &self.state;
        html! {
            <TokenInspector look={state.look.clone().filter(|_| state.shows_pinned())} trace={state.shown.clone()}
                layer={state.layer} position={state.inspected()}
                pinned={state.shows_pinned()} rests={state.hovered.is_none() && state.pinned.is_none()}
                dispatch={self.dispatch.clone()} />
        }
    }

    fn expert_inspector(&self) -> Html {
        let state = &self.state;
        html! {
            <ExpertInspector dossier={state.dossier.clone().filter(|_| state.past.is_none())}
                trace={state.shown.clone()} expert={state.inspected_expert()}
                pinned={state.expert.is_some()} policy={state.past.is_none().then(|| state.changes.asked.clone())}
                dispatch={self.dispatch.clone()} />
        }
    }

    fn footer(&self) -> Html {
        html! { <footer key={format!("footer-{}", self.language)}><p>{ t!("footer") }</p></footer> }
    }
}

// Handling of messages.
impl App {
    fn act(&mut self, action: Action) {
        if let Action::Dark(dark) = action {
            theme::choose(dark);
        }
        // Earlier events must be handled before this action.
        self.hear();
        for effect in self.state.apply(action) {
            self.carry_out(effect);
        }
    }

    /// Handles the worker's events soon, in a task of its own, so that no paint waits for it. The task is later where
    /// more events are expected, so that rendering leaves time for other tasks.
    fn hear_soon(&mut self, context: &Context<Self>, more_comes: bool) {
        let link = context.link().clone();
        if document().hidden() {
            // Timers are slow in a page in the background, which must still handle events.
            link.send_message(Message::Hear);
            return;
        }
        if more_comes && self.soon.is_some() {
            return;
        }
        let since = js_sys::Date::now() - self.heard_at;
        let wait = if more_comes { (PACE_MS - since).max(0.0) } else { 0.0 };
        self.soon = Some(Timeout::new(wait as u32, move || link.send_message(Message::Hear)));
    }

    fn hear(&mut self) {
        self.soon = None;
        if self.heard.is_empty() {
            return;
        }
        self.heard_at = js_sys::Date::now();
        for event in std::mem::take(&mut self.heard) {
            for effect in self.state.apply(Action::Worker(Box::new(event))) {
                self.carry_out(effect);
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Send(command) => self.link.send(command),
            Effect::ShowText => text_box::show(&self.text_area, &self.state.text),
            Effect::ForgetKept => storage::forget(),
            // What is deferred is drawn by then.
            Effect::Reveal(place) => {
                Timeout::new(REVEAL_MS, move || reveal(place)).forget();
            }
            Effect::FetchStory(name) => fetch_story(name, &self.dispatch),
            Effect::LoadShipped(name) => {
                self.dispatch.emit(Action::Load { source: shipped(&name), asked: Some(name) });
            }
            Effect::FetchRecording(name) => fetch_recording(name, &self.dispatch),
            Effect::FetchExtras { name, files } => fetch_extras(name, &files, &self.dispatch),
            Effect::Colours(experts) => {
                self.palette = Shared::new(Palette::new(experts.max(1)));
                self.palette.install();
            }
        }
    }

    /// Goes where the address leads since the visitor changed it; false where that is another page than this one.
    fn follow_link(&mut self) -> bool {
        let asked = Route::read("", &window().location().hash().unwrap_or_default());
        let here = Address::of(&self.state, self.language_asked.as_deref());
        match asked {
            Route::Explore(asked) if asked.differs_at_most_in_text(&here) => {
                let text = asked.text.or_else(|| self.state.examples.first().map(|example| example.text.clone()));
                if let Some(text) = text.filter(|text| *text != **self.state.text) {
                    self.act(Action::Replace(text));
                }
                true
            }
            _ => {
                self.reload();
                false
            }
        }
    }

    /// Opens what the address says, as a visitor's reload does.
    fn reload(&mut self) {
        self.leaving = true;
        // Fails only in a page that nobody sees any more.
        let _ = window().location().reload();
    }

    /// Address and storage follow the page.
    fn remember(&mut self) {
        // What the address says now is to be opened.
        if self.leaving {
            return;
        }
        let state = &self.state;
        let language = self.language_asked.as_deref();
        let view = Address::of(state, language).to_string();
        let location = window().location();
        let url = location.pathname().unwrap_or_default() + &view;
        let history = window().history();
        let (search, hash) = (location.search().unwrap_or_default(), location.hash().unwrap_or_default());
        // An address of Learn or Lab is that of the program that www/boot.js is about to load.
        let is_explore = matches!(Route::read(&search, &hash), Route::Explore(_));
        let changed = is_explore && search + &hash != view;
        if let (Ok(history), true, true) = (history, changed, state.model.is_some()) {
            // Browsers refuse too many changes per second; the next update tries again.
            let _ = history.replace_state_with_url(&JsValue::NULL, "", Some(&url));
        }
        if !state.view.embed.is_empty() {
            return;
        }
        let is_example = state.examples.iter().any(|example| example.text == **state.text);
        let keeps = !is_example && !state.text.is_empty() && storage::is_available();
        let refused = keeps && !storage::keep(&state.text);
        if refused && !self.storage_refused {
            self.dispatch.emit(Action::Note(t!("keep.refused").into()));
        }
        self.storage_refused = refused;
    }

    /// Handles keys that work everywhere except in text fields.
    fn key(&mut self, event: &KeyboardEvent) -> bool {
        let layers = self.state.model.as_ref().map_or(0, |model| model.layers);
        let Some(key) = keys::read(event, layers, self.state.view.present) else { return false };
        if key.takes_over() {
            event.prevent_default();
        }
        match key {
            Key::Act(action) => self.dispatch.emit(action),
            Key::Continue if self.state.is_generating() => self.dispatch.emit(Action::Stop),
            Key::Continue => self.dispatch.emit(Action::Generate),
            Key::Write => {
                if let Some(area) = self.text_area.cast::<HtmlElement>() {
                    let _ = area.focus();
                }
            }
            Key::Help => {
                self.help = true;
                return true;
            }
            Key::Step(forth) => {
                let step = self.state.telling.as_ref().map(|telling| telling.step);
                if let Some(step) = step.and_then(|step| if forth { Some(step + 1) } else { step.checked_sub(1) }) {
                    self.dispatch.emit(Action::StoryStep(step));
                }
            }
        }
        false
    }

    fn choose_first_language(&mut self, context: &Context<Self>) {
        let asked = self.language_asked.clone();
        let offered = |code: &str| self.languages.iter().any(|language| language.code == code);
        let wanted = match asked {
            Some(code) if offered(&code) => Some(code),
            Some(code) => {
                let codes = self.languages.iter().map(|language| language.code.as_str()).collect::<Vec<_>>().join(", ");
                let note = t!("address.ignored", name = "lang", value = code, expected = codes);
                self.dispatch.emit(Action::Note(note.into()));
                self.language_asked = None;
                None
            }
            None => window().navigator().language().and_then(|browser| {
                let fits =
                    |language: &&Language| browser.starts_with(language.code.split('-').next().unwrap_or_default());
                self.languages.iter().find(fits).map(|language| language.code.clone())
            }),
        };
        if let Some(language) = wanted.filter(|language| *language != self.language) {
            fetch_texts(language, context.link().callback(|(language, json)| Message::Spoken(language, json)));
        }
    }

    fn speak(&mut self, language: String, json: Option<String>) {
        if language == "en" {
            messages::choose_english();
        } else if json.is_none_or(|json| messages::choose(&language, &json).is_err()) {
            self.dispatch.emit(Action::Note(t!("language.missing", language = language).into()));
            return;
        }
        if let Some(root) = document().document_element() {
            // Setting an attribute with a legal name cannot fail.
            let _ = root.set_attribute("lang", &language);
        }
        self.language = language;
        // The text box is created again, empty; it gets its text once it is in the document.
        let (area, text) = (self.text_area.clone(), self.state.text.clone());
        next_frame(move || text_box::show(&area, &text)).leave();
    }
}

/// A model's name, and which of its layers run where these are not all.
fn name_with_part(model: &ModelInfo) -> String {
    part(model).map_or_else(|| model.name.clone(), |part| format!("{}, {part}", model.name))
}

/// Marks the document for style.css.
fn mark_root(attribute: &str, is_on: bool) {
    if let Some(root) = document().document_element() {
        // Neither fails for a legal name.
        let _ = if is_on { root.set_attribute(attribute, "") } else { root.remove_attribute(attribute) };
    }
}

fn listeners(context: &Context<App>) -> Vec<EventListener> {
    let keys = context.link().callback(Message::Key);
    let options = EventListenerOptions::enable_prevent_default();
    let keys = EventListener::new_with_options(&window(), "keydown", options, move |event| {
        if let Some(event) = event.dyn_ref::<KeyboardEvent>() {
            keys.emit(event.clone());
        }
    });
    let dark = context.link().callback(|dark| Message::Act(Action::Dark(dark)));
    let theme = theme::follow(move |is_dark| dark.emit(is_dark));
    let rest = context.link().callback(|()| Message::Rest);
    let leave = EventListener::new(&window(), "pagehide", move |_| rest.emit(()));
    let resize = EventListener::new(&window(), "resize", |_| forget_look());
    let fragment = context.link().callback(|()| Message::FragmentChanged);
    let fragment = EventListener::new(&window(), "hashchange", move |_| fragment.emit(()));
    let new_version = context.link().callback(|()| Message::NewVersion);
    let new_version = version::watch(move || new_version.emit(()));
    let dropped = dropped::listen(&context.link().callback(Message::Act));
    let others = [Some(keys), theme, Some(leave), Some(resize), Some(fragment), Some(new_version)];
    others.into_iter().flatten().chain(dropped).collect()
}

/// Saves the JSON of a text's trace, in the form of `window.moescope` and the command line.
fn save_json(engine: &Rc<WorkerClient>, dispatch: &Callback<Action>) -> Callback<String> {
    let (engine, dispatch) = (engine.clone(), dispatch.clone());
    Callback::from(move |text: String| {
        let (engine, dispatch) = (engine.clone(), dispatch.clone());
        wasm_bindgen_futures::spawn_local(async move {
            let prompt = Prompt::Text(text);
            let ask = engine.ask(|request| Command::Trace { request, prompt, logits: Logits::None });
            match ask.await {
                Ok(json) => save::text("trace.json", "application/json", &json),
                Err(message) => dispatch.emit(Action::Note(message.into())),
            }
        });
    })
}

/// The text when the page opens: what was typed before the program ran, else the link's text, else the kept text after
/// a reload, else the opening example.
fn first_text(typed: &Typed, asked: Option<String>, kept: Option<String>) -> String {
    let edited = typed.edited.then(|| typed.text.clone());
    let text = edited.or(asked).or(kept.filter(|_| storage::is_reload())).unwrap_or_else(|| typed.text.clone());
    as_in_a_text_box(&text)
}

/// Starts the page in `#app`, or in the body where there is none.
pub fn start() {
    messages::begin(messages::ENGLISH);
    let props = AppProps { typed: Typed::read() };
    let root = document().get_element_by_id("app");
    let root = root.unwrap_or_else(|| gloo::utils::body().into());
    root.set_inner_html("");
    yew::Renderer::<App>::with_root_and_props(root, props).render();
}
