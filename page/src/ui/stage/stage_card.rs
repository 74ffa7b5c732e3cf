//! The path of one token through the model: the residual stream as a line, a block for each layer, and the guesses for
//! the next token.

use crate::i18n::format;
use crate::i18n::messages::t;
use crate::model::ModelInfo;
use crate::routing::lens::LayerLens;
use crate::routing::{Policy, Trace};
use crate::state::ExpertOf;
use crate::state::anatomy::Anatomy;
use crate::state::attention::most_looked_at;
use crate::state::shared::Shared;
use crate::ui::parts::scroller::use_tab_stop_where_it_scrolls;
use crate::ui::stage::open_layer::OpenLayer;
use crate::ui::stage::places::{LINE_Y, layer_places};
use crate::ui::stage::small_layer::small_layer;
use crate::ui::strip::token_text::quoted;
use web_sys::Element;
use yew::prelude::*;

/// The most characters of a token in its box.
const TOKEN_CHARACTERS: usize = 9;

/// Number of guesses, and the width of a bar for the probability 1.
const GUESSES: usize = 5;
const GUESS_WIDTH: f32 = 134.0;

#[derive(Properties, PartialEq)]
pub struct StageProps {
    /// The trace that is shown; during playback, its beginning.
    pub trace: Shared<Trace>,
    /// The token that is drawn: under the pointer, chosen, or the newest.
    pub position: Option<usize>,
    pub model: Option<Shared<ModelInfo>>,
    /// The open layer.
    pub open: usize,
    /// The policy.
    pub policy: Policy,
    /// Whether to draw a dense network instead of the experts.
    pub dense: bool,
    /// The expert that is chosen or under the pointer.
    pub expert: Option<ExpertOf>,
    /// What each layer did to the token, where it is chosen and that is known.
    pub look: Option<Shared<Vec<LayerLens>>>,
    /// Another layer is to be drawn large.
    pub on_layer: Callback<usize>,
    /// Chooses an expert, or none.
    pub on_expert: Callback<Option<ExpertOf>>,
    /// The pointer moved over an expert, or off all experts.
    pub on_point: Callback<Option<ExpertOf>>,
    /// Switches between experts and dense network.
    pub on_dense: Callback<bool>,
}

/// The stage.
#[component]
pub fn Stage(props: &StageProps) -> Html {
    let layers = props.model.as_ref().map_or(0, |model| model.layers);
    let has_experts = props.model.as_ref().is_none_or(|model| model.experts > 0);
    let position = props.position.filter(|position| *position < props.trace.len());
    let open = props.open.min(layers.saturating_sub(1));
    let picture = match (position, layers) {
        (Some(position), 1..) => picture(props, position, layers, open),
        _ => html! { <p class="empty">{ t!("stage.empty") }</p> },
    };
    let scroller = use_node_ref();
    {
        // On a small screen, scrolls to the open layer.
        let scroller = scroller.clone();
        use_effect_with((open, layers, position.is_some()), move |&(open, layers, _)| {
            let place = layer_places(layers, open).into_iter().nth(open);
            if let (Some(element), Some(place)) = (scroller.cast::<Element>(), place) {
                let left = f64::from(place.x - 40.0) / 1000.0 * f64::from(element.scroll_width());
                element.set_scroll_left(left as i32);
            }
        });
    }
    use_tab_stop_where_it_scrolls(&scroller);
    let toggle = {
        let (on_dense, dense) = (props.on_dense.clone(), props.dense);
        Callback::from(move |_: Event| on_dense.emit(!dense))
    };
    html! {
        <section class="card stage" aria-label={t!("stage.label")} data-testid="stage" data-place="stage"
            data-token={position.map(|position| position.to_string())} data-layer={open.to_string()}>
            <div class="stage-scroll" translate="no" ref={scroller} role="group"
                aria-label={t!("stage.label")}>{ picture }</div>
            <div class="row stage-foot">
                <p class="stage-caption" translate="no">{ caption(props, open) }</p>
                if has_experts {
                    <label class="switch" title={t!("stage.dense.about")}>
                        <input type="checkbox" role="switch" checked={props.dense} onchange={toggle}
                        data-testid="stage-dense" />{ t!("stage.dense") }</label>
                }
            </div>
        </section>
    }
}

fn anatomy(props: &StageProps, layer: usize, position: usize) -> Option<Anatomy> {
    props.trace.layer(layer).and_then(|trace| Anatomy::of(trace, position, &props.policy))
}

fn picture(props: &StageProps, position: usize, layers: usize, open: usize) -> Html {
    let token = &props.trace.tokens[position];
    let places = layer_places(layers, open);
    let blocks = places.iter().map(|&place| {
        let anatomy = anatomy(props, place.layer, position);
        if place.layer != open {
            return small_layer(place, anatomy.as_ref(), &props.on_layer);
        }
        html! {
            <OpenLayer key={place.layer} x={place.x} layer={place.layer} {anatomy} {position}
                looks_at={looks_at(props, open)} shared={props.model.as_ref().map_or(0, |model| model.shared_experts)}
                    dense={props.dense}
                expert={props.expert.filter(|expert| expert.layer == open).map(|expert| expert.expert)}
                on_expert={props.on_expert.clone()} on_point={props.on_point.clone()} />
        }
    });
    let end = places.last().map_or(840.0, |last| last.x + last.width) + 10.0;
    let text = quoted(&token.text, token.bytes.as_deref());
    html! {
        <svg viewBox="0 0 1000 250" role="img" aria-label={in_words(props, position, open)}>
            <path class="stage-line" d={format!("M104 {LINE_Y}H{end}")} />
            <path class="stage-arrow" d={format!("M{} {LINE_Y}l-9 -5v10z", end + 4.0)} />
            <g>
                <title>{ t!("stage.token.about") }</title>
                <text class="soft" x="14" y="15">{ t!("stage.token") }</text>
                <rect class="stage-token" x="10" y={(LINE_Y - 17.0).to_string()} width="94" height="34" rx="9" />
                <text class="code" x="57" y={(LINE_Y + 5.0).to_string()} text-anchor="middle">
                    { shortened(text.trim_matches(['\u{201c}', '\u{201d}'])) }</text>
            </g>
            { for blocks }
            { guesses(props, position) }
        </svg>
    }
}

/// The token that attention in a layer looks at most, and how much on average.
fn looks_at(props: &StageProps, layer: usize) -> Option<(String, String)> {
    let (position, weight) = most_looked_at(props.look.as_deref()?, layer)?;
    let token = props.trace.tokens.get(position)?;
    let text = quoted(&token.text, token.bytes.as_deref());
    Some((shortened(text.trim_matches(['\u{201c}', '\u{201d}'])), format::percent(f64::from(weight))))
}

/// What the model expects after the token.
fn guesses(props: &StageProps, position: usize) -> Html {
    let Some(guesses) = props.trace.guesses.get(position) else { return html! {} };
    let rows = guesses.iter().take(GUESSES).enumerate().map(|(row, guess)| {
        let y = 44.0 + 40.0 * row as f32;
        let text = quoted(&guess.text, None);
        html! {
            <g key={row}>
                <text class="code" x="858" y={y.to_string()}>{ shortened(text.trim_matches(['\u{201c}', '\u{201d}'])) }
                    </text>
                <text class="soft" x="994" y={y.to_string()} text-anchor="end">
                    { format::percent(f64::from(guess.probability)) }</text>
                <rect class="stage-rest" x="858" y={(y + 7.0).to_string()} width={GUESS_WIDTH.to_string()} height="6"
                    rx="3" />
                <rect class="stage-guess" x="858" y={(y + 7.0).to_string()} height="6" rx="3"
                    width={format!("{:.1}", (GUESS_WIDTH * guess.probability).max(2.0))} />
            </g>
        }
    });
    html! {
        <g>
            <title>{ t!("stage.next.about") }</title>
            <text class="soft" x="858" y="15">{ t!("stage.next") }</text>
            { for rows }
        </g>
    }
}

/// The line under the picture.
fn caption(props: &StageProps, open: usize) -> String {
    let layer = props.trace.layer(open).filter(|layer| layer.experts > 0);
    match layer {
        Some(_) if props.dense => t!("stage.caption.dense", layer = open),
        Some(layer) => t!("stage.caption", layer = open, experts = layer.experts),
        // Before the first token, nothing is known of the layer.
        None if props.trace.is_empty() => String::new(),
        None => t!("stage.caption.no-experts", layer = open),
    }
}

/// The contents of the picture in words, for screen readers.
fn in_words(props: &StageProps, position: usize, open: usize) -> String {
    let token = &props.trace.tokens[position];
    let text = quoted(&token.text, token.bytes.as_deref());
    let Some(anatomy) = anatomy(props, open, position).filter(|anatomy| !anatomy.chosen.is_empty()) else {
        return t!("stage.words.dense", text = text, layer = open);
    };
    let chosen = anatomy.chosen.iter().map(|chosen| {
        let key = if chosen.dropped { "stage.words.full" } else { "stage.words.expert" };
        t!(key, expert = chosen.expert, weight = format::percent(f64::from(chosen.weight)))
    });
    let chosen = chosen.collect::<Vec<_>>().join(", ");
    let next = props.trace.guesses.get(position).and_then(|guesses| guesses.first());
    let next = next.map_or_else(String::new, |guess| t!("stage.words.next", text = quoted(&guess.text, None)));
    let looks = looks_at(props, open);
    let looks =
        looks.map_or_else(String::new, |(text, weight)| t!("stage.looks-at.about", text = text, weight = weight));
    format!(
        "{} {looks} {next}",
        t!("stage.words", text = text, layer = open, experts = anatomy.probabilities.len(), chosen = chosen)
    )
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= TOKEN_CHARACTERS {
        return text.to_owned();
    }
    text.chars().take(TOKEN_CHARACTERS - 1).chain(['\u{2026}']).collect()
}
