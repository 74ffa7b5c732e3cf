//! The strip with its legend, and the training snapshot that it shows.

use crate::i18n::messages::t;
use crate::routing::dossier::Dossier;
use crate::routing::lens::LayerLens;
use crate::routing::{Policy, Trace};
use crate::state::shared::Shared;
use crate::state::{Action, ColourBy, ExpertOf, LayerChoice, colour_name};
use crate::ui::browser::ready_state::ReadyState;
use crate::ui::strip::token_strip::TokenStrip;
use crate::worker::protocol::Overflow;
use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct StripViewProps {
    pub trace: Shared<Trace>,
    /// Whether no model is loaded yet.
    pub waiting: bool,
    /// Whether the model has experts.
    pub routed: bool,
    pub layer: LayerChoice,
    pub colour_by: ColourBy,
    pub dossier: Option<Shared<Dossier>>,
    pub range_end: Option<usize>,
    pub found: Shared<Vec<bool>>,
    pub pinned: Option<usize>,
    pub hovered: Option<usize>,
    /// The expert whose tokens are marked.
    pub marked: Option<ExpertOf>,
    /// For each token, the loss after a change minus the loss before, in bits; empty without a change.
    pub change: Option<Shared<crate::routing::effect::Effect>>,
    /// What is changed about the routing.
    pub policy: Policy,
    /// What each layer did to the chosen token, once it is known.
    pub look: Option<Shared<Vec<LayerLens>>>,
    /// The first token that the last answer brought.
    pub changed_at: usize,
    pub overflow: Option<Overflow>,
    /// Number of tokens that are still to come.
    pub to_come: usize,
    pub ready_state: ReadyState,
    /// The training snapshot that is shown, in words.
    pub recorded: Option<String>,
    /// The text that is shown where there is no token.
    pub empty: String,
    pub dispatch: Callback<Action>,
}

/// The strip.
#[component]
pub fn StripView(props: &StripViewProps) -> Html {
    let about = match props.layer {
        _ if !props.routed => t!("strip.about.dense"),
        LayerChoice::One(layer) => t!(&format!("strip.about.{}", colour_name(props.colour_by)), layer = layer),
        LayerChoice::All => t!("strip.about.all"),
    };
    let fading = match (props.marked, props.layer) {
        (Some(marked), LayerChoice::One(layer)) if marked.layer == layer => Some(marked.expert),
        _ => None,
    };
    html! {
        <div class="strip-view" data-place="strip">
            if let Some(moment) = &props.recorded {
                <p class="recorded" role="status" data-testid="recorded">{ moment }{ " " }
                    <button type="button" class="link"
                        onclick={props.dispatch.reform(|_: MouseEvent| Action::Snapshot(None))}>
                        { t!("recorded.back") }
                    </button>
                </p>
            }
            if props.trace.is_empty() {
                <p class="empty">{ &props.empty }</p>
            } else {
                <TokenStrip trace={props.trace.clone()} layer={props.layer} colour_by={props.colour_by} {fading}
                    dossier={props.dossier.clone()} found={props.found.clone()} range_end={props.range_end}
                    pinned={props.pinned} hovered={props.hovered} policy={props.policy.clone()}
                        look={props.look.clone()} changed_at={props.changed_at} change={props.change.clone()}
                    overflow={props.overflow.clone()} to_come={props.to_come} ready_state={props.ready_state.clone()}
                    dispatch={props.dispatch.clone()} />
                <p class="hint legend">{ about }{ attention(props) }</p>
            }
        </div>
    }
}

/// What the line under the tokens says, where a token is chosen.
fn attention(props: &StripViewProps) -> Html {
    let LayerChoice::One(layer) = props.layer else { return html! {} };
    let look = props.look.as_ref().and_then(|look| look.iter().find(|lens| lens.layer == layer));
    match look.map(|lens| lens.heads.len()) {
        Some(heads) if heads > 0 => {
            html! {
                <span class="attention-line" data-testid="attention">
                    { " " }{ t!(heads; "strip.attention", layer = layer) }
                </span>
            }
        }
        _ => html! {},
    }
}
