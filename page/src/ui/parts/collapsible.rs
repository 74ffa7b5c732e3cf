//! On a narrow screen a card folds to its head, so that the page is no longer than the visitor wants; the choice is kept.

use crate::i18n::messages::t;
use crate::ui::browser::storage;
use crate::ui::parts::icon::icon;
use web_sys::Element;
use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct CollapsibleProps {
    /// Names the card in the browser's storage.
    pub name: &'static str,
    /// Folded until the visitor says otherwise.
    #[prop_or_default]
    pub folded: bool,
}

/// The button in a card's head; only narrow screens show it, and heed it (see style.css).
#[component]
pub fn Collapsible(props: &CollapsibleProps) -> Html {
    let (name, first) = (props.name, props.folded);
    let folded = use_state_eq(|| storage::folded(name).unwrap_or(first));
    let node = use_node_ref();
    {
        let node = node.clone();
        use_effect_with(*folded, move |folded| {
            let card = node.cast::<Element>().and_then(|button| button.closest(".card").ok().flatten());
            if let Some(card) = card {
                // Fails only for a name that is no class.
                let _ = card.class_list().toggle_with_force("folded", *folded);
            }
        });
    }
    let toggle = {
        let folded = folded.clone();
        Callback::from(move |_: MouseEvent| {
            storage::fold(name, !*folded);
            folded.set(!*folded);
        })
    };
    html! {
        <button ref={node} type="button" class="quiet icon-only fold" onclick={toggle} data-testid={format!("fold-{name}")}
            aria-expanded={(!*folded).to_string()} aria-label={t!("fold")}>{ icon("down") }</button>
    }
}
