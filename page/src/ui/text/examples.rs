//! The menu of example texts from `examples.json`.

use crate::i18n::messages::{name_of, t};
use crate::state::Action;
use crate::state::example::Example;
use crate::state::shared::Shared;
use crate::ui::parts::icon::icon;
use crate::ui::parts::popup::Popup;
use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct ExamplesProps {
    pub examples: Shared<Vec<Example>>,
    pub text: Shared<String>,
    pub kept_text: Option<Shared<String>>,
    pub dispatch: Callback<Action>,
}

/// A menu with an entry for each example, and one for the text kept from the last visit.
#[component]
pub fn Examples(props: &ExamplesProps) -> Html {
    let choose = |text: String| props.dispatch.reform(move |_: MouseEvent| Action::Replace(text.clone()));
    let name = |example: &Example| name_of("example", &example.id, &example.label);
    let on = props.examples.iter().find(|example| *props.text == example.text);
    let buttons = props.examples.iter().map(|example| {
        let pressed = *props.text == example.text;
        html! {
            <button key={example.id.clone()} type="button" aria-pressed={pressed.to_string()} data-closes=""
                data-testid="example"
                data-example={example.id.clone()} onclick={choose(example.text.clone())}>{ name(example) }</button>
        }
    });
    let kept = props.kept_text.as_ref().filter(|kept| ***kept != **props.text).map(|kept| {
        let forget = props.dispatch.reform(|_: MouseEvent| Action::ForgetKept);
        html! {
            <span class="joined">
                <button type="button" data-closes="" data-testid="kept-text" onclick={choose((**kept).clone())}>
                    { t!("examples.kept") }</button>
                <button type="button" class="quiet" onclick={forget} aria-label={t!("examples.forget")}
                    title={t!("examples.forget")}>{ icon("close") }</button>
            </span>
        }
    });
    let label = html! { <>{ on.map_or_else(|| t!("examples.label"), name) }{ icon("down") }</> };
    html! {
        <Popup {label} place={classes!("examples")} testid="examples-menu">
            <div class="menu-list" role="group" aria-label={t!("examples.label")}>{ for buttons }{ kept }</div>
        </Popup>
    }
}
