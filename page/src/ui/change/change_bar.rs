//! The bar at the top: what is changed about the routing, its effect, and ways back.

use crate::i18n::format;
use crate::i18n::messages::t;
use crate::routing::Policy;
use crate::routing::effect::Effect;
use crate::state::shared::Shared;
use crate::state::story::expert_off;
use crate::state::{Action, LayerChoice, SELF};
use crate::ui::change::policy_words::in_words;
use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct ChangeBarProps {
    /// The policy in use.
    pub in_use: Policy,
    /// Its effect, once it is computed.
    pub effect: Option<Shared<Effect>>,
    /// Why the engine rejected the last policy.
    pub refused: Option<String>,
    /// Whether the comparison with the unchanged model is open.
    pub compared: bool,
    pub dispatch: Callback<Action>,
}

/// The bar; empty under the model's own routing.
#[component]
pub fn ChangeBar(props: &ChangeBarProps) -> Html {
    let back = props.dispatch.reform(|_: MouseEvent| Action::Policy(Policy::default()));
    let compare = {
        let (dispatch, layer) = (props.dispatch.clone(), expert_off(&props.in_use).map(|expert| expert.layer));
        Callback::from(move |_: MouseEvent| {
            // The second side shows the unchanged model; the layer shown is the changed one.
            if let Some(layer) = layer {
                dispatch.emit(Action::Layer(LayerChoice::One(layer)));
            }
            dispatch.emit(Action::Compare(Some(SELF.into())));
        })
    };
    let dismiss = props.dispatch.reform(|_: MouseEvent| Action::DismissRefusal);
    let words = in_words(&props.in_use);
    html! {
        <>
            <div role="status" class="change-place" data-place="change">
                if !words.is_empty() {
                    <div class="change-bar" data-testid="change-bar">
                        <p translate="no">
                            <b>{ what(&props.in_use, &words) }</b>{ " " }
                            { props.effect.as_deref().map_or_else(|| t!("change.waiting"), outcome) }
                        </p>
                        <span class="row wrap">
                            if !props.compared {
                                <button type="button" onclick={compare} data-testid="change-compare">
                                    { t!("change.compare") }</button>
                            }
                            <button type="button" class="primary" onclick={back} data-testid="policy-back">
                                { t!("change.back") }</button>
                        </span>
                    </div>
                }
            </div>
            <div role="alert">
                if let Some(refused) = &props.refused {
                    <div class="notice problem" data-testid="policy-refused">
                        <p>{ refused }</p>
                        <button type="button" class="quiet icon-only" onclick={dismiss} aria-label={t!("dismiss")}>
                            { crate::ui::parts::icon::icon("close") }
                        </button>
                    </div>
                }
            </div>
        </>
    }
}

/// The changes: a sentence for a single expert, otherwise a list.
fn what(policy: &Policy, words: &[String]) -> String {
    match expert_off(policy) {
        Some(off) => t!("change.expert-off", expert = off.expert, layer = off.layer),
        None => t!("change.list", words = words.join("; ")),
    }
}

/// The effect, with figures.
fn outcome(effect: &Effect) -> String {
    let (before, after) = (effect.before.per_byte, effect.after.per_byte);
    let figures = [before, after].map(format::decimal);
    // A difference that rounds to zero counts as none.
    let differs = figures[0] != figures[1];
    let loss = match after > before {
        _ if !differs => t!("change.loss.same", before = figures[0]),
        true => t!("change.loss.more", by = format::decimal(after - before), before = figures[0], after = figures[1]),
        false => t!("change.loss.less", by = format::decimal(before - after), before = figures[0], after = figures[1]),
    };
    let moved = match effect.rerouted {
        0 => t!("change.moved.none"),
        moved if moved == effect.tokens => t!(moved; "change.moved.all"),
        moved => t!(moved; "change.moved", tokens = effect.tokens),
    };
    format!("{loss} {moved}")
}
