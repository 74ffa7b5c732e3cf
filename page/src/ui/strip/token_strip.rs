//! The strip: the text, token by token, with the experts of each token.

use crate::i18n::messages::t;
use crate::routing::analytics::{domain_guess, router_entropy};
use crate::routing::dossier::Dossier;
use crate::routing::effect::Effect;
use crate::routing::lens::LayerLens;
use crate::routing::{Policy, Token, Trace};
use crate::state::attention::{Heads, looked_at};
use crate::state::changes::is_sent;
use crate::state::shared::Shared;
use crate::state::{Action, ColourBy, LayerChoice};
use crate::ui::browser::canvas::next_frame;
use crate::ui::browser::ready_state::ReadyState;
use crate::ui::change::policy_card::TOKEN;
use crate::ui::inspect::dossier::domain_name;
use crate::ui::strip::strip_part::{Part, Piece, StripPart, use_parts};
use crate::ui::strip::token_chip::{Chip, Reads, Tint};
use crate::worker::protocol::Overflow;
use gloo::timers::callback::Timeout;
use gloo::utils::document;
use std::collections::BTreeMap;
use std::ops::Range;
use wasm_bindgen::JsCast;
use web_sys::{Element, HtmlElement};
use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct TokenStripProps {
    pub trace: Shared<Trace>,
    pub layer: LayerChoice,
    pub colour_by: ColourBy,
    /// The model's dossiers, for colours by kind of text.
    pub dossier: Option<Shared<Dossier>>,
    /// Which tokens are in the chosen range, or were found.
    pub found: Shared<Vec<bool>>,
    /// The end of the chosen range.
    pub range_end: Option<usize>,
    /// The chosen token.
    pub pinned: Option<usize>,
    /// The token under the pointer, here or in another view.
    pub hovered: Option<usize>,
    /// The expert of the layer shown whose tokens are marked: all others fade.
    pub fading: Option<u32>,
    /// The effect of a change of the routing on each token.
    pub change: Option<Shared<Effect>>,
    /// What is changed about the routing.
    pub policy: Policy,
    /// What each layer did to the chosen token, once it is known.
    pub look: Option<Shared<Vec<LayerLens>>>,
    /// The first token that the last answer brought: where it is out of sight, the strip scrolls there.
    pub changed_at: usize,
    pub overflow: Option<Overflow>,
    /// Number of tokens that are still to come.
    pub to_come: usize,
    pub ready_state: ReadyState,
    pub dispatch: Callback<Action>,
}

/// The strip.
#[component]
pub fn TokenStrip(props: &TokenStripProps) -> Html {
    let node = use_node_ref();
    let over = {
        let dispatch = props.dispatch.clone();
        Callback::from(move |event: MouseEvent| {
            if let Some(position) = position_of(event.target()) {
                dispatch.emit(Action::Hover(Some(position)));
            }
        })
    };
    let leave = props.dispatch.reform(|_: MouseEvent| Action::Hover(None));
    let choose = {
        let dispatch = props.dispatch.clone();
        Callback::from(move |event: MouseEvent| {
            if let (false, Some(position)) = (event.shift_key(), position_of(event.target())) {
                dispatch.emit(Action::Pin(Some(position)));
            }
        })
    };
    // Shift and a click choose a range. The focus does not move, because it would choose a single token.
    let press = {
        let dispatch = props.dispatch.clone();
        Callback::from(move |event: MouseEvent| {
            if let (true, Some(position)) = (event.shift_key(), position_of(event.target())) {
                event.prevent_default();
                dispatch.emit(Action::Extend(position));
            }
        })
    };
    let focus = {
        let dispatch = props.dispatch.clone();
        Callback::from(move |event: FocusEvent| {
            if let Some(position) = position_of(event.target()) {
                dispatch.emit(Action::Pin(Some(position)));
            }
        })
    };
    let keys = keys(&node, props);
    let (parts, behind) = use_parts(pieces(props), to_come(props));
    let ready_state = props.ready_state.clone();
    use_effect_with(behind, move |behind| {
        let pending = behind.then(|| ready_state.pending());
        move || drop(pending)
    });
    use_follow(&node, props.trace.clone(), props.changed_at, behind);
    {
        let node = node.clone();
        use_effect_with(props.pinned, move |pinned| {
            let opened = pinned.map(|position| Timeout::new(SHEET_MS, move || keep_above_sheet(&node, position)));
            move || drop(opened)
        });
    }
    html! {
        <div class={classes!("strip", (props.layer == LayerChoice::All).then_some("paths"))} ref={node} translate="no"
            data-fading={props.fading.map(|expert| expert.to_string())} role="listbox" aria-label={t!("strip.label")}
            aria-orientation="horizontal"
            onmouseover={over} onmouseleave={leave} onmousedown={press} onclick={choose} onfocusin={focus}
            onkeydown={keys}
            ondragstart={drag()}>
            { content(props, &parts) }
        </div>
    }
}

/// Scrolls the strip itself to the tokens of the last answer. It waits for the next frame, after layout, because
/// reading positions at once would lay out the whole page twice.
#[hook]
fn use_follow(node: &NodeRef, trace: Shared<Trace>, changed_at: usize, behind: bool) {
    let node = node.clone();
    use_effect_with((trace, changed_at, behind), move |(trace, changed_at, behind)| {
        let position = (*changed_at).min(trace.len().saturating_sub(1));
        let frame = (!behind).then(|| next_frame(move || scroll_to(&node, position)));
        move || drop(frame)
    });
}

/// After so long, the sheet of the chosen token is open.
const SHEET_MS: u32 = 80;

/// On a small screen the drawer is a sheet from below: scrolls the page so that it does not cover the chosen token.
fn keep_above_sheet(node: &NodeRef, position: usize) {
    let sheet = document().query_selector(".drawer.open").ok().flatten();
    let chip = node.cast::<Element>().and_then(|strip| chip_at(&strip, position));
    let (Some(sheet), Some(chip)) = (sheet, chip) else { return };
    let (sheet, chip) = (sheet.get_bounding_client_rect(), chip.get_bounding_client_rect());
    // On a desk the drawer stands beside the strip.
    if sheet.left() < chip.right() && chip.bottom() > sheet.top() - 8.0 {
        gloo::utils::window().scroll_by_with_x_and_y(0.0, chip.bottom() - sheet.top() + 16.0);
    }
}

fn scroll_to(node: &NodeRef, position: usize) {
    let Some(strip) = node.cast::<Element>() else { return };
    if strip.scroll_height() <= strip.client_height() {
        return;
    }
    let Some(chip) = chip_at(&strip, position) else { return };
    let (inner, outer) = (chip.get_bounding_client_rect(), strip.get_bounding_client_rect());
    if inner.top() < outer.top() {
        strip.set_scroll_top(strip.scroll_top() - (outer.top() - inner.top()).ceil() as i32);
    } else if inner.bottom() > outer.bottom() {
        strip.set_scroll_top(strip.scroll_top() + (inner.bottom() - outer.bottom()).ceil() as i32);
    }
}

/// A dragged token carries its position; dropped on an expert, it is sent to that expert (policy_card.rs).
fn drag() -> Callback<DragEvent> {
    Callback::from(|event: DragEvent| {
        if let (Some(position), Some(data)) = (position_of(event.target()), event.data_transfer()) {
            // Fails only for the data of another event.
            let _ = data.set_data(TOKEN, &position.to_string());
        }
    })
}

fn position_of(target: Option<web_sys::EventTarget>) -> Option<usize> {
    let element = target?.dyn_into::<Element>().ok()?;
    element.closest("[data-position]").ok()??.get_attribute("data-position")?.parse().ok()
}

/// Arrow keys move between tokens; up and down go to the row above or below; Escape clears the selection.
fn keys(node: &NodeRef, props: &TokenStripProps) -> Callback<KeyboardEvent> {
    let (node, dispatch, length) = (node.clone(), props.dispatch.clone(), props.trace.len());
    let range_end = props.range_end;
    Callback::from(move |event: KeyboardEvent| {
        let Some(here) = position_of(event.target()) else { return };
        let Some(strip) = node.cast::<Element>() else { return };
        if event.shift_key() && matches!(event.key().as_str(), "ArrowRight" | "ArrowLeft") {
            event.prevent_default();
            let end = range_end.unwrap_or(here);
            let end = if event.key() == "ArrowRight" { (end + 1).min(length - 1) } else { end.saturating_sub(1) };
            dispatch.emit(Action::Extend(end));
            return;
        }
        let next = match event.key().as_str() {
            "ArrowRight" => (here + 1 < length).then_some(here + 1),
            "ArrowLeft" => here.checked_sub(1),
            "ArrowDown" => in_row(&strip, here, 1),
            "ArrowUp" => in_row(&strip, here, -1),
            "Home" => Some(0),
            "End" => length.checked_sub(1),
            "Escape" => {
                dispatch.emit(Action::Pin(None));
                return;
            }
            _ => return,
        };
        event.prevent_default();
        if let Some(chip) = next.and_then(|position| chip_at(&strip, position)) {
            // The focus event chooses the token.
            let _ = chip.focus();
        }
    })
}

fn chip_at(strip: &Element, position: usize) -> Option<HtmlElement> {
    strip.query_selector(&format!("[data-position=\"{position}\"]")).ok()??.dyn_into().ok()
}

/// The token nearest to `here` in the next row in this direction.
fn in_row(strip: &Element, here: usize, direction: isize) -> Option<usize> {
    let from = chip_at(strip, here)?.get_bounding_client_rect();
    let middle = from.left() + from.width() / 2.0;
    let mut row = None;
    let mut best = None::<(f64, usize)>;
    let mut position = here;
    loop {
        position = position.checked_add_signed(direction)?;
        let Some(chip) = chip_at(strip, position) else { break };
        let rect = chip.get_bounding_client_rect();
        if (rect.top() - from.top()).abs() < from.height() / 2.0 {
            continue;
        }
        let top = *row.get_or_insert(rect.top());
        if (rect.top() - top).abs() > rect.height() / 2.0 {
            break;
        }
        let distance = (rect.left() + rect.width() / 2.0 - middle).abs();
        if best.is_none_or(|(nearest, _)| distance < nearest) {
            best = Some((distance, position));
        }
        if position == 0 {
            break;
        }
    }
    best.map(|(_, position)| position)
}

/// The most tokens in the strip; of a longer text it shows a part.
const WINDOW: usize = 1500;

/// The part of the text that the strip shows: the part with the chosen token, or with the last change.
fn window(props: &TokenStripProps) -> Range<usize> {
    let length = props.trace.len();
    let focus = props.pinned.unwrap_or(props.changed_at).min(length.saturating_sub(1));
    let start = focus / WINDOW * WINDOW;
    start..(start + WINDOW).min(length)
}

/// The number of tokens still to come that will be in this part.
fn to_come(props: &TokenStripProps) -> usize {
    let Range { start, end } = window(props);
    props.to_come.min(start + WINDOW - end)
}

/// The elements of this part, with breaks after the text's lines.
fn pieces(props: &TokenStripProps) -> Vec<Piece> {
    let tokens = &props.trace.tokens;
    let heads = match (&props.look, props.layer) {
        (Some(look), LayerChoice::One(layer)) => looked_at(look, layer),
        _ => BTreeMap::new(),
    };
    let Range { start, end: stop } = window(props);
    let mut pieces = Vec::with_capacity(stop - start);
    let mut position = start;
    while position < stop {
        let end = end_of_pieces(tokens, position).min(stop);
        pieces.push(match end - position {
            1 => Piece::Token(chip(props, &heads, position)),
            _ => Piece::Character((position..end).map(|position| chip(props, &heads, position)).collect()),
        });
        if tokens[end - 1].text.contains('\n') {
            pieces.push(Piece::Break);
        }
        position = end;
    }
    pieces
}

fn one_layer(layer: LayerChoice) -> Option<usize> {
    match layer {
        LayerChoice::One(layer) => Some(layer),
        LayerChoice::All => None,
    }
}

fn chip(props: &TokenStripProps, heads: &BTreeMap<usize, Heads>, position: usize) -> Chip {
    let trace = &*props.trace;
    let token = &trace.tokens[position];
    let selected = props.pinned == Some(position);
    let chosen = props.pinned.and_then(|position| trace.tokens.get(position)).map(|token| token.id);
    let tab_stop = props.pinned.filter(|&p| p < trace.len()).or(window(props).end.checked_sub(1));
    Chip {
        position,
        id: token.id,
        text: token.text.clone(),
        bytes: token.bytes.clone(),
        reads: reads(props, position),
        selected,
        hovered: props.hovered == Some(position),
        alike: !selected && (chosen == Some(token.id) || props.found.get(position) == Some(&true)),
        in_tab_order: tab_stop == Some(position),
        change: props.change.as_ref().and_then(|effect| effect.change.get(position).copied()),
        control: token.control,
        sent: is_sent(&props.policy, one_layer(props.layer), position),
        heads: heads.get(&position).map_or_else(Vec::new, |heads| heads.iter().map(|x| (x * 100.0) as u8).collect()),
    }
}

/// The parts, with links to the tokens before and after them.
fn content(props: &TokenStripProps, parts: &[Part]) -> Html {
    let Range { start, end: stop } = window(props);
    let go = |position: usize, text: String| {
        let choose = props.dispatch.reform(move |_: MouseEvent| Action::Pin(Some(position)));
        html! { <button type="button" class="link" onclick={choose}>{ text }</button> }
    };
    // A list of its own, because keys work only where all elements of a list have one.
    let parts: Html =
        parts.iter().map(|part| html! { <StripPart key={part.key} pieces={part.pieces.clone()} /> }).collect();
    let overflow = props.overflow.as_ref().filter(|_| stop == props.trace.len());
    html! {
        <>
            if start > 0 { { go(start - 1, t!("strip.before", position = start)) } }
            { parts }
            if stop < props.trace.len() { { go(stop, t!("strip.after", position = stop)) } }
            if let Some(overflow) = overflow {
                <span class="overflow-mark" role="presentation">{ t!(overflow.context; "strip.overflow") }</span>
            }
        </>
    }
}

/// The end of the run of tokens from `position` on that together are one character.
fn end_of_pieces(tokens: &[Token], position: usize) -> usize {
    let pieces = tokens[position..].iter().take_while(|token| token.text.is_empty()).count();
    (position + pieces + 1).min(tokens.len())
}

fn reads(props: &TokenStripProps, position: usize) -> Reads {
    let trace = &*props.trace;
    let layer = match props.layer {
        LayerChoice::One(number) => trace.layer(number),
        LayerChoice::All => None,
    };
    let Some(layer) = layer else {
        return Reads::Path(trace.layers.iter().map(|layer| layer.selected_of(position).to_vec()).collect());
    };
    let tint = match props.colour_by {
        ColourBy::Expert => Tint::Expert,
        ColourBy::Weight => Tint::Share(layer.weights_of(position).first().copied().unwrap_or_default()),
        // A recording has no router scores.
        ColourBy::Entropy if layer.router_logits.is_empty() => Tint::Expert,
        ColourBy::Entropy => Tint::Share(router_entropy(layer, position)),
        ColourBy::Surprise => Tint::Bits(trace.surprise.get(position).copied().unwrap_or_default()),
        ColourBy::Domain => domain(props, position).unwrap_or(Tint::Expert),
    };
    Reads::Layer {
        experts: layer.selected_of(position).to_vec(),
        weights: layer.weights_of(position).to_vec(),
        dropped: layer.dropped_of(position).to_vec(),
        tint,
    }
}

/// The kind of text that the chosen experts suggest, as a colour.
fn domain(props: &TokenStripProps, position: usize) -> Option<Tint> {
    let dossier = props.dossier.as_deref()?;
    let (number, share) = domain_guess(&props.trace, dossier, position)?;
    let name = domain_name(dossier, number);
    Some(Tint::Domain { number, of: dossier.domains.len(), name, share })
}
