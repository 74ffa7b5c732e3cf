//! One token in the strip: its text, tinted by the expert that weighs most, and the experts' numbers.

use super::visible::{Part, hex, visible};
use yew::prelude::*;

/// What a chip's colour means and which numbers stand under it.
#[derive(Clone, Debug, PartialEq)]
pub enum Reads {
    /// One layer: experts by falling weight, the first one's weight, and which were full.
    Layer { experts: Vec<u32>, weight: f32, dropped: Vec<bool> },
    /// One layer, coloured by a figure between 0 and 1 instead, which stands under it as `shown`.
    Figure { experts: Vec<u32>, value: f32, shown: String },
    /// All layers: the first expert of each.
    Path(Vec<u32>),
}

#[derive(Properties, PartialEq)]
pub struct TokenChipProps {
    pub position: usize,
    pub id: u32,
    pub text: String,
    pub bytes: Option<Vec<u8>>,
    pub reads: Reads,
    /// What assistive tools say after its text and numbers.
    pub label: String,
    /// `data-experts`
    pub experts: String,
    pub selected: bool,
    pub hovered: bool,
    /// Another token of the same kind is chosen.
    pub alike: bool,
    /// The one chip that Tab reaches.
    pub in_tab_order: bool,
}

/// With more layers than this a path is drawn without numbers.
const LAYERS_WITH_NUMBERS: usize = 8;

/// The chip.
#[component]
pub fn TokenChip(props: &TokenChipProps) -> Html {
    let (expert, second, style) = match &props.reads {
        Reads::Layer { experts, weight, .. } => (experts.first(), experts.get(1), format!("--w:{weight:.2}")),
        Reads::Figure { experts, value, .. } => (experts.first(), experts.get(1), format!("--w:{value:.2}")),
        Reads::Path(_) => (None, None, String::new()),
    };
    let class = classes!(
        "token",
        props.selected.then_some("selected"),
        props.hovered.then_some("hovered"),
        props.alike.then_some("alike"),
        props.text.is_empty().then_some("piece"),
        matches!(&props.reads, Reads::Layer { dropped, .. } if dropped.contains(&true)).then_some("dropped"),
        matches!(props.reads, Reads::Figure { .. }).then_some("by-figure"),
    );
    html! {
        <span {class} role="option" data-testid="token" data-position={props.position.to_string()}
            data-token-id={props.id.to_string()} data-experts={props.experts.clone()}
            data-e={expert.map(u32::to_string)} data-e2={second.map(u32::to_string)} {style}
            aria-description={props.label.clone()} aria-selected={props.selected.to_string()}
            tabindex={if props.in_tab_order { "0" } else { "-1" }}>
            <b>{ text(props) }</b>
            { numbers(&props.reads) }
        </span>
    }
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
        Reads::Layer { experts, dropped, .. } => {
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
        Reads::Figure { shown, .. } => html! { <i class="figure">{ shown }</i> },
        Reads::Path(path) => {
            let numbered = path.len() <= LAYERS_WITH_NUMBERS;
            let steps = path.iter().map(|expert| {
                html! { <s data-e={expert.to_string()}>{ numbered.then_some(*expert) }</s> }
            });
            html! { <i class="path">{ for steps }</i> }
        }
    }
}
