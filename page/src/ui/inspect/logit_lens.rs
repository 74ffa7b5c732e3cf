//! Inside one token: how much attention and each expert added in each layer, and the guess after each layer.

use crate::i18n::format;
use crate::i18n::messages::t;
use crate::routing::lens::LayerLens;
use crate::state::shared::Shared;
use crate::ui::strip::token_text::quoted;
use yew::prelude::*;

/// The least share of the longest bar for a part with a number.
const FOR_NUMBER: f32 = 0.06;

#[derive(Properties, PartialEq)]
pub struct LogitLensProps {
    pub look: Option<Shared<Vec<LayerLens>>>,
    /// The token that follows in the text.
    pub next: Option<u32>,
}

/// A row for each layer.
#[component]
pub fn LogitLens(props: &LogitLensProps) -> Html {
    let Some(look) = &props.look else {
        return html! { <><h3>{ t!("lens.title") }</h3><p class="hint">{ t!("lens.choose") }</p></> };
    };
    let longest = look.iter().map(added).fold(f32::MIN_POSITIVE, f32::max);
    let rows = look.iter().map(|layer| row(layer, longest, props.next));
    html! {
        <>
            <h3>{ t!("lens.title") }</h3>
            <p class="hint">{ t!("lens.about") }</p>
            <div class="lens" data-testid="lens">{ for rows }</div>
        </>
    }
}

/// The sum of the norms that a layer added.
fn added(layer: &LayerLens) -> f32 {
    layer.attention + layer.experts.iter().map(|part| part.norm).sum::<f32>()
}

fn row(layer: &LayerLens, longest: f32, next: Option<u32>) -> Html {
    let width = |norm: f32| format!("width:{:.2}%", norm / longest * 100.0);
    let experts = layer.experts.iter().map(|part| {
        let title = t!("lens.expert", expert = part.expert, norm = format::decimal(f64::from(part.norm)));
        let named = part.norm / longest >= FOR_NUMBER;
        html! {
            <s data-e={part.expert.to_string()} style={width(part.norm)} {title}>
                { named.then_some(part.expert) }
            </s>
        }
    });
    let attention = t!("lens.attention", norm = format::decimal(f64::from(layer.attention)));
    let guess = layer.guesses.first();
    let right = guess.is_some_and(|guess| Some(guess.id) == next);
    html! {
        <>
            <span class="name">{ format!("L{}", layer.layer) }</span>
            <div class="added"><s style={width(layer.attention)} title={attention}></s>{ for experts }</div>
            <code class={classes!(right.then_some("came"))}>{ guess.map(|guess| quoted(&guess.text, None)) }</code>
            <span class="share">{ guess.map(|guess| format::percent(f64::from(guess.probability))) }</span>
        </>
    }
}
