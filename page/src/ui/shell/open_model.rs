//! The dialog that opens a model: from files, from an address, or one that is kept in the browser.

use crate::i18n::format;
use crate::i18n::messages::t;
use crate::kept::{self, Kept};
use crate::site::{address_of, open_address, open_files, path_of};
use crate::state::Action;
use crate::state::openings::Openings;
use crate::ui::parts::dialog::Dialog;
use crate::ui::parts::icon::icon;
use crate::worker::protocol::{KeptModel, Source};
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::spawn_local;
use web_sys::HtmlInputElement;
use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct OpenModelProps {
    pub close: Callback<()>,
    /// Where the model in use came from.
    pub own: Option<Source>,
    pub openings: Openings,
    pub dispatch: Callback<Action>,
}

/// The dialog for a directory, files or an address.
#[component]
pub fn OpenModel(props: &OpenModelProps) -> Html {
    let (address, token) = (use_node_ref(), use_node_ref());
    let wrong = use_state_eq(|| false);
    let files = {
        let (close, dispatch) = (props.close.clone(), props.dispatch.clone());
        Callback::from(move |event: Event| {
            let input = event.target().and_then(|target| target.dyn_into::<HtmlInputElement>().ok());
            if let Some(files) = input.and_then(|input| input.files()) {
                let files = (0..files.length()).filter_map(|index| files.get(index));
                open_files(&files.map(|file| (path_of(&file), file)).collect::<Vec<_>>(), &dispatch);
                close.emit(());
            }
        })
    };
    let submit = {
        let (close, dispatch, address, token, wrong) =
            (props.close.clone(), props.dispatch.clone(), address.clone(), token.clone(), wrong.clone());
        Callback::from(move |event: SubmitEvent| {
            event.prevent_default();
            let value = |node: &NodeRef| node.cast::<HtmlInputElement>().map(|input| input.value()).unwrap_or_default();
            match address_of(value(&address).trim()) {
                Some(url) => {
                    let token = value(&token).trim().to_owned();
                    dispatch.emit(Action::Token { address: url.clone(), token });
                    open_address(url, &dispatch);
                    close.emit(());
                }
                None => wrong.set(true),
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
                    <input type="file" multiple=true data-testid="open-files" onchange={files} />
                </label>
            </div>
            <form class="address" onsubmit={submit}>
                <label for="model-address">{ t!("open.address") }</label>
                <div class="row">
                    <input ref={address} id="model-address" type="text" inputmode="url" autocomplete="off"
                        placeholder="https://" aria-describedby="model-address-state" />
                    <button type="submit" class="primary">{ t!("open.load") }</button>
                </div>
                <label for="model-token">{ t!("open.token") }</label>
                <input ref={token} id="model-token" type="password" autocomplete="off" data-testid="model-token"
                    aria-describedby="model-token-about" />
                <p id="model-token-about" class="hint">{ t!("open.token.about") }</p>
                <p id="model-address-state" class="hint" role="status">
                    { if *wrong { t!("open.wrong") } else { t!("open.cors") } }
                </p>
            </form>
            <p class="hint">{ t!("open.private") }</p>
            <KeptModels close={props.close.clone()} own={props.own.clone()} openings={props.openings.clone()}
                dispatch={props.dispatch.clone()} />
        </Dialog>
    }
}

/// The models that are kept in the browser, and the model in use, which can be kept.
#[component]
fn KeptModels(props: &OpenModelProps) -> Html {
    let kept = use_state_eq(Kept::default);
    let asked = use_state_eq(|| 0);
    {
        let kept = kept.clone();
        use_effect_with((props.openings.kept, *asked), move |_| {
            spawn_local(async move { kept.set(kept::list().await) });
        });
    }
    let rows = kept.models.iter().map(|model| row(model, props, &asked));
    let own = match &props.own {
        Some(Source::Url(address)) if kept.models.iter().all(|model| model.address != *address) => Some(address),
        _ => None,
    };
    let keep = props.dispatch.reform(|_: MouseEvent| Action::Keep);
    html! {
        <section class="kept" aria-labelledby="kept-title" data-testid="kept">
            <h3 id="kept-title">{ t!("kept.title") }</h3>
            if kept.models.is_empty() { <p class="hint">{ t!("kept.none") }</p> }
            <ul>{ for rows }</ul>
            if let Some(address) = own {
                <button type="button" data-testid="keep" disabled={props.openings.keeping} onclick={keep}>
                    { t!("kept.keep", address = address) }</button>
            }
            if let Some((used, allowed)) = kept.storage {
                <p class="hint">
                    { t!("kept.storage", used = format::bytes(used), allowed = format::bytes(allowed)) }</p>
            }
        </section>
    }
}

fn row(model: &KeptModel, props: &OpenModelProps, asked: &UseStateHandle<usize>) -> Html {
    let open = {
        let (address, dispatch, close) = (model.address.clone(), props.dispatch.clone(), props.close.clone());
        Callback::from(move |_: MouseEvent| {
            open_address(address.clone(), &dispatch);
            close.emit(());
        })
    };
    let delete = {
        let (address, asked) = (model.address.clone(), asked.clone());
        Callback::from(move |_: MouseEvent| {
            let (address, asked) = (address.clone(), asked.clone());
            spawn_local(async move {
                kept::delete(&address).await;
                asked.set(*asked + 1);
            });
        })
    };
    html! {
        <li key={model.address.clone()} class="row wrap" data-testid="kept-model">
            <b title={model.address.clone()}>{ &model.name }</b>
            <span>{ format::bytes(model.bytes() as f64) }</span>
            <button type="button" class="small" data-testid="kept-open" onclick={open}>{ t!("kept.open") }</button>
            <button type="button" class="quiet small" data-testid="kept-delete" onclick={delete}
                aria-label={t!("kept.delete.of", name = model.name)}>{ t!("kept.delete") }</button>
        </li>
    }
}
