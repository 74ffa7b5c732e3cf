//! Says, over the page, what is changed about the routing, and leads back.

use crate::i18n::messages::t;
use crate::routing::Policy;
use crate::state::Action;
use crate::ui::change::policy_words::in_words;
use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct PolicyBarProps {
    /// What the engine does.
    pub in_use: Policy,
    /// Why it does not do what was asked.
    pub refused: Option<String>,
    pub dispatch: Callback<Action>,
}

/// The bar; nothing where the model routes by itself.
#[component]
pub fn PolicyBar(props: &PolicyBarProps) -> Html {
    let back = props.dispatch.reform(|_: MouseEvent| Action::Policy(Policy::default()));
    let keep = props.dispatch.reform(|_: MouseEvent| Action::KeepBeside);
    let words = in_words(&props.in_use);
    html! {
        <>
            <div role="status" class="policy-place">
                if !words.is_empty() {
                    <div class="notice policy-bar" data-testid="policy-bar">
                        <p><b>{ t!("policy.changed") }</b>{ " " }{ words.join("; ") }</p>
                        <button type="button" onclick={keep} data-testid="policy-keep" title={t!("policy.keep.about")}>{ t!("policy.keep") }</button>
                        <button type="button" class="primary" onclick={back} data-testid="policy-back">{ t!("policy.back") }</button>
                    </div>
                }
            </div>
            <div role="alert" class="notices">
                if let Some(refused) = &props.refused {
                    <div class="notice problem" data-testid="policy-refused"><p>{ refused }</p></div>
                }
            </div>
        </>
    }
}
