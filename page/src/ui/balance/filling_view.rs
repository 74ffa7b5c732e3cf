//! How a capacity fills up: for each expert a row over the text, as high as its assignments in the window, with a mark
//! at each dropped token.

use crate::i18n::format;
use crate::i18n::messages::t;
use crate::routing::filling::{Filling, fillings};
use crate::routing::{LayerTrace, Limit, Trace};
use crate::state::shared::Shared;
use yew::prelude::*;

/// The most rows; if there are more experts, those that dropped the most tokens are shown.
const ROWS: usize = 16;

/// Height of a row, in units of its view box.
const HEIGHT: f32 = 10.0;

#[derive(Properties, PartialEq)]
pub struct FillingViewProps {
    pub trace: Shared<Trace>,
    /// The layer's number.
    pub layer: usize,
    pub limit: Limit,
}

/// The rows, and a sentence about the capacity.
#[component]
pub fn FillingView(props: &FillingViewProps) -> Html {
    let Some(layer) = props.trace.layer(props.layer) else { return html! {} };
    let limit = &props.limit;
    let fillings = fillings(layer, limit);
    let mut shown: Vec<usize> = (0..fillings.len()).collect();
    shown.sort_by_key(|&expert| std::cmp::Reverse(fillings[expert].dropped.len()));
    shown.truncate(ROWS);
    shown.sort_unstable();
    html! {
        <div class="filling" data-testid="filling">
            <h3>{ t!("filling.title") }</h3>
            { said(layer, &fillings, limit) }
            { for shown.into_iter().map(|expert| row(expert, &fillings[expert], limit)) }
            <p class="hint">{ rule(layer, limit) }</p>
        </div>
    }
}

/// The capacity of an expert and the dropped assignments, which are work that was not done.
fn said(layer: &LayerTrace, fillings: &[Filling], limit: &Limit) -> Html {
    let dropped: usize = fillings.iter().map(|filling| filling.dropped.len()).sum();
    let share = format::percent(dropped as f64 / layer.assignments().count().max(1) as f64);
    html! {
        <p class="hint" data-testid="dropped">
            { t!(limit.most; "filling.capacity", group = limit.group) }{ " " }
            { t!(dropped; "load.dropped", share = share) }
        </p>
    }
}

fn rule(layer: &LayerTrace, limit: &Limit) -> String {
    let order = if limit.next_best { t!("filling.rule.next") } else { t!("filling.rule.drop") };
    if layer.tokens() > limit.group {
        format!("{order} {}", t!("filling.rule.group", group = limit.group))
    } else {
        order
    }
}

fn row(expert: usize, filling: &Filling, limit: &Limit) -> Html {
    let tokens = filling.taken.len();
    let said = match filling.dropped.first() {
        Some(first) => t!(filling.dropped.len(); "filling.dropped", first = first),
        None => match filling.full_at(limit) {
            Some(position) => t!("filling.full", position = position),
            None => t!("filling.room", taken = filling.taken.iter().max().copied().unwrap_or(0), most = limit.most),
        },
    };
    let late: String = filling.dropped.iter().map(|position| format!("M{position} 0h1v{HEIGHT}h-1z")).collect();
    html! {
        <div class="filling-row" key={expert} data-e={expert.to_string()}
            data-dropped={filling.dropped.len().to_string()}>
            <b>{ expert }</b>
            <svg viewBox={format!("0 0 {tokens} {HEIGHT}")} preserveAspectRatio="none" aria-hidden="true">
                <path class="taken" d={area(filling, limit)} /><path class="late" d={late} />
            </svg>
            <small>{ said }</small>
        </div>
    }
}

/// The number of assignments as an outline over the text, with a step wherever it changes.
fn area(filling: &Filling, limit: &Limit) -> String {
    let mut path = format!("M0 {HEIGHT}");
    let mut before = 0;
    for (position, &taken) in filling.taken.iter().enumerate() {
        if taken != before {
            let y = HEIGHT * (1.0 - taken as f32 / limit.most.max(1) as f32);
            path += &format!("H{position}V{y:.2}");
            before = taken;
        }
    }
    path + &format!("H{}V{HEIGHT}z", filling.taken.len())
}
