//! Compares two snapshots of one model's training on a recorded text.

use crate::i18n::format;
use crate::i18n::messages::t;
use crate::routing::{Trace, balance};
use crate::state::shared::Shared;
use crate::state::{Action, LayerChoice};
use crate::ui::compare::compare_card::{Row, bits_per_byte, figures_table};
use crate::ui::compare::compared_strip::ComparedStrip;
use crate::ui::parts::icon::icon;
use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct CompareSnapshotsProps {
    /// The traces of the text at the two snapshots.
    pub traces: [Shared<Trace>; 2],
    /// The names of the snapshots.
    pub names: [String; 2],
    pub layer: LayerChoice,
    pub dispatch: Callback<Action>,
}

/// The card.
#[component]
pub fn CompareSnapshots(props: &CompareSnapshotsProps) -> Html {
    let close = props.dispatch.reform(|_: MouseEvent| Action::Beside(None));
    let [first, second] = props.traces.clone();
    let text = first.tokens.iter().map(|token| token.text.as_str()).collect::<String>();
    html! {
        <section class="card" aria-labelledby="compare-title" data-testid="compare-snapshots">
            <div class="head">
                <h2 id="compare-title">{ t!("compare.snapshots") }</h2>
                <p>{ t!("compare.snapshots.about") }</p>
                <button type="button" class="quiet icon-only" onclick={close} aria-label={t!("compare.close")}>
                    { icon("close") }</button>
            </div>
            { figures_table(&props.names, &figures(props)) }
            <ComparedStrip text={Shared::new(text)} {first} {second} layer={props.layer}
                names={props.names.clone()} />
        </section>
    }
}

fn figures(props: &CompareSnapshotsProps) -> Vec<Row> {
    let traces = props.traces.each_ref();
    let figure = |value: f32| format::decimal(f64::from(value));
    let balances = traces.map(|trace| match props.layer {
        LayerChoice::One(number) => trace.layer(number).map(balance),
        LayerChoice::All => None,
    });
    let [max, entropy] = [
        balances.each_ref().map(|b| b.as_ref().map(|b| figure(b.max_over_mean))),
        balances.each_ref().map(|b| b.as_ref().map(|b| figure(b.entropy))),
    ];
    vec![
        (t!("compare.bits"), traces.map(|trace| bits_per_byte(trace).map(format::decimal))),
        (t!("figure.max"), max),
        (t!("figure.entropy"), entropy),
    ]
}
