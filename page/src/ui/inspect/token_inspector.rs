//! One token: the router's probabilities in every layer, the token's loss, the guesses for the next token, and the
//! tokens with the same path.

use crate::i18n::format;
use crate::i18n::messages::t;
use crate::routing::analytics::{path, router_entropy, same_path};
use crate::routing::lens::LayerLens;
use crate::routing::{Guess, LayerTrace, Trace};
use crate::state::shared::Shared;
use crate::state::{Action, ExpertOf, LayerChoice};
use crate::ui::inspect::logit_lens::LogitLens;
use crate::ui::strip::token_text::quoted;
use yew::prelude::*;

/// The least share of a part with a number.
const FOR_NUMBER: f32 = 0.07;
/// The most weights of a layer that are next to its stack; more weights have a line of their own.
const WEIGHTS_BESIDE: usize = 3;

/// The most experts drawn in a layer, and in all layers together, besides the selected ones; the others are one part.
const MOST_PARTS: usize = 12;
const MOST_PARTS_IN_ALL: usize = 96;
/// The most tokens with the same path that are listed.
const MOST_NAMED: usize = 12;

#[derive(Properties, PartialEq)]
pub struct TokenInspectorProps {
    pub trace: Shared<Trace>,
    pub layer: LayerChoice,
    /// The token shown.
    pub position: Option<usize>,
    /// What each layer did to the token, if it was chosen and this is computed.
    pub look: Option<Shared<Vec<LayerLens>>>,
    /// Whether the token was chosen; otherwise it is under the pointer or the newest.
    pub pinned: bool,
    /// No token is chosen or pointed at: the newest is shown in brief.
    pub rests: bool,
    pub dispatch: Callback<Action>,
}

/// The card.
#[component]
pub fn TokenInspector(props: &TokenInspectorProps) -> Html {
    let trace = &*props.trace;
    let Some((position, token)) = props.position.and_then(|p| Some((p, trace.tokens.get(p)?))) else {
        return html! {
            <section class="pane-card" aria-labelledby="token-title">
                <div class="head"><h2 id="token-title">{ t!("token.title") }</h2></div>
                <p class="empty">{ t!("token.empty") }</p>
            </section>
        };
    };
    let about = match (props.pinned, position + 1 == trace.len()) {
        (false, true) => t!("token.newest", position = position),
        _ => t!("token.position", position = position),
    };
    let rows = trace.layers.iter().map(|layer| row(layer, position, props));
    if props.rests {
        return html! {
            <section class="pane-card" id="token-card" aria-labelledby="token-title" data-testid="token-inspector"
                data-position={position.to_string()}>
                <div class="head"><h2 id="token-title">{ t!("token.title") }{ " " }<code>
                    { quoted(&token.text, token.bytes.as_deref()) }</code></h2></div>
                <div class="stacks">{ for rows }</div>
                <p class="hint">{ t!("token.rests") }</p>
            </section>
        };
    }
    let release = props.dispatch.reform(|_: MouseEvent| Action::Pin(None));
    html! {
        <section class="pane-card" id="token-card" aria-labelledby="token-title" data-testid="token-inspector"
            data-position={position.to_string()}>
            <div class="head">
                <h2 id="token-title">{ t!("token.title") }{ " " }<code>{ quoted(&token.text, token.bytes.as_deref()) }
                    </code></h2>
                <p>{ about }</p>
                if props.pinned {
                    <div class="row acts"><button type="button" class="quiet small" onclick={release}>
                        { t!("token.release") }</button></div>
                }
            </div>
            <div class="stacks">{ for rows }</div>
            <p class="hint">
                { if trace.layers.is_empty() { t!("token.dense") } else { sentence(trace, position, props.layer) } }
            </p>
            { groups(trace, position, props.layer) }
            { surprise(trace, position) }
            { guesses(trace, position) }
            if !trace.guesses.is_empty() { <LogitLens look={props.look.clone()}
                next={trace.tokens.get(position + 1).map(|token| token.id)} /> }
            { companions(trace, position, &props.dispatch) }
        </section>
    }
}

/// A layer's probabilities, stacked by falling size: strong colours for the selected experts, pale ones for the
/// others.
fn row(layer: &LayerTrace, position: usize, props: &TokenInspectorProps) -> Html {
    let selected = layer.selected_of(position);
    let probabilities = shares(layer, position);
    let mut order: Vec<u32> = (0..layer.experts as u32).collect();
    order.sort_by(|a, b| probabilities[*b as usize].total_cmp(&probabilities[*a as usize]));
    order.sort_by_key(|expert| !selected.contains(expert));
    let shown = MOST_PARTS.min(MOST_PARTS_IN_ALL / props.trace.layers.len().max(1)).max(selected.len());
    let rest: f32 = order.iter().skip(shown).map(|expert| probabilities[*expert as usize]).sum();
    let parts = order.iter().take(shown).map(|&expert| {
        let share = probabilities[expert as usize];
        let off = !selected.contains(&expert);
        let title = t!("token.part", expert = expert, share = format::percent(f64::from(share)));
        html! {
            <s class={classes!(off.then_some("off"))} data-e={expert.to_string()} {title}
                style={format!("flex-grow:{share:.4}")}>
                if !off && share >= FOR_NUMBER && !props.rests { { expert } }
            </s>
        }
    });
    let weights = selected.iter().zip(layer.weights_of(position)).map(|(&expert, &weight)| {
        let chosen = ExpertOf { layer: layer.layer, expert };
        let choose = props.dispatch.reform(move |_: MouseEvent| Action::Expert(Some(chosen)));
        let label =
            t!("token.weight", expert = expert, layer = layer.layer, weight = format::percent(f64::from(weight)));
        html! {
            <button type="button" class="weight" data-e={expert.to_string()} onclick={choose}
                aria-label={label.clone()} title={label}>
                <b>{ expert }</b>{ format!(" {}", format::percent(f64::from(weight))) }
            </button>
        }
    });
    let shown_layer = props.layer == LayerChoice::One(layer.layer);
    let many = selected.len() > WEIGHTS_BESIDE;
    html! {
        <div class={classes!("stack-row", shown_layer.then_some("on"), (many && !props.rests).then_some("many"))}
            key={layer.layer}>
            <span class="name">{ (shown_layer || !props.rests).then(|| format!("L{}", layer.layer)) }</span>
            <div class="stack" aria-hidden="true">
                { for parts }
                if rest > 0.0 { <s class="rest" style={format!("flex-grow:{rest:.4}")}></s> }
            </div>
            if !props.rests { <div class="weights">{ for weights }</div> }
        </div>
    }
}

/// A layer's probabilities, `[E]`; in a recording, which has none, the weights of the selected experts.
fn shares(layer: &LayerTrace, position: usize) -> Vec<f32> {
    if !layer.router_logits.is_empty() {
        return layer.probabilities_of(position);
    }
    let mut shares = vec![0.0; layer.experts];
    for (&expert, &weight) in layer.selected_of(position).iter().zip(layer.weights_of(position)) {
        shares[expert as usize] = weight;
    }
    shares
}

/// The decision of the layer shown, in one sentence; the path where all layers are shown.
fn sentence(trace: &Trace, position: usize, layer: LayerChoice) -> String {
    let layer = match layer {
        LayerChoice::One(number) => trace.layer(number),
        LayerChoice::All => None,
    };
    let Some(layer) = layer.filter(|layer| !layer.router_logits.is_empty()) else {
        let path = path_in_words(&path(trace, position));
        return t!("token.path", path = path);
    };
    let sure = match router_entropy(layer, position) {
        entropy if entropy < 0.35 => t!("token.sure"),
        entropy if entropy < 0.7 => t!("token.fairly-sure"),
        _ => t!("token.unsure"),
    };
    let probabilities = layer.probabilities_of(position);
    let selected = layer.selected_of(position);
    let kept: f32 = selected.iter().map(|expert| probabilities[*expert as usize]).sum();
    // Where the router's probabilities do not decide (with a hash, a random gate or a policy), the sentence has none.
    let least = selected.iter().map(|expert| probabilities[*expert as usize]).fold(f32::INFINITY, f32::min);
    let better = probabilities.iter().filter(|share| **share > least).count();
    if selected.is_empty() || better + 1 > selected.len() {
        let names = selected.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
        return match selected.len() {
            0 => t!("token.nowhere", layer = layer.layer),
            n => {
                t!(n; "token.otherwise", layer = layer.layer, experts = names, kept = format::percent(f64::from(kept)))
            }
        };
    }
    t!(selected.len(); "token.sentence", layer = layer.layer, sure = sure, kept = format::percent(f64::from(kept)))
}

/// For a gate over groups, the groups that it chose in the layer shown.
fn groups(trace: &Trace, position: usize, layer: LayerChoice) -> Html {
    let layer = match layer {
        LayerChoice::One(number) => trace.layer(number),
        LayerChoice::All => None,
    };
    let Some(layer) = layer.filter(|layer| layer.groups > 1) else { return html! {} };
    let size = (layer.experts / layer.groups).max(1) as u32;
    let mut chosen: Vec<u32> = layer.selected_of(position).iter().map(|expert| expert / size).collect();
    chosen.sort_unstable();
    chosen.dedup();
    let names = chosen.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    html! { <p class="hint">{ t!(chosen.len(); "token.groups", groups = names, size = size) }</p> }
}

fn surprise(trace: &Trace, position: usize) -> Html {
    let Some(&bits) = trace.surprise.get(position) else { return html! {} };
    let text = if position == 0 {
        t!("surprise.first")
    } else {
        let bits = f64::from(bits);
        let probability = (-bits).exp2();
        if probability >= 0.01 {
            t!("surprise.share", share = format::percent(probability), bits = format::tenth(bits))
        } else {
            t!("surprise.odds", odds = format::short(1.0 / probability), bits = format::tenth(bits))
        }
    };
    html! { <><h3>{ t!("surprise.title") }</h3><p class="hint">{ text }</p></> }
}

fn guesses(trace: &Trace, position: usize) -> Html {
    let Some(guesses) = trace.guesses.get(position).filter(|guesses| !guesses.is_empty()) else { return html! {} };
    let came = trace.tokens.get(position + 1).map(|token| token.id);
    let rows = guesses.iter().map(|guess| row_of(guess, came));
    html! { <><h3>{ t!("guesses.title") }</h3><ol class="guesses">{ for rows }</ol></> }
}

fn row_of(guess: &Guess, came: Option<u32>) -> Html {
    let share = f64::from(guess.probability);
    let right = came == Some(guess.id);
    html! {
        <li class={classes!(right.then_some("came"))}>
            <code>{ quoted(&guess.text, None) }</code>
            <div class="meter"><s style={format!("width:{:.1}%", share * 100.0)}></s></div>
            <span>{ format::percent(share) }</span>
            if right { <em>{ t!("guesses.came") }</em> }
        </li>
    }
}

/// The tokens with the same path.
fn companions(trace: &Trace, position: usize, dispatch: &Callback<Action>) -> Html {
    if trace.layers.len() < 2 {
        return html! {};
    }
    let same = same_path(trace, position);
    let path = path_in_words(&path(trace, position));
    let named = same.iter().take(MOST_NAMED).map(|&other| {
        let token = &trace.tokens[other];
        let choose = dispatch.reform(move |_: MouseEvent| Action::Pin(Some(other)));
        html! {
            <button type="button" class="code" onclick={choose}
                aria-label={t!("path.go", text = quoted(&token.text, token.bytes.as_deref()), position = other)}>
                { quoted(&token.text, token.bytes.as_deref()) }
            </button>
        }
    });
    html! {
        <>
            <h3>{ t!("path.title") }</h3>
            <p class="hint">
                { if same.is_empty() { t!("path.none", path = path) }
                    else { t!(same.len(); "path.same", path = path) } }
            </p>
            if !same.is_empty() { <div class="likes">{ for named }</div> }
        </>
    }
}

/// `3 → 0 → 5`
fn path_in_words(path: &[Option<u32>]) -> String {
    let steps = path.iter().map(|expert| expert.map_or("–".into(), |expert| expert.to_string()));
    steps.collect::<Vec<_>>().join(" \u{2192} ")
}
