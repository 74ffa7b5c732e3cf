//! The card of the text: the box, examples, generation, and what is known about the text.

use crate::i18n::format;
use crate::i18n::messages::t;
use crate::state::Action;
use crate::state::example::Example;
use crate::state::shared::Shared;
use crate::ui::parts::icon::icon;
use crate::ui::text::examples::Examples;
use crate::ui::text::generate::Generate;
use crate::ui::text::text_box::TextBox;
use crate::worker::protocol::{Overflow, Sampling};
use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct TextCardProps {
    pub node: NodeRef,
    pub text: Shared<String>,
    /// There is a text to go back to.
    pub can_undo: bool,
    pub kept_text: Option<Shared<String>>,
    pub examples: Shared<Vec<Example>>,
    pub sampling: Sampling,
    pub tokens: usize,
    pub generating: bool,
    /// A model is in use.
    pub has_model: bool,
    /// Tokens routed, and how many a text may have.
    pub routed: usize,
    pub context: usize,
    pub overflow: Option<Overflow>,
    pub dispatch: Callback<Action>,
}

/// The card.
#[component]
pub fn TextCard(props: &TextCardProps) -> Html {
    let clear = props.dispatch.reform(|_: MouseEvent| Action::Replace(String::new()));
    let undo = props.dispatch.reform(|_: MouseEvent| Action::UndoReplace);
    html! {
        <section class="card text-card" aria-label={t!("text.label")}>
            <TextBox node={props.node.clone()} dispatch={props.dispatch.clone()} />
            <div class="row wrap text-state" id="text-state">
                <span data-testid="token-count">{ t!(props.routed; "text.tokens", context = format::count(props.context as f64)) }</span>
                { overflow(props) }
                <span class="grow"></span>
                if props.can_undo {
                    <button type="button" class="quiet small" onclick={undo}>{ icon("undo") }{ t!("text.undo") }</button>
                }
                if !props.text.is_empty() {
                    <button type="button" class="quiet small" onclick={clear}>{ icon("close") }{ t!("text.clear") }</button>
                }
            </div>
            <div class="row wrap">
                <Examples examples={props.examples.clone()} text={props.text.clone()} kept_text={props.kept_text.clone()}
                    dispatch={props.dispatch.clone()} />
                <span class="grow"></span>
                <Generate sampling={props.sampling} tokens={props.tokens} generating={props.generating}
                    possible={props.has_model && props.routed > 0} full={props.context > 0 && props.routed >= props.context}
                    dispatch={props.dispatch.clone()} />
            </div>
        </section>
    }
}

/// Where a text does not fit, how much of it was left out.
fn overflow(props: &TextCardProps) -> Html {
    let Some(overflow) = &props.overflow else { return html! {} };
    let rest = props.text.get(overflow.routed_bytes..).map_or(0, |rest| rest.chars().count());
    let left_out = t!(rest; "text.left-out");
    html! {
        <span class="overflow" data-testid="overflow">{ t!(overflow.context; "text.overflow", left_out = left_out) }</span>
    }
}
