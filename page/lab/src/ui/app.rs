//! The page put together: which place, in which language and theme.

use crate::address::{Address, Place};
use crate::chapter::Card;
use crate::site::{self, fetch_json, fetch_text};
use crate::ui::chapter_view::ChapterView;
use crate::ui::header::Header;
use crate::ui::lab_view::LabView;
use crate::ui::list::{LabTabs, List};
use gloo::events::EventListener;
use gloo::utils::{document, window};
use moescope_common::canvas::forget_look;
use moescope_common::messages::{self, Language};
use moescope_common::{palette::Palette, storage, t, theme};
use std::rc::Rc;
use yew::prelude::*;

/// The texts that are built in.
const ENGLISH: &str = include_str!("../../../../www/lab/messages/en.json");

/// Experts that have a colour at first; a lab with more asks for more.
pub const COLOURS: usize = 8;

/// Where the language chosen in Learn and Lab is kept.
const LANGUAGE: &str = "moescope.language";

/// What reaches the page from outside of its views.
pub enum Message {
    /// The address changed.
    Moved,
    /// Dark or light.
    Dark(bool),
    /// The languages on offer came.
    Languages(Vec<Language>),
    /// Another language is wanted.
    Speak(String),
    /// Its texts came.
    Spoken(String, Option<String>),
    /// The list of chapters came.
    Cards(Option<Vec<Card>>),
}

/// The page.
pub struct App {
    address: Address,
    dark: bool,
    languages: Rc<Vec<Language>>,
    language: String,
    cards: Option<Rc<Vec<Card>>>,
    failed: bool,
    _listeners: Vec<EventListener>,
}

impl Component for App {
    type Message = Message;
    type Properties = ();

    fn create(context: &Context<Self>) -> Self {
        let link = context.link();
        let moved = link.callback(|()| Message::Moved);
        let moved = EventListener::new(&window(), "hashchange", move |_| moved.emit(()));
        let resized = EventListener::new(&window(), "resize", |_| forget_look());
        let dark = link.callback(Message::Dark);
        let theme_changed = theme::follow(move |is_dark| dark.emit(is_dark));
        let languages = link.callback(Message::Languages);
        let cards = link.callback(Message::Cards);
        wasm_bindgen_futures::spawn_local(async move {
            cards.emit(fetch_json(&site::file("chapters/index.json")).await);
            languages.emit(fetch_json(&site::file("messages/index.json")).await.unwrap_or_default());
        });
        Palette::new(COLOURS).install();
        Self {
            address: address(),
            dark: theme::begin(),
            languages: Rc::default(),
            language: "en".into(),
            cards: None,
            failed: false,
            _listeners: [Some(moved), Some(resized), theme_changed].into_iter().flatten().collect(),
        }
    }

    fn update(&mut self, context: &Context<Self>, message: Message) -> bool {
        match message {
            Message::Moved => {
                let place = self.address.place.clone();
                self.address = address();
                if place != self.address.place {
                    window().scroll_to_with_x_and_y(0.0, 0.0);
                }
            }
            Message::Dark(dark) => {
                theme::choose(dark);
                self.dark = dark;
            }
            Message::Languages(languages) => {
                self.languages = Rc::new(languages);
                let asked = self.address.get("lang").map(str::to_owned).or_else(|| query("lang"));
                let wanted = asked.or_else(|| storage::get(LANGUAGE)).or_else(|| window().navigator().language());
                let known = wanted.and_then(|wanted| {
                    let fits =
                        |language: &&Language| wanted.starts_with(language.code.split('-').next().unwrap_or_default());
                    self.languages.iter().find(fits).map(|language| language.code.clone())
                });
                if let Some(language) = known.filter(|language| *language != self.language) {
                    context.link().send_message(Message::Speak(language));
                }
            }
            Message::Speak(language) => {
                let came = context.link().callback(|(language, json)| Message::Spoken(language, json));
                wasm_bindgen_futures::spawn_local(async move {
                    let path = site::file(&format!("lab/messages/{language}.json"));
                    let json = if language == "en" { None } else { fetch_text(&path).await };
                    came.emit((language, json));
                });
                return false;
            }
            Message::Spoken(language, json) => {
                if language == "en" {
                    messages::choose_english();
                } else if json.is_none_or(|json| messages::choose(&language, &json).is_err()) {
                    return false;
                }
                if let Some(root) = document().document_element() {
                    // Setting an attribute with a legal name cannot fail.
                    let _ = root.set_attribute("lang", &language);
                }
                // Where storage is refused, the choice lasts as long as the page.
                let _ = storage::set(LANGUAGE, &language);
                self.language = language;
            }
            Message::Cards(cards) => {
                self.failed = cards.is_none();
                self.cards = cards.map(Rc::new);
                set_state(if self.failed { "error" } else { "ready" });
                mark_opened();
            }
        }
        self.name_page();
        true
    }

    fn view(&self, context: &Context<Self>) -> Html {
        let link = context.link();
        let is_lab = matches!(self.address.place, Place::Lab(_) | Place::Unknown(_));
        html! {
            <>
                <Header {is_lab} dark={self.dark} languages={self.languages.clone()} language={self.language.clone()}
                    theme={link.callback(Message::Dark)} speak={link.callback(Message::Speak)} />
                <main class="lab-main" key={self.language.clone()}>{ self.place() }</main>
            </>
        }
    }
}

impl App {
    fn place(&self) -> Html {
        if self.failed {
            return html! { <p class="problem" data-testid="error" role="alert">{ t!("learn.missing") }</p> };
        }
        let Some(cards) = &self.cards else { return html! { <p class="empty">{ t!("loading") }</p> } };
        match &self.address.place {
            Place::Learn => html! { <List cards={cards.clone()} /> },
            Place::Chapter(name) => match cards.iter().position(|card| card.name == *name) {
                Some(at) => html! {
                    <ChapterView key={name.clone()} cards={cards.clone()} {at} dark={self.dark} />
                },
                None => unknown(&format!("learn/{name}"), "#/learn"),
            },
            Place::Lab(lab) => html! {
                <>
                    <LabTabs cards={cards.clone()} chosen={*lab} />
                    <LabView key={lab.as_str()} lab={*lab} run={Rc::new(self.address.run())} dark={self.dark}
                        is_whole=true />
                </>
            },
            Place::Unknown(path) => unknown(path, "#/learn"),
        }
    }

    fn name_page(&self) {
        let name = match &self.address.place {
            Place::Lab(lab) => t!(&format!("lab.{}", lab.as_str())),
            Place::Chapter(name) => {
                let card = self.cards.as_ref().and_then(|cards| cards.iter().find(|card| card.name == *name));
                card.map_or_else(|| t!("place.learn"), |card| messages::of_languages(&card.title))
            }
            _ => t!("place.learn"),
        };
        document().set_title(&format!("{name} - Moescope"));
    }
}

/// A name in the address that there is not.
fn unknown(path: &str, instead: &'static str) -> Html {
    html! {
        <div class="problem" data-testid="error" role="alert">
            <p>{ t!("place.unknown", path = path) }</p>
            <p><a href={instead}>{ t!("place.instead") }</a></p>
        </div>
    }
}

fn address() -> Address {
    Address::parse(&window().location().hash().unwrap_or_default())
}

fn query(key: &str) -> Option<String> {
    let search = window().location().search().ok()?;
    web_sys::UrlSearchParams::new_with_str(&search).ok()?.get(key)
}

/// What tests and assistive tools read: `loading`, `ready`, `running` or `error`.
pub fn set_state(state: &str) {
    if let Some(body) = document().body() {
        // As above.
        let _ = body.set_attribute("data-state", state);
    }
}

/// www/boot.js has what was loaded kept from then on.
fn mark_opened() {
    if let Some(body) = document().body() {
        // As above.
        let _ = body.set_attribute("data-opened", "");
    }
}

/// Starts the page in `#app`, or in the body where there is none.
pub fn start() {
    messages::begin(ENGLISH);
    let root = document().get_element_by_id("app");
    let root = root.unwrap_or_else(|| gloo::utils::body().into());
    root.set_inner_html("");
    yew::Renderer::<App>::with_root(root).render();
}
