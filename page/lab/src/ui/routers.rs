//! The routers of a small transformer: each layer's load, and which text goes to which expert.

use moescope_common::format;
use moescope_common::t;
use serde_json::Value;
use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct RoutersProps {
    /// The lab's state: `loads`, `max-over-mean`, `specialisation`, `loads-by-text`, `texts`.
    pub drawn: Value,
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().map_or_else(Vec::new, |all| all.iter().filter_map(Value::as_f64).collect())
}

/// The layers.
#[component]
pub fn Routers(props: &RoutersProps) -> Html {
    let drawn = &props.drawn;
    let layers = drawn["loads"].as_array().map_or(0, Vec::len);
    let (most, bits) = (numbers(&drawn["max-over-mean"]), numbers(&drawn["specialisation"]));
    let names: Vec<String> = drawn["texts"].as_array().map_or_else(Vec::new, |texts| {
        texts.iter().filter_map(Value::as_str).map(|name| t!(&format!("text.{name}"))).collect()
    });
    let rows = (0..layers).map(|layer| {
        let load = numbers(&drawn["loads"][layer]);
        let by_text = numbers(&drawn["loads-by-text"][layer]);
        let figure = |all: &[f64]| format::decimal(all.get(layer).copied().unwrap_or(0.0));
        let texts = names.iter().enumerate().map(|(at, name)| {
            let shares = by_text.iter().skip(at * load.len()).take(load.len()).copied().collect::<Vec<_>>();
            html! { <div class="router-row" key={name.clone()}><span>{ name }</span>{ bar(&shares) }</div> }
        });
        html! {
            <div class="router-layer" key={layer} data-testid="router-layer">
                <p><b>{ t!("picture.layer", n = layer) }</b>
                    { t!("router.figures", busiest = figure(&most), bits = figure(&bits)) }</p>
                <div class="router-row"><span>{ t!("router.all") }</span>{ bar(&load) }</div>
                { for texts }
            </div>
        }
    });
    html! { <div class="router-layers">{ for rows }</div> }
}

/// The shares of the experts, one beside another.
fn bar(shares: &[f64]) -> Html {
    let parts = shares.iter().enumerate().map(|(expert, share)| {
        let title = t!("share.of", expert = expert, share = format::percent(*share));
        html! {
            <span key={expert} data-e={expert.to_string()} style={format!("--part:{share:.4}")} {title}></span>
        }
    });
    html! { <div class="router-bar">{ for parts }</div> }
}
