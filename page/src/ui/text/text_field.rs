//! The text box, and a line with the number of tokens.

use crate::i18n::format;
use crate::i18n::messages::t;
use crate::state::Action;
use crate::state::shared::Shared;
use crate::ui::parts::icon::icon;
use crate::ui::text::text_box::TextBox;
use crate::worker::protocol::Overflow;
use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct TextFieldProps {
    pub node: NodeRef,
    /// Whether a model is loaded.
    pub has_model: bool,
    pub text: Shared<String>,
    /// Whether there is an older text to restore.
    pub can_undo: bool,
    /// Number of tokens routed, and the most that the context allows.
    pub routed: usize,
    pub context: usize,
    pub overflow: Option<Overflow>,
    pub dispatch: Callback<Action>,
}

/// The box, and the line below it.
#[component]
pub fn TextField(props: &TextFieldProps) -> Html {
    let clear = props.dispatch.reform(|_: MouseEvent| Action::Replace(String::new()));
    let undo = props.dispatch.reform(|_: MouseEvent| Action::UndoReplace);
    html! {
        <div class="text-field">
            <TextBox node={props.node.clone()} dispatch={props.dispatch.clone()} />
            <div class="row wrap text-state" id="text-state">
                // A translator that replaces its text nodes would leave an old number there.
                <span data-testid="token-count" translate="no" title={context(props)}>{ token_count(props) }</span>
                { overflow(props) }
                <span class="grow"></span>
                if props.can_undo {
                    <button type="button" class="link" onclick={undo} data-testid="undo-text">
                        { icon("undo") }{ t!("text.undo") }</button>
                }
                if !props.text.is_empty() {
                    <button type="button" class="link" onclick={clear} data-testid="clear-text">
                        { icon("close") }{ t!("text.clear") }</button>
                }
            </div>
        </div>
    }
}

/// How many tokens a text may have.
fn context(props: &TextFieldProps) -> Option<String> {
    props.has_model.then(|| t!("text.tokens.about", context = format::count(props.context as f64)))
}

/// Tokens routed; nothing without a model.
fn token_count(props: &TextFieldProps) -> String {
    if props.has_model { t!(props.routed; "text.tokens") } else { String::new() }
}

/// Where the text exceeds the context, how much of it was left out.
fn overflow(props: &TextFieldProps) -> Html {
    let Some(overflow) = &props.overflow else { return html! {} };
    let rest = props.text.get(overflow.routed_bytes..).map_or(0, |rest| rest.chars().count());
    let left_out = t!(rest; "text.left-out");
    html! {
        <span class="overflow" data-testid="overflow">{ t!(overflow.context; "text.overflow", left_out = left_out) }
            </span>
    }
}
