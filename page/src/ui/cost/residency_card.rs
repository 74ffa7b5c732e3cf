//! Experts on demand: how often an expert of this text would have been in a memory that holds a part of them, and what
//! the engine read where it runs so.

use crate::engine::cpu::pool::PoolFigures;
use crate::i18n::format;
use crate::i18n::messages::t;
use crate::model::ModelInfo;
use crate::routing::Trace;
use crate::routing::residency::{Residency, SHARES, for_shares};
use crate::state::shared::Shared;
use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct ResidencyCardProps {
    pub model: Shared<ModelInfo>,
    pub trace: Shared<Trace>,
    pub pool: Option<PoolFigures>,
}

/// The card.
#[component]
pub fn ResidencyCard(props: &ResidencyCardProps) -> Html {
    let found = use_memo(props.trace.clone(), |trace| for_shares(trace, &SHARES));
    if props.model.experts == 0 || props.trace.is_empty() {
        return html! {};
    }
    let tokens = props.trace.len();
    let of_expert = bytes_of_expert(&props.model);
    let rows = found.iter().map(|found| row(found, tokens, of_expert));
    html! {
        <section class="pane-card" aria-labelledby="residency-title" data-testid="residency">
            <div class="head"><h2 id="residency-title">{ t!("residency.title") }</h2>
                <p>{ t!(tokens; "residency.about") }</p></div>
            if let Some(pool) = &props.pool { { measured(pool) } }
            <table class="figures-table">
                <caption>{ t!("residency.caption") }</caption>
                <thead><tr><th scope="col">{ t!("residency.share") }</th><th scope="col">{ t!("residency.memory") }</th>
                    <th scope="col">{ t!("residency.hits") }</th><th scope="col">{ t!("residency.read") }</th>
                </tr></thead>
                <tbody>{ for rows }</tbody>
            </table>
        </section>
    }
}

fn row(found: &Residency, tokens: usize, of_expert: f64) -> Html {
    let slots = found.slots();
    let hits = found.hit_rate();
    let read = found.misses_per_token(tokens) * of_expert;
    let bar = format!("width:{:.1}%", 100.0 * hits);
    html! {
        <tr key={found.share.to_string()} data-share={found.share.to_string()} data-hits={format!("{hits:.4}")}>
            <th scope="row">{ format::percent(found.resident()) }</th>
            <td>{ format::bytes(slots as f64 * of_expert) }</td>
            <td class="hit-rate"><i style={bar} aria-hidden="true"></i><span>{ format::percent(hits) }</span></td>
            <td>{ format::bytes(read) }</td>
        </tr>
    }
}

/// What the pool of the engine in use has done.
fn measured(pool: &PoolFigures) -> Html {
    let rate = pool.hits as f64 / pool.requests.max(1) as f64;
    html! {
        <p class="why" data-testid="pool" data-hits={pool.hits.to_string()} data-requests={pool.requests.to_string()}>
            { t!("residency.pool", resident = pool.resident, experts = pool.experts,
                bytes = format::bytes(pool.resident_bytes as f64), rate = format::percent(rate),
                requests = format::count(pool.requests as f64), read = format::bytes(pool.read_bytes as f64)) }
        </p>
    }
}

/// Bytes of a routed expert as stored, on average over the layers.
fn bytes_of_expert(model: &ModelInfo) -> f64 {
    let experts: usize = model.each_layer.iter().map(|layer| layer.experts).sum();
    let share = model.cost.experts.total as f64 / model.cost.parameters().max(1) as f64;
    model.weight_bytes as f64 * share / experts.max(1) as f64
}
