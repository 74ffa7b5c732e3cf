//! The header: the model, the engine, sharing, theme, help.

use crate::i18n::messages::{Language, t};
use crate::model::ModelInfo;
use crate::state::openings::Openings;
use crate::state::shared::Shared;
use crate::state::{Action, Offered, SELF};
use crate::ui::parts::icon::{icon, mark};
use crate::ui::parts::popup::Popup;
use crate::ui::shell::backend_badge::BackendBadge;
use crate::ui::shell::model_select::ModelSelect;
use crate::ui::shell::share::Share;
use crate::worker::protocol::{BackendChoice, Profile, Source, Speed, Timed};
use wasm_bindgen::JsCast;
use web_sys::HtmlSelectElement;
use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct HeaderProps {
    pub model: Option<Shared<ModelInfo>>,
    /// Whether a model is being loaded.
    pub loading: bool,
    /// Where the model in use came from, if it is none of the site's.
    pub own: Option<Source>,
    pub openings: Openings,
    pub offered: Shared<Vec<Offered>>,
    pub asked: Option<String>,
    /// The model on the second side.
    pub compare: Option<String>,
    /// Whether there is a view to go back to.
    pub can_undo: bool,
    pub speed: Option<Speed>,
    pub timed: Option<Timed>,
    pub profile: Option<Shared<Profile>>,
    pub backend: BackendChoice,
    pub dark: bool,
    pub text_too_long: bool,
    pub languages: Shared<Vec<Language>>,
    pub language: String,
    pub refresh: Callback<()>,
    pub help: Callback<()>,
    pub speak: Callback<String>,
    pub dispatch: Callback<Action>,
}

/// The header.
#[component]
pub fn Header(props: &HeaderProps) -> Html {
    html! {
        <header>
            <span class="logo">{ mark() }{ t!("name") }</span>
            { places() }
            <span class="grow"></span>
            <ModelSelect offered={props.offered.clone()} asked={props.asked.clone()} model={props.model.clone()}
                loading={props.loading} own={props.own.clone()} openings={props.openings.clone()}
                dispatch={props.dispatch.clone()} />
            <BackendBadge model={props.model.clone()} speed={props.speed} timed={props.timed}
                profile={props.profile.clone()}
                choice={props.backend} dispatch={props.dispatch.clone()} />
            <Share too_long={props.text_too_long} opened={props.model.is_some() && props.asked.is_none()}
                refresh={props.refresh.clone()} dispatch={props.dispatch.clone()} />
            { more(props) }
        </header>
    }
}

/// The three places of the page. Learn and Lab are another program: www/boot.js loads the page anew for them.
fn places() -> Html {
    html! {
        <nav class="places" aria-label={t!("places")}>
            <span data-testid="place-explore" aria-current="page">{ t!("place.explore") }</span>
            <a href="#/learn" data-testid="place-learn">{ t!("place.learn") }</a>
            <a href="#/lab/local-experts" data-testid="place-lab">{ t!("place.lab") }</a>
        </nav>
    }
}

/// What is seldom wanted: help, theme, language, the view before, the model beside itself.
fn more(props: &HeaderProps) -> Html {
    let dark = props.dark;
    let theme = props.dispatch.reform(move |_: MouseEvent| Action::Dark(!dark));
    let help = props.help.reform(|_: MouseEvent| ());
    let undo = props.dispatch.reform(|_: MouseEvent| Action::Undo);
    let theme_label = if dark { t!("theme.light") } else { t!("theme.dark") };
    html! {
        <Popup label={icon("more")} name={t!("header.more")} class={classes!("quiet", "icon-only")} testid="more">
            <div class="menu-list">
                <button type="button" data-testid="help" data-closes="" onclick={help}>{ "?" }{ t!("help.title") }
                    </button>
                <button type="button" data-testid="undo-view" data-closes="" onclick={undo} disabled={!props.can_undo}>
                    { icon("undo") }{ t!("undo") }</button>
                { compare(props) }
                <button type="button" data-testid="present" data-closes=""
                    onclick={props.dispatch.reform(|_: MouseEvent| Action::Present(true))}>
                    { icon("play") }{ t!("present.open") }</button>
                <button type="button" data-testid="theme" data-closes="" onclick={theme}>
                    { icon(if dark { "sun" } else { "moon" }) }{ theme_label }</button>
                { languages(props) }
            </div>
        </Popup>
    }
}

/// Opens the comparison with the first other model in the list, or with this one.
fn compare(props: &HeaderProps) -> Html {
    let other = props.offered.iter().find(|offered| Some(&offered.name) != props.asked.as_ref());
    let other = other.map_or_else(|| SELF.to_owned(), |offered| offered.name.clone());
    let pressed = props.compare.is_some();
    let toggle = props.dispatch.reform(move |_: MouseEvent| Action::Compare((!pressed).then(|| other.clone())));
    html! {
        <button type="button" data-testid="compare-toggle" data-closes="" aria-pressed={pressed.to_string()}
            disabled={props.model.is_none()} onclick={toggle}>{ t!("compare.open-with") }</button>
    }
}

fn languages(props: &HeaderProps) -> Html {
    if props.languages.len() == 1 {
        return html! {};
    }
    let choose = {
        let speak = props.speak.clone();
        Callback::from(move |event: Event| {
            let select = event.target().and_then(|target| target.dyn_into::<HtmlSelectElement>().ok());
            if let Some(select) = select {
                speak.emit(select.value());
            }
        })
    };
    let options = props.languages.iter().map(|language| {
        html! {
            <option key={language.code.clone()} value={language.code.clone()} lang={language.code.clone()}
                selected={language.code == props.language}>{ &language.name }</option>
        }
    });
    html! {
        <label class="language"><span>{ t!("language") }</span>
            // Before the list arrives, the select element reserves its space.
            <select onchange={choose} data-testid="language-select" disabled={props.languages.is_empty()}>
                { for options }
                if props.languages.is_empty() { <option>{ "English" }</option> }
            </select>
        </label>
    }
}
