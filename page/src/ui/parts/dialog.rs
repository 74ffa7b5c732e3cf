//! A sheet over the page: a native modal dialog, which keeps the focus and closes on Escape.

use crate::i18n::messages::t;
use crate::ui::parts::icon::icon;
use wasm_bindgen::JsCast;
use web_sys::HtmlDialogElement;
use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct DialogProps {
    pub id: &'static str,
    pub title: String,
    pub close: Callback<()>,
    pub children: Html,
}

/// The sheet, which is open as long as it is rendered.
#[component]
pub fn Dialog(props: &DialogProps) -> Html {
    let node = use_node_ref();
    {
        let node = node.clone();
        use_effect_with((), move |()| {
            if let Some(dialog) = node.cast::<HtmlDialogElement>() {
                // Fails only where the dialog is already open.
                let _ = dialog.show_modal();
            }
        });
    }
    let closed = props.close.reform(|_: Event| ());
    let close = props.close.reform(|_: MouseEvent| ());
    // A click outside of the sheet has the dialog element itself as its target.
    let beside = {
        let (node, close) = (node.clone(), props.close.clone());
        Callback::from(move |event: MouseEvent| {
            let target = event.target().and_then(|target| target.dyn_into::<HtmlDialogElement>().ok());
            if target.is_some() && target == node.cast::<HtmlDialogElement>() {
                close.emit(());
            }
        })
    };
    let title = format!("{}-title", props.id);
    html! {
        <dialog ref={node} id={props.id} aria-labelledby={title.clone()} onclose={closed} onclick={beside}>
            <div class="sheet">
                <div class="head">
                    <h2 id={title}>{ &props.title }</h2>
                    <button type="button" class="quiet icon-only" onclick={close} aria-label={t!("close")}>
                        { icon("close") }</button>
                </div>
                { props.children.clone() }
            </div>
        </dialog>
    }
}
