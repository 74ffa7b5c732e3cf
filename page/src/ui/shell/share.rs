//! Copies a link to the current view.

use crate::i18n::messages::t;
use crate::state::Action;
use crate::state::address::Address;
use crate::state::route::Route;
use crate::ui::parts::icon::icon;
use gloo::timers::callback::Timeout;
use gloo::utils::window;
use wasm_bindgen_futures::{JsFuture, spawn_local};
use yew::prelude::*;

/// How long the button says that the link was copied.
const SAID_MS: u32 = 2000;

#[derive(Properties, PartialEq)]
pub struct ShareProps {
    /// Whether the text is too long for a link.
    pub too_long: bool,
    /// The model is of the visitor's own files, which no link leads to.
    pub opened: bool,
    /// Brings the page's address up to date.
    pub refresh: Callback<()>,
    pub dispatch: Callback<Action>,
}

/// The button.
#[component]
pub fn Share(props: &ShareProps) -> Html {
    let copied = use_state_eq(|| false);
    let click = {
        let (copied, props) =
            (copied.clone(), (props.refresh.clone(), props.dispatch.clone(), props.too_long, props.opened));
        Callback::from(move |_: MouseEvent| {
            let (refresh, dispatch, too_long, opened) = props.clone();
            refresh.emit(());
            if too_long {
                dispatch.emit(Action::Note(t!("share.too-long").into()));
            }
            if opened {
                dispatch.emit(Action::Note(t!("share.opened").into()));
            }
            let copied = copied.clone();
            spawn_local(async move {
                let link = link();
                if !copy(&link).await {
                    dispatch.emit(Action::Note(t!("share.refused", link = link).into()));
                    return;
                }
                copied.set(true);
                Timeout::new(SAID_MS, move || copied.set(false)).forget();
            });
        })
    };
    let (sign, text) = if *copied { ("check", t!("share.copied")) } else { ("share", t!("share.label")) };
    html! {
        <button type="button" class="quiet share" data-testid="share" onclick={click}>
            { icon(sign) }<span aria-live="polite">{ text }</span>
        </button>
    }
}

/// The link of what the address shows. Which engine runs is this visitor's choice, not the recipient's.
fn link() -> String {
    let location = window().location();
    let part = |part: Result<String, _>| part.unwrap_or_default();
    let route = match Route::read(&part(location.search()), &part(location.hash())) {
        Route::Explore(address) => Route::Explore(Box::new(Address { backend: None, ..*address })),
        other => other,
    };
    part(location.origin()) + &part(location.pathname()) + &route.to_string()
}

/// Puts a text on the clipboard; false where the browser does not allow it, as at an address without https.
async fn copy(text: &str) -> bool {
    let clipboard = window().navigator().clipboard();
    !clipboard.is_undefined() && JsFuture::from(clipboard.write_text(text)).await.is_ok()
}
