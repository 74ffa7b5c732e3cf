//! The top of the page: the three places, theme, language.

use moescope_common::icon::{icon, mark};
use moescope_common::messages::Language;
use moescope_common::t;
use std::rc::Rc;
use wasm_bindgen::JsCast;
use web_sys::HtmlSelectElement;
use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct HeaderProps {
    /// The place is Lab, not Learn.
    pub is_lab: bool,
    pub dark: bool,
    pub languages: Rc<Vec<Language>>,
    pub language: String,
    pub theme: Callback<bool>,
    pub speak: Callback<String>,
}

/// The header.
#[component]
pub fn Header(props: &HeaderProps) -> Html {
    let dark = props.dark;
    let theme = props.theme.reform(move |_: MouseEvent| !dark);
    let label = if dark { t!("theme.light") } else { t!("theme.dark") };
    let current = |is: bool| is.then_some("page");
    html! {
        <header>
            <span class="logo">{ mark() }{ t!("name") }</span>
            <nav class="places" aria-label={t!("places")}>
                <a href="#" data-testid="place-explore">{ t!("place.explore") }</a>
                <a href="#/learn" data-testid="place-learn" aria-current={current(!props.is_lab)}>
                    { t!("place.learn") }</a>
                <a href="#/lab/local-experts" data-testid="place-lab" aria-current={current(props.is_lab)}>
                    { t!("place.lab") }</a>
            </nav>
            <span class="grow"></span>
            { languages(props) }
            <button type="button" class="quiet icon-only" data-testid="theme" aria-label={label.clone()} title={label}
                onclick={theme}>{ icon(if dark { "sun" } else { "moon" }) }</button>
        </header>
    }
}

fn languages(props: &HeaderProps) -> Html {
    let speak = props.speak.clone();
    let choose = Callback::from(move |event: Event| {
        let select = event.target().and_then(|target| target.dyn_into::<HtmlSelectElement>().ok());
        if let Some(select) = select {
            speak.emit(select.value());
        }
    });
    let options = props.languages.iter().map(|language| {
        html! {
            <option key={language.code.clone()} value={language.code.clone()} lang={language.code.clone()}
                selected={language.code == props.language}>{ &language.name }</option>
        }
    });
    html! {
        <label class="language"><span class="hidden">{ t!("language") }</span>
            <select onchange={choose} data-testid="language-select" disabled={props.languages.is_empty()}>
                { for options }
                if props.languages.is_empty() { <option>{ "English" }</option> }
            </select>
        </label>
    }
}
