//! The effect of a policy on the text, compared with the model's own routing.

use crate::i18n::format;
use crate::i18n::messages::t;
use crate::routing::effect::{Effect, LayerEffect};
use crate::routing::{LayerTrace, Trace};
use crate::state::shared::Shared;
use crate::state::{Action, LayerChoice};
use crate::ui::strip::token_text::quoted;
use crate::worker::protocol::Speed;
use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct EffectViewProps {
    pub effect: Shared<Effect>,
    pub before: Shared<Trace>,
    pub after: Shared<Trace>,
    pub layer: LayerChoice,
    pub inspected: Option<usize>,
    /// Tokens per second under the policy.
    pub speed: Option<f64>,
    pub speed_before: Option<Speed>,
    pub dispatch: Callback<Action>,
}

/// Height of the strip, in units of its view box.
const HEIGHT: f32 = 40.0;

/// The comparison.
#[component]
pub fn EffectView(props: &EffectViewProps) -> Html {
    let effect = &props.effect;
    let layers: Vec<&LayerEffect> = match props.layer {
        LayerChoice::One(number) => effect.layers.iter().filter(|layer| layer.layer == number).collect(),
        LayerChoice::All => effect.layers.iter().collect(),
    };
    let worst = |of: fn(&LayerEffect) -> f32| layers.iter().map(|layer| of(layer)).fold(0.0, f32::max);
    let dropped: usize = layers.iter().map(|layer| layer.dropped).sum();
    let share = |n: usize| format::percent(n as f64 / effect.tokens.max(1) as f64);
    let rerouted_here = layers.iter().map(|layer| layer.rerouted).max().unwrap_or(0);
    let speed = |speed: &Speed| format::count(speed.tokens as f64 / speed.ms.max(1e-3) * 1000.0);
    html! {
        <div class="effect" data-testid="effect">
            <h3>{ t!("effect.title") }</h3>
            <table class="figures-table">
                <thead><tr><td></td><th scope="col">{ t!("effect.before") }</th><th scope="col">{ t!("effect.after") }
                    </th></tr></thead>
                <tbody>
                    { row(t!("effect.loss"), three(effect.before.per_byte), three(effect.after.per_byte),
                        "effect-loss") }
                    { row(t!("effect.max"), two(worst(|l| l.before.max_over_mean)),
                        two(worst(|l| l.after.max_over_mean)), "effect-max") }
                    { row(t!("effect.entropy"), two(mean(&layers, |l| l.before.entropy)),
                        two(mean(&layers, |l| l.after.entropy)), "effect-entropy") }
                    if let Some((before, after)) = guesses(props) {
                        { row(t!("effect.guess", position = props.inspected.unwrap_or_default()), before, after,
                            "effect-guess") }
                    }
                    if let (Some(before), Some(after)) = (&props.speed_before, props.speed) {
                        { row(t!("effect.speed"), speed(before), format::count(after), "effect-speed") }
                    }
                </tbody>
            </table>
            <p class="hint">
                { t!(effect.rerouted; "effect.rerouted", share = share(effect.rerouted)) }{ " " }
                if let LayerChoice::One(layer) = props.layer {
                    { t!(rerouted_here; "effect.rerouted.here", layer = layer) }{ " " }
                }
                if dropped > 0 { { saved(props, &layers, dropped) } }
            </p>
            { strip(props) }
        </div>
    }
}

/// The assignments that a capacity dropped in these layers: how many, from where on, and how much work that saves.
fn saved(props: &EffectViewProps, layers: &[&LayerEffect], dropped: usize) -> String {
    let traces = layers.iter().filter_map(|layer| props.after.layer(layer.layer));
    let first = |layer: &LayerTrace| (0..layer.tokens()).find(|&t| layer.dropped_of(t).contains(&true));
    let (mut assignments, mut from) = (0, usize::MAX);
    for layer in traces {
        assignments += layer.assignments().count();
        from = from.min(first(layer).unwrap_or(usize::MAX));
    }
    let share = format::percent(dropped as f64 / assignments.max(1) as f64);
    t!(dropped; "effect.dropped", first = from, share = share)
}

fn row(what: String, before: String, after: String, testid: &'static str) -> Html {
    html! { <tr data-testid={testid}><th scope="row">{ what }</th><td>{ before }</td><td>{ after }</td></tr> }
}

fn three(x: f64) -> String {
    format!("{x:.3}")
}

fn two(x: f32) -> String {
    format::decimal(f64::from(x))
}

fn mean(layers: &[&LayerEffect], of: fn(&LayerEffect) -> f32) -> f32 {
    layers.iter().map(|layer| of(layer)).sum::<f32>() / layers.len().max(1) as f32
}

/// The guesses after the inspected token, before and after the change.
fn guesses(props: &EffectViewProps) -> Option<(String, String)> {
    let position = props.inspected?;
    let first = |trace: &Trace| {
        let guess = trace.guesses.get(position)?.first()?;
        Some(format!("{} {}", quoted(&guess.text, None), format::percent(f64::from(guess.probability))))
    };
    Some((first(&props.before)?, first(&props.after)?))
}

/// A bar for each token: how many bits its loss rose (up) or fell (down).
fn strip(props: &EffectViewProps) -> Html {
    let change = &props.effect.change;
    let most = change.iter().map(|x| x.abs()).fold(0.5, f32::max);
    let middle = HEIGHT / 2.0;
    // One path has all bars of a colour, so the picture has two elements for any length of the text.
    let bars = |class: &'static str, sign: f32| {
        let bars = change.iter().enumerate().filter(|(_, x)| *x * sign > 1e-4);
        let path = bars.map(|(position, x)| format!("M{position} {middle}h.85v{:.1}h-.85z", -x / most * middle));
        html! { <path {class} d={path.collect::<String>()} /> }
    };
    let count = change.len().max(1);
    let place = move |event: &MouseEvent| {
        let element = event.current_target()?;
        let rect = wasm_bindgen::JsCast::dyn_into::<web_sys::Element>(element).ok()?.get_bounding_client_rect();
        let share = (f64::from(event.client_x()) - rect.left()) / rect.width().max(1.0);
        Some(((share * count as f64) as usize).min(count - 1))
    };
    let hover = props.dispatch.reform(move |event: MouseEvent| Action::Hover(place(&event)));
    let leave = props.dispatch.reform(|_: MouseEvent| Action::Hover(None));
    let choose = props.dispatch.reform(move |event: MouseEvent| Action::Pin(place(&event)));
    let worse = change.iter().filter(|x| **x > 0.05).count();
    let better = change.iter().filter(|x| **x < -0.05).count();
    html! {
        <>
            <svg class="effect-strip" viewBox={format!("0 0 {count} {HEIGHT}")} preserveAspectRatio="none" role="img"
                aria-label={t!("effect.strip", worse = worse, better = better)} onmousemove={hover} onmouseleave={leave}
                onclick={choose}>
                { bars("worse", 1.0) }{ bars("better", -1.0) }
                <line class="curve-even" x1="0" x2={count.to_string()} y1={middle.to_string()}
                    y2={middle.to_string()} />
            </svg>
            <div class="axis flush" aria-hidden="true">
                <span>{ t!("effect.strip.about", bits = format::tenth(f64::from(most))) }</span>
                <span>{ t!("effect.strip", worse = worse, better = better) }</span>
            </div>
        </>
    }
}
