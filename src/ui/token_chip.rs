//! One token in the strip: its text, tinted by the expert that weighs most, and the experts' numbers.

use super::format;
use super::messages::t;
use super::visible::{Part, hex, quoted, visible};
use yew::prelude::*;

/// What a chip shows of a token's routing.
#[derive(Clone, Debug, PartialEq)]
pub enum Reads {
    /// One layer: experts by falling weight, their weights, and which of them were full.
    Layer { experts: Vec<u32>, weights: Vec<f32>, dropped: Vec<bool>, tint: Tint },
    /// All layers: the experts of each, `[layers, top_k]`.
    Path { experts: Vec<u32>, top_k: usize },
}

/// What the colour of a chip means.
#[derive(Clone, Debug, PartialEq)]
pub enum Tint {
    /// The expert that weighs most, as much as it weighs.
    Expert,
    /// A share between 0 and 1.
    Share(f32),
    /// An amount of information.
    Bits(f32),
    /// A kind of text: its number among `of`, its name, and how probable it is.
    Domain { number: usize, of: usize, name: String, share: f32 },
}

/// Surprise that gets the full colour, in bits.
const MOST_BITS: f32 = 12.0;

#[derive(Properties, PartialEq)]
pub struct TokenChipProps {
    pub position: usize,
    pub id: u32,
    pub text: String,
    pub bytes: Option<Vec<u8>>,
    pub reads: Reads,
    pub selected: bool,
    pub hovered: bool,
    /// It belongs to what is chosen: a token of the same kind, a range, what was searched for.
    pub alike: bool,
    /// The one chip that Tab reaches.
    pub in_tab_order: bool,
}

/// With more layers than this a path is drawn without numbers.
const LAYERS_WITH_NUMBERS: usize = 8;

/// The chip.
#[component]
pub fn TokenChip(props: &TokenChipProps) -> Html {
    let (expert, second) = match &props.reads {
        Reads::Layer { experts, .. } => (experts.first(), experts.get(1)),
        Reads::Path { .. } => (None, None),
    };
    let by_figure = matches!(&props.reads, Reads::Layer { tint, .. } if *tint != Tint::Expert);
    let class = classes!(
        "token",
        props.selected.then_some("selected"),
        props.hovered.then_some("hovered"),
        props.alike.then_some("alike"),
        props.text.is_empty().then_some("piece"),
        matches!(&props.reads, Reads::Layer { dropped, .. } if dropped.contains(&true)).then_some("dropped"),
        by_figure.then_some("by-figure"),
    );
    html! {
        <span {class} role="option" data-testid="token" data-position={props.position.to_string()}
            data-token-id={props.id.to_string()} data-experts={data_experts(&props.reads)}
            data-e={expert.map(u32::to_string)} data-e2={second.map(u32::to_string)} style={style(&props.reads)}
            aria-description={description(props)} aria-selected={props.selected.to_string()}
            tabindex={if props.in_tab_order { "0" } else { "-1" }}>
            <b>{ text(props) }</b>
            { numbers(&props.reads) }
        </span>
    }
}

fn style(reads: &Reads) -> String {
    let Reads::Layer { weights, tint, .. } = reads else { return String::new() };
    match tint {
        Tint::Expert => format!("--w:{:.2}", weights.first().copied().unwrap_or_default()),
        Tint::Share(share) => format!("--w:{share:.2}"),
        Tint::Bits(bits) => format!("--w:{:.2}", (bits / MOST_BITS).clamp(0.0, 1.0)),
        Tint::Domain { number, of, share, .. } => {
            let hue = *number as f32 / (*of).max(1) as f32 * 360.0;
            format!("--w:{share:.2};--figure:oklch(0.66 0.15 {hue:.0}deg)")
        }
    }
}

/// `3,5`; for all layers `3,5;0,1`.
fn data_experts(reads: &Reads) -> String {
    match reads {
        Reads::Layer { experts, .. } => joined(experts),
        Reads::Path { experts, top_k } => experts.chunks(*top_k.max(&1)).map(joined).collect::<Vec<_>>().join(";"),
    }
}

fn joined(experts: &[u32]) -> String {
    experts.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

/// What assistive tools say after its text and numbers.
fn description(props: &TokenChipProps) -> String {
    let spoken = match &props.reads {
        Reads::Layer { experts, weights, dropped, .. } => {
            let spoken = experts.iter().zip(weights).enumerate().map(|(rank, (expert, weight))| {
                if dropped.get(rank).copied().unwrap_or_default() {
                    t!("strip.dropped", expert = expert)
                } else {
                    t!("strip.expert", expert = expert, weight = format::percent(f64::from(*weight)))
                }
            });
            spoken.collect::<Vec<_>>().join(", ")
        }
        Reads::Path { experts, top_k } => {
            let firsts: Vec<u32> = experts.iter().copied().step_by(*top_k.max(&1)).collect();
            t!("strip.path", path = firsts.iter().map(u32::to_string).collect::<Vec<_>>().join(", "))
        }
    };
    let text = quoted(&props.text, props.bytes.as_deref());
    t!("strip.token", text = text, position = props.position, reads = spoken)
}

fn text(props: &TokenChipProps) -> Html {
    if props.text.is_empty() {
        return html! { <span class="bytes">{ hex(props.bytes.as_deref().unwrap_or_default()) }</span> };
    }
    visible(&props.text)
        .into_iter()
        .map(|part| match part {
            Part::Plain(text) => html! { <bdi>{ text }</bdi> },
            Part::Mark(mark) => html! { <span class="blank">{ mark }</span> },
        })
        .collect()
}

fn numbers(reads: &Reads) -> Html {
    match reads {
        Reads::Layer { experts, dropped, tint: Tint::Expert, .. } => {
            let number = |rank: usize| {
                let expert = *experts.get(rank)?;
                let full = dropped.get(rank).copied().unwrap_or_default();
                Some(if full {
                    html! { <del>{ expert }</del> }
                } else {
                    html! { expert }
                })
            };
            html! { <i>{ number(0) }if let Some(second) = number(1) { <u>{ second }</u> }</i> }
        }
        Reads::Layer { tint, .. } => html! { <i class="figure">{ figure(tint) }</i> },
        Reads::Path { experts, top_k } => {
            let numbered = experts.len() / top_k.max(&1) <= LAYERS_WITH_NUMBERS;
            let steps = experts.iter().step_by(*top_k.max(&1)).map(|expert| {
                html! { <s data-e={expert.to_string()}>{ numbered.then_some(*expert) }</s> }
            });
            html! { <i class="path">{ for steps }</i> }
        }
    }
}

/// The figure behind the colour, as short as it can be.
fn figure(tint: &Tint) -> String {
    match tint {
        Tint::Expert => String::new(),
        Tint::Share(share) if *share >= 0.995 => "1".into(),
        Tint::Share(share) => format!(".{:02}", (share * 100.0).round() as u32),
        Tint::Bits(bits) => format::tenth(f64::from(*bits)),
        Tint::Domain { name, .. } => name.chars().take(3).collect(),
    }
}
