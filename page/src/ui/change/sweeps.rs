//! Sweeps: every expert off in turn, and every k. Results are drawn as they arrive.

use crate::i18n::format;
use crate::i18n::messages::t;
use crate::routing::effect::{Ablated, KPoint};
use crate::state::changes::SweepResult;
use crate::state::shared::Shared;
use crate::state::{Action, ExpertOf};
use crate::worker::protocol::Sweep;
use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct SweepsProps {
    pub sweep: Option<Shared<SweepResult>>,
    pub top_k: usize,
    /// Whether no run is in progress and there is a text.
    pub idle: bool,
    pub dispatch: Callback<Action>,
}

/// The buttons and the results.
#[component]
pub fn Sweeps(props: &SweepsProps) -> Html {
    let running = props.sweep.as_ref().is_some_and(|sweep| sweep.running);
    let begin = |sweep: Sweep| props.dispatch.reform(move |_: MouseEvent| Action::Sweep(sweep));
    let stop = props.dispatch.reform(|_: MouseEvent| Action::Stop);
    let disabled = running || !props.idle;
    html! {
        <div class="sweeps">
            <h3>{ t!("sweep.title") }</h3>
            <div class="row wrap">
                <button type="button" onclick={begin(Sweep::Ablation)} {disabled} data-testid="sweep-ablation"
                    title={t!("sweep.ablation.about")}>{ t!("sweep.ablation") }</button>
                <button type="button" onclick={begin(Sweep::Choices)} {disabled} data-testid="sweep-choices"
                    title={t!("sweep.choices.about")}>{ t!("sweep.choices") }</button>
                if let Some(sweep) = props.sweep.as_ref().filter(|sweep| sweep.running) {
                    <progress max={sweep.progress.1.max(1).to_string()} value={sweep.progress.0.to_string()}
                        aria-label={t!("sweep.progress")}></progress>
                    <button type="button" class="quiet" onclick={stop} data-testid="sweep-stop">{ t!("generate.stop") }
                        </button>
                }
            </div>
            if let Some(sweep) = &props.sweep {
                if let Some(failed) = &sweep.failed { <p class="hint" role="alert">{ failed }</p> }
                if !sweep.ablated.is_empty() { { map(&sweep.ablated, &props.dispatch) } }
                if !sweep.points.is_empty() { { chart(&sweep.points, props.top_k) } }
            } else {
                <p class="hint">{ t!("sweep.about") }</p>
            }
        </div>
    }
}

/// The map of layers by experts: how many bits per byte the loss rises without each expert.
fn map(ablated: &[Ablated], dispatch: &Callback<Action>) -> Html {
    let most = ablated.iter().map(|a| a.bits_per_byte.abs()).fold(1e-9, f64::max);
    let mut layers: Vec<usize> = ablated.iter().map(|a| a.layer).collect();
    layers.dedup();
    let experts = ablated.iter().map(|a| a.expert + 1).max().unwrap_or(0);
    let cell = |a: &Ablated| {
        let of = ExpertOf { layer: a.layer, expert: a.expert };
        let choose = dispatch.reform(move |_: MouseEvent| Action::Expert(Some(of)));
        let label = t!(a.tokens; "sweep.cell", layer = a.layer, expert = a.expert, bits = signed(a.bits_per_byte));
        let strength = (a.bits_per_byte.abs() / most).sqrt();
        let class = classes!("ablated", if a.bits_per_byte < 0.0 { "better" } else { "worse" });
        html! {
            <td key={a.expert}><button type="button" {class} data-testid="ablated" data-layer={a.layer.to_string()}
                data-expert={a.expert.to_string()}
                data-bits={format!("{:.5}", a.bits_per_byte)} style={format!("--s:{strength:.3}")} title={label.clone()}
                aria-label={label} onclick={choose}>
                if experts <= 16 { { signed(a.bits_per_byte) } }
            </button></td>
        }
    };
    let rows = layers.iter().map(|&layer| {
        html! { <tr key={layer}><th scope="row">{ layer }</th>
        { for ablated.iter().filter(|a| a.layer == layer).map(cell) }</tr> }
    });
    let matters = ablated.iter().max_by(|a, b| a.bits_per_byte.total_cmp(&b.bits_per_byte));
    html! {
        <>
            <div class="ablation"><table>
                <caption>{ t!("sweep.ablation.caption") }</caption>
                <thead><tr><th scope="col">{ t!("sweep.layer") }</th>
                    { for (0..experts).map(|e| html! { <th scope="col" key={e}>{ e }</th> }) }</tr></thead>
                <tbody>{ for rows }</tbody>
            </table></div>
            if let Some(a) = matters {
                <p class="hint">
                    { t!("sweep.matters", layer = a.layer, expert = a.expert, bits = signed(a.bits_per_byte)) }
                </p>
            }
        </>
    }
}

/// The loss and the cost for each k.
fn chart(points: &[KPoint], own: usize) -> Html {
    let best = points.iter().map(|p| p.bits_per_byte).fold(f64::INFINITY, f64::min);
    let worst = points.iter().map(|p| p.bits_per_byte).fold(0.0, f64::max);
    // Marks at the numbers of experts; the table below has the same data.
    let dots = points.iter().map(|p| {
        let share = (p.bits_per_byte - best) / (worst - best).max(1e-9);
        html! {
            <span key={p.k} class={classes!((p.k == own).then_some("own"))} style={format!("--at:{share:.3}")}>
                <i><small>{ format!("{:.2}", p.bits_per_byte) }</small></i><b>{ p.k }</b>
            </span>
        }
    });
    let rows = points.iter().map(|p| {
        html! {
            <tr key={p.k} class={classes!((p.k == own).then_some("own"))} data-testid="k-point"
                data-k={p.k.to_string()}>
                <th scope="row">{ p.k }{ if p.k == own { t!("sweep.own") } else { String::new() } }</th>
                <td>{ format!("{:.3}", p.bits_per_byte) }</td>
                <td>{ format::flops(2.0 * p.active_parameters as f64) }</td>
                <td>{ format::count(p.tokens_per_second) }</td>
            </tr>
        }
    });
    html! {
        <>
            <div class="dots" role="img" aria-label={t!("sweep.choices.label")}>{ for dots }</div>
            <table class="figures-table">
                <caption>{ t!("sweep.choices.caption") }</caption>
                <thead><tr><th scope="col">{ "k" }</th><th scope="col">{ t!("sweep.loss") }</th><th scope="col">
                    { t!("sweep.flops") }</th><th scope="col">{ t!("sweep.speed") }</th></tr></thead>
                <tbody>{ for rows }</tbody>
            </table>
        </>
    }
}

/// `+0.012`
fn signed(bits: f64) -> String {
    if bits.abs() < 0.0005 { "0".into() } else { format!("{bits:+.3}").replace('-', "\u{2212}") }
}
