//! The help sheet: what a Mixture of Experts is, what the figures mean, and the keys.

use crate::i18n::messages::t;
use crate::ui::parts::dialog::Dialog;
use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct HelpProps {
    pub close: Callback<()>,
}

/// The sheet.
#[component]
pub fn Help(props: &HelpProps) -> Html {
    let paragraphs = ["what", "router", "balance", "private"].map(|name| {
        html! { <><h3>{ t!(&format!("help.{name}.title")) }</h3><p>{ t!(&format!("help.{name}")) }</p></> }
    });
    let keys = [
        ("?", "help"),
        ("/", "text"),
        ("0 … 9", "layer"),
        ("a", "all"),
        ("m l f", "picture"),
        ("← →", "walk"),
        ("Shift ← →", "range"),
        ("↑ ↓", "rows"),
        ("Ctrl Enter", "generate"),
        ("Ctrl Z", "undo"),
        ("Esc", "escape"),
    ];
    let keys = keys.map(|(key, name)| {
        let key = key.split(' ').map(|key| {
            if key == "…" {
                html! { key }
            } else {
                html! { <kbd>{ key }</kbd> }
            }
        });
        html! { <><dt>{ for key }</dt><dd>{ t!(&format!("key.{name}")) }</dd></> }
    });
    html! {
        <Dialog id="help" title={t!("help.title")} close={props.close.clone()}>
            { for paragraphs }
            <h3>{ t!("help.keys") }</h3>
            <dl class="keys">{ for keys }</dl>
        </Dialog>
    }
}
