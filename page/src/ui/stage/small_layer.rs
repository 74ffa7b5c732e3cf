//! A small layer of the stage: the router's bars and the experts as dots; in a model of many layers, a stripe.

use crate::i18n::messages::t;
use crate::state::anatomy::Anatomy;
use crate::ui::stage::places::{LINE_Y, Place};
use yew::prelude::*;

/// A narrower layer is drawn as a stripe.
const NARROWEST: f32 = 34.0;

/// Top and height of the block.
const TOP: f32 = 66.0;
const HEIGHT: f32 = 150.0;

/// With more experts than this, there are no dots.
const MOST_DOTS: usize = 32;

/// The layer; a click opens it.
pub fn small_layer(place: Place, anatomy: Option<&Anatomy>, on_layer: &Callback<usize>) -> Html {
    let open = {
        let on_layer = on_layer.clone();
        Callback::from(move |_: MouseEvent| on_layer.emit(place.layer))
    };
    let chosen = anatomy.map(names).unwrap_or_default();
    let title = match chosen.as_str() {
        "" => t!("stage.small.dense", layer = place.layer),
        _ => t!("stage.small", layer = place.layer, experts = chosen),
    };
    let content = match anatomy {
        _ if place.width < NARROWEST => stripe(place, anatomy),
        Some(anatomy) => block(place, anatomy),
        None => {
            html! { <rect class="stage-network" x={(place.x + 8.0).to_string()} y="96"
            width={(place.width - 16.0).to_string()} height="90" rx="6" /> }
        }
    };
    let frame = (place.width >= NARROWEST).then(|| frame(place));
    html! {
        <g key={place.layer} class="stage-small" data-testid="stage-small" data-layer={place.layer.to_string()}
            onclick={open}>
            <title>{ title }</title>
            { frame }
            { content }
        </g>
    }
}

/// The experts of a token, as `6+4`.
fn names(anatomy: &Anatomy) -> String {
    let names: Vec<String> = anatomy.chosen.iter().take(3).map(|chosen| chosen.expert.to_string()).collect();
    let more = if anatomy.chosen.len() > names.len() { "\u{2026}" } else { "" };
    names.join("+") + more
}

/// The block, its connections with the residual stream, and its name.
fn frame(place: Place) -> Html {
    let Place { x, width, layer } = place;
    let (inlet, outlet) = (x + width * 0.18, x + width * 0.82);
    let name = format!("L{layer}");
    html! {
        <>
            <rect class="stage-block" x={x.to_string()} y={TOP.to_string()} width={width.to_string()}
                height={HEIGHT.to_string()} rx="10" />
            <path class="stage-wire" d={format!("M{inlet} {LINE_Y}V{TOP}M{outlet} {TOP}V{}", LINE_Y + 6.0)} />
            { plus(outlet) }
            <text class="soft" x={(x + width / 2.0).to_string()} y="236" text-anchor="middle">{ name }</text>
        </>
    }
}

/// The sign where the layer's output is added to the residual stream.
pub fn plus(x: f32) -> Html {
    html! {
        <>
            <circle class="stage-plus" cx={x.to_string()} cy={LINE_Y.to_string()} r="7" />
            <path class="stage-wire" d={format!("M{} {LINE_Y}h8M{x} {}v8", x - 4.0, LINE_Y - 4.0)} />
        </>
    }
}

fn block(place: Place, anatomy: &Anatomy) -> Html {
    let Place { x, width, .. } = place;
    let experts = anatomy.probabilities.len().max(1);
    let pitch = (width - 14.0) / experts as f32;
    let bars = anatomy.probabilities.iter().enumerate().map(|(expert, share)| {
        let height = (share * 58.0).max(1.5);
        let on = anatomy.choice(expert as u32).is_some();
        html! {
            <rect key={expert} class={if on { "stage-on" } else { "stage-rest" }} data-e={expert.to_string()} rx="1"
                x={format!("{:.1}", x + 7.0 + pitch * expert as f32)} width={format!("{:.1}", pitch * 0.78)}
                style={format!("y:{:.1}px;height:{height:.1}px", 132.0 - height)} />
        }
    });
    let dots = if experts <= MOST_DOTS { dots(place, anatomy) } else { Html::default() };
    html! {
        <>
            { for bars }
            { dots }
        </>
    }
}

fn dots(Place { x, width, .. }: Place, anatomy: &Anatomy) -> Html {
    let experts = anatomy.probabilities.len();
    let columns = if experts <= 16 { 4 } else { 8 };
    let (across, down) = ((width - 12.0) / columns as f32, 46.0 / experts.div_ceil(columns) as f32);
    let radius = (across.min(down) * 0.4).min(7.2);
    (0..experts)
        .map(|expert| {
            let (row, column) = ((expert / columns) as f32, (expert % columns) as f32);
            let on = anatomy.choice(expert as u32).is_some();
            html! {
                <circle key={expert} class={if on { "stage-on" } else { "stage-rest" }} data-e={expert.to_string()}
                    cx={format!("{:.1}", x + 6.0 + across * (column + 0.5))}
                    cy={format!("{:.1}", 142.0 + down * (row + 0.5))}
                    r={format!("{radius:.1}")} />
            }
        })
        .collect()
}

/// A stripe, as in the routing map: the colour of the first expert, the higher the larger its share of the weights.
fn stripe(Place { x, width, layer }: Place, anatomy: Option<&Anatomy>) -> Html {
    let sum = |anatomy: &Anatomy| anatomy.chosen.iter().map(|chosen| chosen.weight).sum::<f32>();
    let first = anatomy.and_then(|anatomy| Some((anatomy.chosen.first()?, sum(anatomy))));
    let first = first.map(|(chosen, sum)| {
        let height = HEIGHT * (chosen.weight / sum.max(f32::MIN_POSITIVE)).clamp(0.04, 1.0);
        let class = if chosen.dropped { "stage-turned" } else { "stage-on" };
        html! {
            <rect {class} data-e={chosen.expert.to_string()} x={format!("{x:.1}")} width={format!("{width:.1}")}
                style={format!("y:{:.1}px;height:{height:.1}px", TOP + HEIGHT - height)} />
        }
    });
    let middle = format!("{:.1}", x + width / 2.0);
    let name = (layer % 4 == 0).then(|| {
        html! { <text class="soft" x={middle.clone()} y="236" text-anchor="middle">{ layer }</text> }
    });
    let rest = if anatomy.is_some() { "stage-rest" } else { "stage-network" };
    html! {
        <>
            <path class="stage-tick" d={format!("M{middle} {LINE_Y}V{TOP}")} />
            <rect class={rest} x={format!("{x:.1}")} y={TOP.to_string()} width={format!("{width:.1}")}
                height={HEIGHT.to_string()} />
            { first }
            { name }
        </>
    }
}
