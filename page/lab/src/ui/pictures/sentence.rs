//! A sentence on its way through the layers of the main model.

use super::{Figures, slider, use_option};
use crate::goal::Measures;
use crate::site::{self, fetch_json};
use crate::ui::words::Names;
use moescope_common::format;
use moescope_common::t;
use serde::Deserialize;
use std::rc::Rc;
use yew::prelude::*;

/// `chapters/data/sentence.json`: made with `moescope trace`, as docs/learn.md says.
#[derive(Debug, PartialEq, Deserialize)]
struct Trace {
    tokens: Vec<String>,
    /// The two tokens that the chapter speaks of.
    named: [usize; 2],
    experts: usize,
    layers: Vec<Layer>,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Layer {
    /// For each token its experts, by falling weight.
    selected: Vec<Vec<usize>>,
    weights: Vec<Vec<f64>>,
}

#[derive(Properties, PartialEq)]
pub struct SentenceProps {
    pub layer: usize,
    pub token: usize,
    pub figures: Callback<Figures>,
}

/// The picture.
#[component]
pub fn Sentence(props: &SentenceProps) -> Html {
    let trace = use_state(|| None::<Rc<Trace>>);
    let (layer, token) = (use_option(props.layer), use_option(props.token));
    {
        let trace = trace.clone();
        use_effect_with((), move |()| {
            wasm_bindgen_futures::spawn_local(async move {
                trace.set(fetch_json(&site::file("chapters/data/sentence.json")).await.map(Rc::new));
            });
        });
    }
    {
        let figures = props.figures.clone();
        use_effect_with(((*trace).clone(), *layer, *token), move |(trace, layer, token)| {
            if let Some(trace) = trace {
                figures.emit(figures_of(trace, *layer, *token));
            }
        });
    }
    let Some(trace) = (*trace).clone() else { return html! { <p class="empty">{ t!("loading") }</p> } };
    // The chapter shows the first or the second of the tokens that it names.
    let at = (*token).min(trace.tokens.len() - 1);
    let Some(shown) = trace.layers.get(*layer) else { return html! {} };
    let tokens = trace.tokens.iter().enumerate().map(|(number, text)| {
        let choose = {
            let token = token.clone();
            Callback::from(move |_: MouseEvent| token.set(number))
        };
        let expert = shown.selected[number].first().copied().unwrap_or(0);
        html! {
            <button type="button" key={number} class="sentence-token" data-e={expert.to_string()}
                data-testid="sentence-token" aria-pressed={(number == at).to_string()} onclick={choose}>
                <span>{ text.clone() }</span><b>{ expert }</b></button>
        }
    });
    let layer_name = t!("picture.layer", n = *layer);
    html! {
        <figure class="picture-card">
            <figcaption>{ t!("sentence.title") }</figcaption>
            <div class="sentence-tokens">{ for tokens }</div>
            { routes(&trace, shown, at) }
            { slider("picture-layer", t!("picture.layers"), layer_name, *layer, trace.layers.len() - 1,
                Callback::from({ let layer = layer.clone(); move |n| layer.set(n) })) }
            <p class="hint">{ t!("sentence.from") }</p>
        </figure>
    }
}

/// From the token to its experts, as thick as they count.
fn routes(trace: &Trace, layer: &Layer, token: usize) -> Html {
    let step = 100.0 / trace.experts as f64;
    let x = |expert: usize| step * (expert as f64 + 0.5);
    let chosen = &layer.selected[token];
    let weight = |expert: usize| {
        chosen.iter().position(|other| *other == expert).map_or(0.0, |place| layer.weights[token][place])
    };
    let lines = chosen.iter().map(|expert| {
        let width = format!("stroke-width:{:.2}", 0.5 + 2.4 * weight(*expert));
        let path = format!("M50 7 C50 22 {0} 16 {0} 30", x(*expert));
        html! { <path key={*expert} class="route" data-e={expert.to_string()} d={path} style={width} /> }
    });
    let experts = (0..trace.experts).map(|expert| {
        let weight = weight(expert);
        let class = if weight > 0.0 { "route-expert is-on" } else { "route-expert" };
        html! {
            <g key={expert} {class} data-e={expert.to_string()}>
                <circle cx={x(expert).to_string()} cy="34" r="4.4" />
                <text x={x(expert).to_string()} y="35.6">{ expert }</text>
                if weight > 0.0 {
                    <text class="route-weight" x={x(expert).to_string()} y="44">{ format::percent(weight) }</text>
                }
            </g>
        }
    });
    let said: Vec<String> = chosen.iter().map(usize::to_string).collect();
    let label = t!("sentence.label", token = trace.tokens[token].trim(), experts = said.join(", "));
    html! {
        <svg class="routes" viewBox="0 0 100 47" role="img" aria-label={label}>
            { for lines }
            <circle class="router" cx="50" cy="6" r="2.6" />
            { for experts }
        </svg>
    }
}

fn figures_of(trace: &Trace, layer: usize, token: usize) -> Figures {
    let (mut measures, mut names) = (Measures::new(), Names::new());
    let expert = |layer: &Layer, at: usize, place: usize| layer.selected[at].get(place).copied().unwrap_or(0) as f64;
    let Some(shown) = trace.layers.get(layer) else { return (measures, names) };
    for (name, at) in ["first", "last"].into_iter().zip(trace.named) {
        names.insert(format!("{name}-word"), format!("\u{201c}{}\u{201d}", trace.tokens[at].trim()));
        measures.insert(format!("{name}-expert"), expert(shown, at, 0));
        measures.insert(format!("{name}-second"), expert(shown, at, 1));
        measures.insert(format!("{name}-weight"), shown.weights[at].first().copied().unwrap_or(0.0));
    }
    let [first, last] = trace.named;
    let differ = |layer: &Layer| expert(layer, first, 0) != expert(layer, last, 0);
    let apart = trace.layers.iter().filter(|layer| differ(layer)).count();
    let figures = [
        ("layer", layer as f64),
        ("token", token as f64),
        ("differ", f64::from(u8::from(differ(shown)))),
        ("layers", trace.layers.len() as f64),
        ("layers-apart", apart as f64),
    ];
    measures.extend(figures.map(|(name, value)| (name.to_owned(), value)));
    (measures, names)
}
