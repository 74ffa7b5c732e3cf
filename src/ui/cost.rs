//! What the model on screen costs: memory, work a token, and what a dense model of its size would need.

use super::as_table::AsTable;
use super::format;
use super::messages::t;
use super::shared::Shared;
use crate::model::ModelInfo;
use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct CostCardProps {
    pub model: Option<Shared<ModelInfo>>,
}

/// The card.
#[component]
pub fn CostCard(props: &CostCardProps) -> Html {
    let Some(model) = &props.model else { return html! {} };
    let (total, active) = (model.cost.parameters() as f64, model.cost.active_parameters() as f64);
    let dense_work = 2.0 * (total - model.cost.embeddings.total as f64);
    let read = model.weight_bytes as f64 * (active / total.max(1.0));
    let rows = [
        (
            "memory",
            t!(
                "cost.memory.value",
                parameters = format::compact(total),
                bytes = format::bytes(model.weight_bytes as f64)
            ),
        ),
        (
            "active",
            t!(
                "cost.active.value",
                parameters = format::compact(active),
                share = format::percent(active / total.max(1.0))
            ),
        ),
        ("read", format::bytes(read)),
        ("work", format::flops(model.cost.flops_per_token() as f64)),
        (
            "dense",
            t!("cost.dense.value", times = format::tenth(dense_work / (model.cost.flops_per_token() as f64).max(1.0))),
        ),
    ];
    let rows = rows.into_iter().map(|(name, value)| {
        html! { <><dt>{ t!(&format!("cost.{name}")) }</dt><dd data-testid={format!("cost-{name}")}>{ value }</dd></> }
    });
    let content = {
        let model = model.clone();
        Callback::from(move |()| parts(&model))
    };
    html! {
        <section class="card" aria-labelledby="cost-title">
            <div class="head"><h2 id="cost-title">{ t!("cost.title") }</h2><p>{ t!("cost.about", dtype = model.dtype) }</p></div>
            <dl class="cost">{ for rows }</dl>
            <AsTable caption={t!("cost.parts")} {content} />
        </section>
    }
}

fn parts(model: &ModelInfo) -> Html {
    let row = |name: String, total: u64, active: u64| {
        html! {
            <tr><th scope="row">{ name }</th><td>{ format::count(total as f64) }</td><td>{ format::count(active as f64) }</td></tr>
        }
    };
    let rows = model.cost.parts().into_iter().filter(|(_, part)| part.total > 0);
    let rows = rows.map(|(name, part)| row(t!(&format!("part.{name}")), part.total, part.active));
    html! {
        <>
            <thead><tr><th scope="col">{ t!("cost.part") }</th><th scope="col">{ t!("cost.total") }</th>
                <th scope="col">{ t!("cost.per-token") }</th></tr></thead>
            <tbody>{ for rows }</tbody>
            <tfoot>{ row(t!("cost.sum"), model.cost.parameters(), model.cost.active_parameters()) }</tfoot>
        </>
    }
}
