//! Which model: those that come with the page, or one's own from files or an address.

use crate::i18n::messages::t;
use crate::site::{absolute, from_files, shipped};
use crate::state::shared::Shared;
use crate::state::{Action, Offered};
use crate::ui::parts::dialog::Dialog;
use crate::ui::parts::icon::icon;
use crate::worker::protocol::Source;
use wasm_bindgen::JsCast;
use web_sys::{HtmlInputElement, HtmlSelectElement};
use yew::prelude::*;

/// The value of the entry that opens the sheet, and of the entry for a model that is not on the list.
const OPEN: &str = "\u{0}open";
const OTHER: &str = "\u{0}other";

#[derive(Properties, PartialEq)]
pub struct ModelSelectProps {
    pub offered: Shared<Vec<Offered>>,
    /// Name or address of the model asked for.
    pub asked: Option<String>,
    /// Name of the model in use.
    pub name: Option<String>,
    pub dispatch: Callback<Action>,
}

/// The list, and the sheet to open a model.
#[component]
pub fn ModelSelect(props: &ModelSelectProps) -> Html {
    let open = use_state_eq(|| false);
    let node = use_node_ref();
    let on_list = props.offered.iter().find(|offered| props.asked.as_ref() == Some(&offered.name));
    let value = on_list.map_or(OTHER, |offered| offered.name.as_str()).to_owned();
    {
        // After "Open a model..." the list must say again what is in use.
        let (node, value) = (node.clone(), value.clone());
        use_effect(move || {
            if let Some(select) = node.cast::<HtmlSelectElement>() {
                select.set_value(&value);
            }
        });
    }
    let choose = {
        let (dispatch, open) = (props.dispatch.clone(), open.clone());
        Callback::from(move |event: Event| {
            let select = event.target().and_then(|target| target.dyn_into::<HtmlSelectElement>().ok());
            let Some(value) = select.map(|select| select.value()) else { return };
            match value.as_str() {
                OPEN => open.set(true),
                OTHER => {}
                name => dispatch.emit(Action::Load { source: shipped(name), asked: Some(name.to_owned()) }),
            }
        })
    };
    let options = props.offered.iter().map(|offered| {
        html! {
            <option key={offered.name.clone()} value={offered.name.clone()} title={offered.about.clone()}
                selected={offered.name == value}>{ &offered.name }</option>
        }
    });
    let other = on_list.is_none().then(|| {
        let name = props.name.clone().unwrap_or_else(|| t!("model.none"));
        html! { <option value={OTHER} selected=true>{ name }</option> }
    });
    let close = {
        let open = open.clone();
        Callback::from(move |()| open.set(false))
    };
    html! {
        <>
            <label class="model-select">
                <span class="hidden">{ t!("model.label") }</span>
                <select ref={node} data-testid="model-select" onchange={choose}>
                    { other }
                    { for options }
                    <option value={OPEN}>{ t!("model.open") }</option>
                </select>
            </label>
            if *open { <OpenModel {close} dispatch={props.dispatch.clone()} /> }
        </>
    }
}

#[derive(Properties, PartialEq)]
struct OpenModelProps {
    close: Callback<()>,
    dispatch: Callback<Action>,
}

/// The sheet: a directory, some files, or an address.
#[component]
fn OpenModel(props: &OpenModelProps) -> Html {
    let address = use_node_ref();
    let wrong = use_state_eq(|| false);
    let files = {
        let (close, dispatch) = (props.close.clone(), props.dispatch.clone());
        Callback::from(move |event: Event| {
            let input = event.target().and_then(|target| target.dyn_into::<HtmlInputElement>().ok());
            if let Some(source) = input.and_then(|input| input.files()).map(|files| from_files(&files)) {
                dispatch.emit(Action::Load { source, asked: None });
                close.emit(());
            }
        })
    };
    let submit = {
        let (close, dispatch, address, wrong) =
            (props.close.clone(), props.dispatch.clone(), address.clone(), wrong.clone());
        Callback::from(move |event: SubmitEvent| {
            event.prevent_default();
            let text = address.cast::<HtmlInputElement>().map(|input| input.value()).unwrap_or_default();
            match absolute(text.trim()) {
                Some(url) if !text.trim().is_empty() => {
                    dispatch.emit(Action::Load { source: Source::Url(url.clone()), asked: Some(url) });
                    close.emit(());
                }
                _ => wrong.set(true),
            }
        })
    };
    html! {
        <Dialog id="open-model" title={t!("open.title")} close={props.close.clone()}>
            <p>{ t!("open.about") }</p>
            <div class="row wrap">
                <label class="button">{ icon("folder") }{ t!("open.directory") }
                    <input type="file" webkitdirectory=true data-testid="open-directory" onchange={files.clone()} />
                </label>
                <label class="button">{ icon("folder") }{ t!("open.files") }
                    <input type="file" multiple=true accept=".json,.safetensors" data-testid="open-files" onchange={files} />
                </label>
            </div>
            <form class="address" onsubmit={submit}>
                <label for="model-address">{ t!("open.address") }</label>
                <div class="row">
                    <input ref={address} id="model-address" type="text" inputmode="url" autocomplete="off"
                        placeholder="https://" aria-describedby="model-address-state" />
                    <button type="submit" class="primary">{ t!("open.load") }</button>
                </div>
                <p id="model-address-state" class="hint" role="status">
                    { if *wrong { t!("open.wrong") } else { t!("open.cors") } }
                </p>
            </form>
            <p class="hint">{ t!("open.private") }</p>
        </Dialog>
    }
}
