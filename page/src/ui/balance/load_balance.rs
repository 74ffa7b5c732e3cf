//! The load balance of a layer: a bar for each expert, the even share, and a sentence.

use crate::i18n::format;
use crate::i18n::messages::t;
use crate::routing::analytics::{history, never_fired};
use crate::routing::{Balance, LayerTrace, Limit, Trace, balance};
use crate::state::shared::Shared;
use crate::state::{Action, ExpertOf, LayerChoice};
use crate::ui::balance::filling_view::FillingView;
use crate::ui::charts::save::SavePicture;
use crate::ui::parts::bar::bar_height;
use yew::prelude::*;

/// With more experts than this, the bars have no shares and only some have numbers.
const EXPERTS_WITH_SHARES: usize = 10;

/// With more experts than this, only the busiest are drawn, by falling load.
const EXPERTS_DRAWN: usize = 64;

/// How many of them.
const BUSIEST: usize = 32;

/// Experts without tokens that are listed by number.
const LISTED: usize = 24;

#[derive(Properties, PartialEq)]
pub struct LoadBalanceProps {
    pub trace: Shared<Trace>,
    pub layer: LayerChoice,
    pub expert: Option<ExpertOf>,
    /// The capacity of the layer's experts.
    pub limit: Option<Limit>,
    /// Experts that are switched off.
    pub off: Vec<ExpertOf>,
    pub dispatch: Callback<Action>,
}

/// The card.
#[component]
pub fn LoadBalance(props: &LoadBalanceProps) -> Html {
    let about = match props.layer {
        LayerChoice::One(number) => match props.trace.layer(number) {
            Some(layer) => about(layer),
            None => String::new(),
        },
        LayerChoice::All => t!("load.all"),
    };
    let content = match props.layer {
        _ if props.trace.is_empty() => html! { <p class="empty">{ t!("load.empty") }</p> },
        _ if props.trace.layers.is_empty() => html! { <p class="empty">{ t!("load.none") }</p> },
        LayerChoice::One(number) => match props.trace.layer(number) {
            Some(layer) => one_layer(layer, props),
            None => html! { <p class="empty">{ t!("load.dense", layer = number) }</p> },
        },
        LayerChoice::All => all_layers(props),
    };
    html! {
        <section class="pane-card" aria-labelledby="load-title">
            <div class="head"><h2 id="load-title">{ t!("load.title") }</h2><p>{ about }</p></div>
            { content }
        </section>
    }
}

fn about(layer: &LayerTrace) -> String {
    t!("load.layer", layer = layer.layer, even = format::small_percent(1.0 / layer.experts.max(1) as f64))
}

fn one_layer(layer: &LayerTrace, props: &LoadBalanceProps) -> Html {
    let balance = balance(layer);
    html! {
        <>
            { bars(layer, &balance, props, true) }
            <p class="sentence">{ sentence(layer, &balance) }</p>
            { idle(layer, &props.off) }
            if let Some(limit) = props.limit { <FillingView trace={props.trace.clone()} layer={layer.layer} {limit} /> }
            <details class="more-figures">
                <summary>{ t!("load.more") }</summary>
                <dl class="figures">{ for figures(layer, &balance, props).map(figure) }</dl>
                { grows(layer) }
                <div class="row wrap save">
                    <SavePicture element="#pane-balance .bars" file="balance" title={t!("load.title")}
                        legend={about(layer)}
                        label={t!("save.bars")} dispatch={props.dispatch.clone()} />
                </div>
            </details>
        </>
    }
}

/// Assignments for each expert, on average, from which on the figures are more than chance.
const ENOUGH: usize = 8;

/// The balance in one sentence.
fn sentence(layer: &LayerTrace, balance: &Balance) -> String {
    let assignments = layer.assignments().count();
    if assignments < ENOUGH * layer.experts {
        return t!(layer.tokens(); "load.short");
    }
    let busiest = (0..layer.experts).max_by(|&a, &b| balance.load[a].total_cmp(&balance.load[b])).unwrap_or_default();
    t!("load.busiest", expert = busiest, value = format::decimal(f64::from(balance.max_over_mean)))
}

/// The figures that make sense. The router's mean probabilities are left out in a recording, which has none, and where
/// experts are off.
fn figures(
    layer: &LayerTrace,
    balance: &Balance,
    props: &LoadBalanceProps,
) -> impl Iterator<Item = (&'static str, f32)> {
    let scored = !layer.router_logits.is_empty() && props.off.is_empty();
    let all =
        [("max", balance.max_over_mean), ("entropy", balance.entropy), ("cv", balance.cv), ("aux", balance.aux_loss)];
    all.into_iter().filter(move |(name, _)| *name != "aux" || scored)
}

/// The bars, with the even share as a dashed line. `large` bars have shares and numbers.
fn bars(layer: &LayerTrace, balance: &Balance, props: &LoadBalanceProps, large: bool) -> Html {
    let experts = balance.load.len();
    let most = balance.load.iter().copied().fold(1.0 / experts as f32, f32::max);
    // The bars are over the whole text, so a capacity for shorter windows cannot be drawn as a line.
    let whole = props.limit.filter(|limit| limit.group >= layer.tokens());
    let limit = whole.map(|limit| limit.most as f32 / layer.assignments().count().max(1) as f32);
    // A capacity far above all bars is only written, because drawing it would flatten the bars.
    let limit = limit.filter(|limit| large && *limit < 1.6 * most);
    let most = limit.map_or(most, |limit| most.max(limit));
    let group = if layer.groups > 1 { experts / layer.groups } else { experts };
    let with_shares = large && experts <= EXPERTS_WITH_SHARES;
    let every = if large && experts > 32 {
        8
    } else if large && experts > 16 {
        4
    } else {
        1
    };
    let (order, rest) = drawn(&balance.load);
    let is_sorted = order.len() < experts;
    let every = if is_sorted { 1 } else { every };
    let bars = order.into_iter().map(|expert| {
        let share = balance.load[expert];
        let chosen = ExpertOf { layer: layer.layer, expert: expert as u32 };
        let choose = props.dispatch.reform(move |_: MouseEvent| Action::Expert(Some(chosen)));
        let shown = format::percent(f64::from(share));
        let label = t!("load.bar", expert = expert, share = shown);
        // Where the bar shows share and number, they are its accessible name.
        let name = (!with_shares).then(|| label.clone());
        let class = classes!(
            "bar",
            (props.expert == Some(chosen)).then_some("selected"),
            (share == 0.0).then_some("idle"),
            (!is_sorted && expert > 0 && expert % group == 0).then_some("group")
        );
        html! {
            <button key={expert} type="button" {class} data-testid="load-bar" data-expert={expert.to_string()}
                data-layer={layer.layer.to_string()} data-load={format!("{share:.6}")} data-e={expert.to_string()}
                onclick={choose} aria-label={name} title={label}>
                if with_shares { <small>{ shown }</small> }
                <s style={bar_height("height", share / most)}></s>
                // Every bar has room for a number, so that all stand on one line.
                if large { <b>{ (expert % every == 0).then_some(expert) }</b> }
            </button>
        }
    });
    let even = bar_height("bottom", 1.0 / experts as f32 / most);
    let class = classes!("bars", (!large).then_some("small"), (experts > EXPERTS_WITH_SHARES).then_some("many"));
    let rest = (large && is_sorted)
        .then(|| t!(experts - BUSIEST; "load.rest", busiest = BUSIEST, share = format::percent(f64::from(rest))));
    html! {
        <>
        <div {class} role="group" aria-label={t!("load.bars", layer = layer.layer)}>
            { for bars }
            <span class="even" aria-hidden="true" style={even}></span>
            if let Some(limit) = limit {
                <span class="even limit" aria-hidden="true" style={bar_height("bottom", limit / most)}></span>
            }
        </div>
        if let Some(rest) = rest { <p class="hint" data-testid="load-rest">{ rest }</p> }
        </>
    }
}

/// The experts that are drawn, and the share of all others: of many experts the busiest, by falling load.
fn drawn(load: &[f32]) -> (Vec<usize>, f32) {
    let mut order: Vec<usize> = (0..load.len()).collect();
    if load.len() > EXPERTS_DRAWN {
        order.sort_by(|a, b| load[*b].total_cmp(&load[*a]));
        let rest = order.split_off(BUSIEST);
        return (order, rest.iter().map(|expert| load[*expert]).sum());
    }
    (order, 0.0)
}

/// The experts without tokens, and those that are switched off.
fn idle(layer: &LayerTrace, off: &[ExpertOf]) -> Html {
    let is_off = |expert: &u32| off.contains(&ExpertOf { layer: layer.layer, expert: *expert });
    let (off, idle): (Vec<u32>, Vec<u32>) = never_fired(layer).into_iter().partition(is_off);
    let off: Html =
        off.iter().map(|expert| html! { <p class="hint">{ t!("load.off", expert = expert) }</p> }).collect();
    if idle.is_empty() {
        return off;
    }
    let mut names = idle.iter().take(LISTED).map(u32::to_string).collect::<Vec<_>>().join(", ");
    if idle.len() > LISTED {
        names = t!(idle.len() - LISTED; "load.idle.more", experts = names);
    }
    html! { <>{ off }<p class="hint">{ t!(idle.len(); "load.idle", experts = names) }</p></> }
}

/// The most points of the curve.
const POINTS: usize = 60;

/// The busiest expert's load over the mean, from the first tokens to the whole text: does the load even out?
fn grows(layer: &LayerTrace) -> Html {
    let step = layer.tokens().div_ceil(POINTS).max(1);
    let history = history(layer, step);
    if history.len() < 8 {
        return html! {};
    }
    let most = history.iter().copied().fold(1.0f32, f32::max);
    let least = 1.0;
    let at = |index: usize, value: f32| {
        let (x, share) = (index as f32 / (history.len() - 1) as f32, (value - least) / (most - least).max(0.1));
        format!("{:.2},{:.2}", x * 100.0, 28.0 - share * 26.0)
    };
    let points = history.iter().enumerate().map(|(index, &value)| at(index, value)).collect::<Vec<_>>().join(" ");
    let (first, last) =
        (format::decimal(f64::from(history[0])), format::decimal(f64::from(history[history.len() - 1])));
    html! {
        <>
            <h3>{ t!("load.grows") }</h3>
            <svg class="curve" viewBox="0 0 100 30" preserveAspectRatio="none" role="img"
                aria-label={t!("load.grows.label", first = first, last = last)}>
                <line class="curve-even" x1="0" x2="100" y1="28" y2="28" />
                <polyline class="curve-line" {points} />
            </svg>
            <div class="axis flush" aria-hidden="true"><span>{ t!("load.grows.first", value = first) }</span><span>
                { t!("load.grows.last", value = last) }</span></div>
        </>
    }
}

/// A figure with its name and meaning.
fn figure((name, value): (&'static str, f32)) -> Html {
    html! {
        <div class="figure" key={name}>
            <dt>{ t!(&format!("figure.{name}")) }</dt>
            <dd>
                <b data-testid={format!("figure-{name}")}>{ format::decimal(f64::from(value)) }</b>
                <small>{ t!(&format!("figure.{name}.about")) }</small>
            </dd>
        </div>
    }
}

/// A small chart for each layer, with its figures.
fn all_layers(props: &LoadBalanceProps) -> Html {
    let layers = props.trace.layers.iter().map(|layer| {
        let balance = balance(layer);
        let show = LayerChoice::One(layer.layer);
        let choose = props.dispatch.reform(move |_: MouseEvent| Action::Layer(show));
        html! {
            <div class="multiple" key={layer.layer}>
                <button type="button" class="link" onclick={choose}>{ t!("layer.name", layer = layer.layer) }</button>
                { bars(layer, &balance, props, false) }
                <p>
                    { t!("load.max", value = format::decimal(f64::from(balance.max_over_mean))) }
                </p>
                { idle(layer, &props.off) }
            </div>
        }
    });
    html! { <>{ for layers }<p class="hint">{ t!("load.multiples") }</p></> }
}
