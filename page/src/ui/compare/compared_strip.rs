//! The tokens of one text for two models, aligned: the first model's above, the second's below, and between them a bar
//! that shows for which of the two each stretch of text had the lower loss.

use crate::i18n::format;
use crate::i18n::messages::t;
use crate::routing::align::{Stretch, align};
use crate::routing::analytics::path;
use crate::routing::{Token, Trace};
use crate::state::LayerChoice;
use crate::state::shared::Shared;
use crate::ui::strip::token_text::{Part, hex, visible};
use std::ops::Range;
use yew::prelude::*;

/// The difference in bits that fills the bar.
const MOST_BITS: f32 = 4.0;

#[derive(Properties, PartialEq)]
pub struct ComparedStripProps {
    /// The text of both traces.
    pub text: Shared<String>,
    pub first: Shared<Trace>,
    pub second: Shared<Trace>,
    pub layer: LayerChoice,
    pub names: [String; 2],
}

/// The strip.
#[component]
pub fn ComparedStrip(props: &ComparedStripProps) -> Html {
    let stretches = align(&props.text, &props.first.tokens, &props.second.tokens);
    let shown = stretches.iter().map(|stretch| {
        let breaks = props.first.tokens[stretch.first.clone()].iter().any(|token| token.text.contains('\n'));
        html! {
            <>
                { stretch_view(props, stretch) }
                if breaks { <span class="break"></span> }
            </>
        }
    });
    let [first, second] = &props.names;
    html! {
        <>
            <p class="hint">{ t!("compare.legend", first = first, second = second) }</p>
            <div class="strip compared" translate="no" tabindex="0" role="region" aria-label={t!("compare.strip")}>
                { for shown }
            </div>
        </>
    }
}

fn stretch_view(props: &ComparedStripProps, stretch: &Stretch) -> Html {
    let (first, second) = (bits(&props.first, stretch.first.clone()), bits(&props.second, stretch.second.clone()));
    let difference = first.zip(second).map(|(first, second)| second - first);
    html! {
        <span class="stretch" key={stretch.first.start}>
            <span class="row">{ chips(&props.first, stretch.first.clone(), props.layer) }</span>
            { difference.map_or_else(|| html! { <span class="difference"></span> }, difference_bar) }
            <span class="row">{ chips(&props.second, stretch.second.clone(), props.layer) }</span>
        </span>
    }
}

/// The loss over some tokens; `None` where the first token of the text, which has no prediction, is among them.
fn bits(trace: &Trace, range: Range<usize>) -> Option<f32> {
    (range.start > 0).then(|| trace.surprise.get(range).map(|bits| bits.iter().sum()))?
}

/// The bar points up where the second model had the higher loss, down where the first one had.
fn difference_bar(bits: f32) -> Html {
    let height = (bits.abs() / MOST_BITS).min(1.0) * 50.0;
    let class = if bits > 0.0 { "worse" } else { "better" };
    let side = if bits > 0.0 { "top" } else { "bottom" };
    let amount = format::tenth(f64::from(bits.abs()));
    let title = if bits > 0.0 { t!("compare.worse", bits = amount) } else { t!("compare.better", bits = amount) };
    html! {
        <span class="difference" {title}><s {class} style={format!("{side}:50%;height:{height:.0}%")}></s></span>
    }
}

fn chips(trace: &Trace, range: Range<usize>, layer: LayerChoice) -> Html {
    range.map(|position| chip(trace, position, layer)).collect()
}

fn chip(trace: &Trace, position: usize, layer: LayerChoice) -> Html {
    let token = &trace.tokens[position];
    let layer = match layer {
        LayerChoice::One(number) => trace.layer(number),
        LayerChoice::All => None,
    };
    let Some(layer) = layer.filter(|layer| layer.top_k > 0) else {
        let path = path(trace, position)
            .into_iter()
            .flatten()
            .map(|expert| html! { <s data-e={expert.to_string()}>{ expert }</s> });
        return html! { <span class="token"><b>{ text(token) }</b><i class="path">{ for path }</i></span> };
    };
    let (experts, weight) =
        (layer.selected_of(position), layer.weights_of(position).first().copied().unwrap_or_default());
    let second = experts.get(1);
    html! {
        <span class="token" data-e={experts[0].to_string()} data-e2={second.map(u32::to_string)}
            style={format!("--w:{weight:.2}")}>
            <b>{ text(token) }</b>
            <i>{ experts[0] }if let Some(second) = second { <u>{ *second }</u> }</i>
        </span>
    }
}

fn text(token: &Token) -> Html {
    if token.text.is_empty() {
        return html! { <span class="bytes">{ hex(token.bytes.as_deref().unwrap_or_default()) }</span> };
    }
    visible(&token.text)
        .into_iter()
        .map(|part| match part {
            Part::Plain(text) => html! { <bdi>{ text }</bdi> },
            Part::Mark(mark) => html! { <span class="blank">{ mark }</span> },
        })
        .collect()
}
