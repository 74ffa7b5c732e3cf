//! The data of a picture as a table, for visitors who cannot see it or want the exact numbers. It is rendered only
//! while it is open.

use crate::i18n::messages::t;
use wasm_bindgen::JsCast;
use web_sys::HtmlDetailsElement;
use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct AsTableProps {
    pub caption: String,
    /// Renders head and body of the table.
    pub content: Callback<(), Html>,
}

/// The table, initially closed.
#[component]
pub fn AsTable(props: &AsTableProps) -> Html {
    let open = use_state_eq(|| false);
    let toggle = {
        let open = open.clone();
        Callback::from(move |event: Event| {
            let details = event.target().and_then(|target| target.dyn_into::<HtmlDetailsElement>().ok());
            open.set(details.is_some_and(|details| details.open()));
        })
    };
    html! {
        <details class="as-table" ontoggle={toggle}>
            <summary>{ t!("table.show") }</summary>
            if *open {
                <div class="scroll" tabindex="0" role="region" aria-label={props.caption.clone()}>
                    <table><caption>{ &props.caption }</caption>{ props.content.emit(()) }</table>
                </div>
            }
        </details>
    }
}
