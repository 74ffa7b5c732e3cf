//! A polite live region: tells screen readers what changed, after the changes have stopped.

use crate::i18n::format;
use crate::i18n::messages::t;
use crate::routing::{Trace, balance};
use crate::state::shared::Shared;
use crate::state::{LayerChoice, Status};
use gloo::timers::callback::Timeout;
use yew::prelude::*;

/// Time without changes before it speaks.
const REST_MS: u32 = 1200;

#[derive(Properties, PartialEq)]
pub struct LiveRegionProps {
    pub trace: Shared<Trace>,
    pub layer: LayerChoice,
    pub status: Status,
}

/// The live region.
#[component]
pub fn LiveRegion(props: &LiveRegionProps) -> Html {
    let said = use_state_eq(String::new);
    {
        let said = said.clone();
        use_effect_with((props.trace.clone(), props.layer, props.status), move |(trace, layer, status)| {
            let (trace, layer, ready) = (trace.clone(), *layer, *status == Status::Ready);
            let timer = ready.then(|| Timeout::new(REST_MS, move || said.set(sentence(&trace, layer))));
            move || drop(timer)
        });
    }
    html! { <p class="hidden" role="status" data-testid="live">{ &*said }</p> }
}

fn sentence(trace: &Trace, layer: LayerChoice) -> String {
    let shown = match layer {
        LayerChoice::One(number) => trace.layer(number),
        LayerChoice::All => trace.layers.last(),
    };
    let Some(shown) = shown.filter(|_| !trace.is_empty()) else { return String::new() };
    let load = balance(shown).load;
    let busiest = (0..load.len()).max_by(|&a, &b| load[a].total_cmp(&load[b])).unwrap_or_default();
    let share = format::percent(f64::from(load[busiest]));
    t!(trace.len(); "live.routed", layer = shown.layer, expert = busiest, share = share)
}
