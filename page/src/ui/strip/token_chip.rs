//! One token of the strip: its text in the colour of the expert with the largest weight, and the experts' numbers.

use crate::i18n::format;
use crate::i18n::messages::t;
use crate::ui::strip::token_text::{Part, hex, quoted, visible};
use yew::prelude::*;

/// The routing of a token, as a chip shows it.
#[derive(Clone, Debug, PartialEq)]
pub enum Reads {
    /// One layer: experts by falling weight, their weights, which of them were full, and the meaning of the colour.
    Layer { experts: Vec<u32>, weights: Vec<f32>, dropped: Vec<bool>, tint: Tint },
    /// All layers: the experts of each.
    Path(Vec<Vec<u32>>),
}

/// The meaning of a chip's colour.
#[derive(Clone, Debug, PartialEq)]
pub enum Tint {
    /// The expert with the largest weight; the colour is as strong as the weight.
    Expert,
    /// A share between 0 and 1.
    Share(f32),
    /// A number of bits.
    Bits(f32),
    /// A kind of text: its index among `of`, its name and its probability.
    Domain { number: usize, of: usize, name: String, share: f32 },
}

/// The loss in bits that has the full colour.
const MOST_BITS: f32 = 12.0;

/// Number of steps from no colour to the full colour. Chips with the same expert and step share a style, which a
/// browser computes once. A step is too small to be visible.
const STEPS: f32 = 20.0;

/// With more layers than this, a path has no numbers.
const LAYERS_WITH_NUMBERS: usize = 8;

/// The data of one token in the strip.
#[derive(Clone, Debug, PartialEq)]
pub struct Chip {
    /// Its position, from 0.
    pub position: usize,
    /// Its id in the vocabulary.
    pub id: u32,
    /// See [`crate::routing::Token`].
    pub text: String,
    /// See [`crate::routing::Token`].
    pub bytes: Option<Vec<u8>>,
    /// Its routing.
    pub reads: Reads,
    /// Whether it is the chosen token.
    pub selected: bool,
    /// Whether it is under the pointer, here or in another view.
    pub hovered: bool,
    /// Whether it belongs to the selection: a token with the same id, a range, or a search result.
    pub alike: bool,
    /// Whether Tab reaches this chip; only one chip is reached.
    pub in_tab_order: bool,
    /// The loss after a change of the routing minus the loss before, in bits.
    pub change: Option<f32>,
    /// The visitor sent it to an expert, in the layer shown or in any.
    pub sent: bool,
    /// Whether it is a control token, which is no part of the text.
    pub control: bool,
    /// How much each head of the layer shown looks at it from the chosen token, in percent; empty where none does.
    pub heads: Vec<u8>,
}

impl Chip {
    /// Renders the chip; `key` distinguishes it from its siblings.
    pub fn view(&self, key: usize) -> Html {
        html! {
            <span {key} class={self.class()} role="option" data-testid="token"
                data-position={self.position.to_string()} data-token-id={self.id.to_string()}
                data-experts={data_experts(&self.reads)} data-heads={self.data_heads()} style={self.style()}
                    aria-description={self.description()}
                aria-selected={if self.selected { "true" } else { "false" }}
                tabindex={if self.in_tab_order { "0" } else { "-1" }} draggable="true">
                <b>{ self.text() }</b>
                { numbers(&self.reads) }
                { self.change.map(change_bar) }
            </span>
        }
    }

    /// Class names: `e5` and `s0` are the first and the second expert (see palette.rs), `w13` is the strength of the
    /// colour.
    fn class(&self) -> String {
        let mut class = String::from("token");
        if let Reads::Layer { experts, dropped, tint, .. } = &self.reads {
            for (prefix, expert) in [" e", " s"].iter().zip(experts) {
                class += &format!("{prefix}{expert}");
            }
            // All experts of the token: if one expert is marked, the tokens of other experts fade (palette.rs).
            for (rank, expert) in experts.iter().enumerate() {
                if !dropped.get(rank).copied().unwrap_or_default() {
                    class += &format!(" x{expert}");
                }
            }
            class += &format!(" w{:.0}", self.strength() * STEPS);
            class += if dropped.contains(&true) { " dropped" } else { "" };
            class += if *tint == Tint::Expert { "" } else { " by-figure" };
        }
        let flags = [
            (self.selected, " selected"),
            (self.hovered, " hovered"),
            (self.alike, " alike"),
            (self.text.is_empty(), " piece"),
            (!self.heads.is_empty(), " looked-at"),
            (self.sent, " sent"),
            (self.control, " control"),
        ];
        flags.iter().filter(|(on, _)| *on).for_each(|(_, name)| class += name);
        class
    }

    /// The strength of the colour, from 0 to 1.
    fn strength(&self) -> f32 {
        let Reads::Layer { weights, tint, .. } = &self.reads else { return 0.0 };
        let strength = match tint {
            Tint::Expert => weights.first().copied().unwrap_or_default(),
            Tint::Share(share) | Tint::Domain { share, .. } => *share,
            Tint::Bits(bits) => bits / MOST_BITS,
        };
        strength.clamp(0.0, 1.0)
    }

    fn style(&self) -> Option<String> {
        let style = self.hue().unwrap_or_default() + &self.line();
        (!style.is_empty()).then_some(style)
    }

    /// The line of a token that attention looks at: a segment a head, the darker the more.
    fn line(&self) -> String {
        if self.heads.is_empty() {
            return String::new();
        }
        let width = 100.0 / self.heads.len() as f32;
        let segments = self.heads.iter().enumerate().map(|(head, percent)| {
            let from = width * head as f32;
            format!("color-mix(in srgb,var(--ink) {percent}%,var(--hair)) {from:.1}% {:.1}%", from + width)
        });
        format!(";--heads:linear-gradient(90deg,{})", segments.collect::<Vec<_>>().join(","))
    }

    fn data_heads(&self) -> Option<String> {
        let heads = self.heads.iter().map(u8::to_string).collect::<Vec<_>>();
        (!heads.is_empty()).then(|| heads.join(","))
    }

    /// A kind of text has a hue of its own.
    fn hue(&self) -> Option<String> {
        let Reads::Layer { tint: Tint::Domain { number, of, .. }, .. } = &self.reads else { return None };
        let hue = *number as f32 / (*of).max(1) as f32 * 360.0;
        Some(format!("--figure:oklch(0.66 0.15 {hue:.0}deg)"))
    }

    /// The description for screen readers, after text and numbers.
    fn description(&self) -> String {
        let spoken = match &self.reads {
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
            Reads::Path(layers) => {
                let firsts = layers.iter().map(|experts| experts.first().map_or("–".into(), u32::to_string));
                t!("strip.path", path = firsts.collect::<Vec<_>>().join(", "))
            }
        };
        let text = quoted(&self.text, self.bytes.as_deref());
        let reads = t!("strip.token", text = text, position = self.position, reads = spoken);
        let reads = if self.control { format!("{reads}; {}", t!("strip.control")) } else { reads };
        let reads = if self.sent { format!("{reads}; {}", t!("strip.sent")) } else { reads };
        match self.heads.iter().enumerate().max_by_key(|(_, percent)| **percent) {
            Some((head, percent)) => {
                let weight = format::percent(f64::from(*percent) / 100.0);
                format!("{reads}; {}", t!("strip.looked-at", head = head, weight = weight))
            }
            None => reads,
        }
    }

    fn text(&self) -> Html {
        if self.text.is_empty() {
            return html! { <span class="bytes">{ hex(self.bytes.as_deref().unwrap_or_default()) }</span> };
        }
        visible(&self.text)
            .into_iter()
            .map(|part| match part {
                Part::Plain(text) => html! { text },
                Part::Mark(mark) => html! { <span class="blank">{ mark }</span> },
            })
            .collect()
    }
}

/// The difference in bits that fills the bar.
const MOST_CHANGE: f32 = 6.0;

/// A bar below a token: how much its loss rose or fell.
fn change_bar(bits: f32) -> Html {
    let width = (bits.abs() / MOST_CHANGE).min(1.0) * 100.0;
    let amount = format::tenth(f64::from(bits.abs()));
    let (class, title) = if bits > 0.0 {
        ("worse", t!("strip.change.more", bits = amount))
    } else {
        ("better", t!("strip.change.less", bits = amount))
    };
    html! { <em class="change-mark" {title}><s {class} style={format!("width:{width:.0}%")}></s></em> }
}

/// The experts for `data-experts`: `3,5`, or `3,5;0,1` for all layers.
fn data_experts(reads: &Reads) -> String {
    match reads {
        Reads::Layer { experts, .. } => joined(experts),
        Reads::Path(layers) => layers.iter().map(|experts| joined(experts)).collect::<Vec<_>>().join(";"),
    }
}

fn joined(experts: &[u32]) -> String {
    experts.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

fn numbers(reads: &Reads) -> Html {
    match reads {
        // The second one is in the line above the number (style.css).
        Reads::Layer { experts, dropped, tint: Tint::Expert, .. } => {
            let full = dropped.first().copied().unwrap_or_default();
            match experts.first() {
                Some(expert) if full => html! { <i><del>{ *expert }</del></i> },
                Some(expert) => html! { <i>{ *expert }</i> },
                None => html! { <i></i> },
            }
        }
        Reads::Layer { tint, .. } => html! { <i class="figure">{ figure(tint) }</i> },
        Reads::Path(layers) => {
            let numbered = layers.len() <= LAYERS_WITH_NUMBERS;
            let steps = layers.iter().map(|experts| match experts.first() {
                Some(expert) => html! { <s class={format!("e{expert}")}>{ numbered.then_some(*expert) }</s> },
                None => html! { <s>{ numbered.then_some("–") }</s> },
            });
            html! { <i class={if numbered { "path" } else { "path bare" }}>{ for steps }</i> }
        }
    }
}

/// The figure that the colour stands for, in a short form.
fn figure(tint: &Tint) -> String {
    match tint {
        Tint::Expert => String::new(),
        Tint::Share(share) if *share >= 0.995 => "1".into(),
        Tint::Share(share) => format!(".{:02}", (share * 100.0).round() as u32),
        Tint::Bits(bits) => format::tenth(f64::from(*bits)),
        Tint::Domain { name, .. } => name.chars().take(3).collect(),
    }
}
