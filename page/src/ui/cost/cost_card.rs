//! The cost of the model in use: memory, work per token, and the figures of a dense model of its size.

use crate::engine::cpu::pool::PoolFigures;
use crate::i18n::format;
use crate::i18n::messages::t;
use crate::model::{ModelInfo, Part};
use crate::routing::Trace;
use crate::state::shared::Shared;
use crate::ui::charts::as_table::AsTable;
use crate::ui::cost::mixtral_card::MixtralCard;
use crate::ui::cost::residency_card::ResidencyCard;
use yew::prelude::*;

/// Characters that fit a bar of the drawer's least width: a part carries its name where that fits.
const CHARACTERS: f64 = 26.0;

#[derive(Properties, PartialEq)]
pub struct CostCardProps {
    pub model: Option<Shared<ModelInfo>>,
    pub trace: Shared<Trace>,
    /// What was asked of the pool of experts, where experts are read on demand.
    pub pool: Option<PoolFigures>,
}

/// The card.
#[component]
pub fn CostCard(props: &CostCardProps) -> Html {
    let Some(model) = &props.model else { return html! {} };
    let content = {
        let model = model.clone();
        Callback::from(move |()| table(&model))
    };
    let rows = figures(model).into_iter().map(|(name, value, unit)| {
        html! {
            <div key={name}>
                <dt>{ t!(&format!("cost.{name}")) }</dt>
                <dd data-testid={format!("cost-{name}")}>{ value }<small>{ unit }</small></dd>
            </div>
        }
    });
    let about = if model.experts > 0 {
        t!("cost.about", dtype = model.dtype)
    } else {
        t!("cost.about.dense", dtype = model.dtype)
    };
    html! {
        <section class="pane-card cost-card" aria-labelledby="cost-title">
            <div class="head"><h2 id="cost-title">{ t!("cost.title") }</h2><p>{ about }</p></div>
            { bars(model) }
            <dl class="cost">{ for rows }</dl>
            <AsTable caption={t!("cost.parts")} {content} />
            <ResidencyCard model={model.clone()} trace={props.trace.clone()} pool={props.pool} />
            <MixtralCard />
        </section>
    }
}

/// For each figure its name, its value, and its unit or base. A dense model is compared with none of its size.
fn figures(model: &ModelInfo) -> Vec<(&'static str, String, String)> {
    let (total, active) = (model.cost.parameters() as f64, model.cost.active_parameters() as f64);
    let share = active / total.max(1.0);
    let bytes = model.weight_bytes as f64;
    let work = model.cost.flops_per_token() as f64;
    let dense_work = 2.0 * (total - model.cost.embeddings.total as f64);
    let times = format::tenth(dense_work / work.max(1.0));
    let mut figures = vec![
        ("memory", format::bytes(bytes), t!("cost.memory.unit", parameters = format::compact(total))),
        ("active", format::percent(share), t!("cost.active.unit", parameters = format::compact(active))),
        ("read", format::bytes(bytes * share), t!("cost.read.unit", bytes = format::bytes(bytes))),
        ("work", format::flops(work), t!("cost.work.unit")),
    ];
    if model.experts > 0 {
        let dense = t!("cost.dense.unit", flops = format::flops(dense_work));
        figures.push(("dense", t!("cost.dense.value", times = times), dense));
    }
    figures
}

/// Two bars on one scale: the parameters in memory, and the parameters that one token uses.
fn bars(model: &ModelInfo) -> Html {
    let total = model.cost.parameters().max(1) as f64;
    let parts: Vec<(&str, &Part)> = model.cost.parts().into_iter().filter(|(_, part)| part.total > 0).collect();
    let piece = |index: usize, name: &str, parameters: u64| {
        let share = parameters as f64 / total;
        let name_shown = part_name(model, name);
        let named = fits(&name_shown, share);
        let title = format!("{name_shown}: {}", format::count(parameters as f64));
        let style = format!("flex:{share:.5} 0 0;--strength:{}%", 20 + 12 * (index % 4));
        html! {
            <s key={name.to_owned()} class={classes!((!named).then_some("none"))} {style} {title}>
                { named.then_some(name_shown) }
            </s>
        }
    };
    let in_memory = parts.iter().enumerate().map(|(index, (name, part))| piece(index, name, part.total));
    let used = parts.iter().enumerate().map(|(index, (name, part))| piece(index, name, part.active));
    let unused = 1.0 - model.cost.active_parameters() as f64 / total;
    html! {
        <div class="parts" aria-hidden="true">
            <span>{ t!("cost.memory") }</span><div class="part-bar">{ for in_memory }</div>
            <span>{ t!("cost.active") }</span>
            <div class="part-bar">{ for used }if unused > 0.0
                { <s class="unused" style={format!("flex:{unused:.5} 0 0")} title={t!("cost.unused")}>
                { fits(&t!("cost.unused"), unused).then(|| t!("cost.unused")) }
            </s> }</div>
        </div>
    }
}

/// What a part is called: a dense model has no experts.
fn part_name(model: &ModelInfo, name: &str) -> String {
    if model.experts == 0 && name == "experts" { t!("part.network") } else { t!(&format!("part.{name}")) }
}

/// Whether a name fits a part with this share of a bar.
fn fits(name: &str, share: f64) -> bool {
    // A sign of Chinese is as wide as two letters.
    let width: usize = name.chars().map(|sign| if sign.is_ascii() { 1 } else { 2 }).sum();
    width as f64 + 1.0 <= share * CHARACTERS
}

fn table(model: &ModelInfo) -> Html {
    let row = |name: String, total: u64, active: u64| {
        html! {
            <tr><th scope="row">{ name }</th><td>{ format::count(total as f64) }</td><td>
                { format::count(active as f64) }</td></tr>
        }
    };
    let rows = model.cost.parts().into_iter().filter(|(_, part)| part.total > 0);
    let rows = rows.map(|(name, part)| row(part_name(model, name), part.total, part.active));
    html! {
        <>
            <thead><tr><th scope="col">{ t!("cost.part") }</th><th scope="col">{ t!("cost.total") }</th>
                <th scope="col">{ t!("cost.per-token") }</th></tr></thead>
            <tbody>{ for rows }</tbody>
            <tfoot>{ row(t!("cost.sum"), model.cost.parameters(), model.cost.active_parameters()) }</tfoot>
        </>
    }
}
