//! The card of the token strip: layer, meaning of the colours, the strip, and the token under it in one line.

use crate::i18n::format;
use crate::i18n::messages::t;
use crate::routing::Trace;
use crate::routing::analytics::path;
use crate::routing::dossier::Dossier;
use crate::state::shared::Shared;
use crate::state::{Action, COLOURS, ColourBy, LayerChoice, colour_name};
use crate::ui::browser::ready_state::ReadyState;
use crate::ui::strip::layer_select::LayerSelect;
use crate::ui::strip::playback::Playback;
use crate::ui::strip::token_strip::TokenStrip;
use crate::ui::strip::token_text::quoted;
use crate::worker::protocol::Overflow;
use wasm_bindgen::JsCast;
use web_sys::{HtmlInputElement, HtmlSelectElement};
use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct StripCardProps {
    pub trace: Shared<Trace>,
    /// Tokens of the whole text; during playback `trace` has fewer.
    pub length: usize,
    pub played: Option<usize>,
    pub layers: usize,
    /// No model is in use yet.
    pub waiting: bool,
    /// The model has experts.
    pub routed: bool,
    pub layer: LayerChoice,
    pub colour_by: ColourBy,
    pub dossier: Option<Shared<Dossier>>,
    pub search: String,
    pub range_end: Option<usize>,
    pub found: Shared<Vec<bool>>,
    pub pinned: Option<usize>,
    pub hovered: Option<usize>,
    pub inspected: Option<usize>,
    /// The first token that the last answer brought.
    pub changed_at: usize,
    pub overflow: Option<Overflow>,
    /// Tokens that are on their way.
    pub to_come: usize,
    pub ready_state: ReadyState,
    /// The moment of the training that is shown, in words.
    pub recorded: Option<String>,
    /// What to say where there is no token.
    pub empty: String,
    pub dispatch: Callback<Action>,
}

/// The card.
#[component]
pub fn StripCard(props: &StripCardProps) -> Html {
    let about = match props.layer {
        _ if !props.routed && !props.waiting => t!("strip.about.dense"),
        LayerChoice::One(_) => t!(&format!("strip.about.{}", colour_name(props.colour_by))),
        LayerChoice::All => t!("strip.about.all"),
    };
    html! {
        <section class="card" aria-labelledby="strip-title">
            <div class="head"><h2 id="strip-title">{ t!("strip.title") }</h2><p>{ about }</p></div>
            if let Some(moment) = &props.recorded {
                <p class="recorded" role="status" data-testid="recorded">{ moment }{ " " }
                    <button type="button" class="link" onclick={props.dispatch.reform(|_: MouseEvent| Action::Snapshot(None))}>
                        { t!("recorded.back") }
                    </button>
                </p>
            }
            if props.waiting {
                // Keeps the controls' place.
                <div class="strip-controls waiting"></div>
            }
            if props.routed {
                <div class="row wrap strip-controls">
                    <LayerSelect layers={props.layers} layer={props.layer} dispatch={props.dispatch.clone()} />
                    <span class="grow"></span>
                    { search(props) }
                    { colour_by(props) }
                </div>
            }
            if props.trace.is_empty() {
                <p class="empty">{ &props.empty }</p>
            } else {
                <TokenStrip trace={props.trace.clone()} layer={props.layer} colour_by={props.colour_by}
                    dossier={props.dossier.clone()} found={props.found.clone()} range_end={props.range_end}
                    pinned={props.pinned} hovered={props.hovered} changed_at={props.changed_at} overflow={props.overflow.clone()}
                    to_come={props.to_come} ready_state={props.ready_state.clone()} dispatch={props.dispatch.clone()} />
                <p class="one-line">{ one_line(props) }</p>
                <Playback length={props.length} played={props.played} dispatch={props.dispatch.clone()} />
            }
        </section>
    }
}

fn colour_by(props: &StripCardProps) -> Html {
    if props.layer == LayerChoice::All {
        return html! {};
    }
    let choose = {
        let dispatch = props.dispatch.clone();
        Callback::from(move |event: Event| {
            let select = event.target().and_then(|target| target.dyn_into::<HtmlSelectElement>().ok());
            let Some(value) = select.map(|select| select.value()) else { return };
            if let Some(choice) = COLOURS.into_iter().find(|choice| colour_name(*choice) == value) {
                dispatch.emit(Action::ColourBy(choice));
            }
        })
    };
    let possible = COLOURS.into_iter().filter(|choice| match choice {
        ColourBy::Domain => props.dossier.is_some(),
        // A recording has no scores, only what was chosen.
        ColourBy::Entropy => props.recorded.is_none(),
        _ => true,
    });
    let options = possible.map(|choice| {
        html! {
            <option value={colour_name(choice)} selected={choice == props.colour_by}>{ t!(&format!("colour.{}", colour_name(choice))) }</option>
        }
    });
    html! {
        <label class="row"><span class="soft">{ t!("colour.label") }</span>
            <select data-testid="colour-by" onchange={choose}>{ for options }</select>
        </label>
    }
}

/// Finds a text among the tokens: Enter goes from one to the next.
fn search(props: &StripCardProps) -> Html {
    let input = {
        let dispatch = props.dispatch.clone();
        Callback::from(move |event: InputEvent| {
            let input = event.target().and_then(|target| target.dyn_into::<HtmlInputElement>().ok());
            if let Some(input) = input {
                dispatch.emit(Action::Search(input.value()));
            }
        })
    };
    let next = {
        let dispatch = props.dispatch.clone();
        Callback::from(move |event: KeyboardEvent| {
            if event.key() == "Enter" && !event.is_composing() {
                event.prevent_default();
                dispatch.emit(Action::FindNext);
            }
        })
    };
    let count = props.found.iter().filter(|found| **found).count();
    html! {
        <label class="row search"><span class="hidden">{ t!("find.label") }</span>
            <input type="search" placeholder={t!("find.placeholder")} value={props.search.clone()} data-testid="find"
                oninput={input} onkeydown={next} />
            <span class="soft" role="status">{ (!props.search.is_empty() || props.range_end.is_some()).then(|| t!(count; "find.count")) }</span>
        </label>
    }
}

/// The inspected token in one line, so that on a small screen a tap has its answer at once.
fn one_line(props: &StripCardProps) -> Html {
    let trace = &*props.trace;
    let Some((position, token)) = props.inspected.and_then(|p| Some((p, trace.tokens.get(p)?))) else {
        return html! {};
    };
    let shown = match props.layer {
        LayerChoice::One(number) => trace.layer(number),
        LayerChoice::All => None,
    };
    let experts: Vec<(u32, Option<f32>)> = match shown {
        Some(layer) => {
            let weights = layer.weights_of(position).iter().copied().map(Some);
            layer.selected_of(position).iter().copied().zip(weights).collect()
        }
        None => path(trace, position).into_iter().flatten().map(|expert| (expert, None)).collect(),
    };
    let experts = experts.into_iter().map(|(expert, weight)| {
        html! {
            <span class="expert-chip" data-e={expert.to_string()}><b>{ expert }</b>
                if let Some(weight) = weight { { format!(" {}", format::percent(f64::from(weight))) } }
            </span>
        }
    });
    html! {
        <>
            <code>{ quoted(&token.text, token.bytes.as_deref()) }</code>
            <span class="soft">{ t!("token.position", position = position) }</span>
            { for experts }
            <a href="#token-card">{ t!("strip.more") }</a>
        </>
    }
}
