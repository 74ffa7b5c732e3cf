//! The continuations of the text by the unchanged and the changed model, side by side.

use crate::i18n::messages::t;
use crate::state::shared::Shared;
use crate::state::writes::{Side, Writes};
use gloo::timers::callback::Interval;
use gloo::utils::window;
use yew::prelude::*;

/// Characters of the text that are shown before each continuation.
const BEFORE: usize = 40;

/// Time for each word, about the speed of reading.
const WORD_MS: u32 = 60;

#[derive(Properties, PartialEq)]
pub struct WritesViewProps {
    pub writes: Shared<Writes>,
}

/// Both columns.
#[component]
pub fn WritesView(props: &WritesViewProps) -> Html {
    let side = |name: &'static str, title: String, side: &Side| {
        html! { <Column {name} {title} before={tail(&props.writes.after)} side={side.clone()} /> }
    };
    html! {
        <div class="writes" data-place="writes" translate="no">
            { side("model", t!("writes.model"), &props.writes.model) }
            { side("changed", t!("writes.changed"), &props.writes.changed) }
        </div>
    }
}

#[derive(Properties, PartialEq)]
struct ColumnProps {
    name: &'static str,
    title: String,
    before: String,
    side: Side,
}

#[component]
fn Column(props: &ColumnProps) -> Html {
    let text = props.side.text.clone().unwrap_or_default();
    let words = text.split_inclusive(char::is_whitespace).count();
    let shown = use_state_eq(|| 0usize);
    {
        let shown = shown.clone();
        use_effect_with((text.clone(), *shown), move |(_, at)| {
            let at = *at;
            let timer = (at < words).then(|| {
                // With reduced motion, the whole continuation appears at once.
                if calm() {
                    shown.set(words);
                }
                Interval::new(WORD_MS, move || shown.set(at + 1))
            });
            move || drop(timer)
        });
    }
    let written: String = text.split_inclusive(char::is_whitespace).take(*shown).collect();
    html! {
        <div class="writes-side" data-testid="writes" data-side={props.name}
            data-done={(props.side.text.is_some() && *shown >= words).to_string()}>
            <h2>{ &props.title }</h2>
            if let Some(problem) = &props.side.failed {
                <p>{ problem }</p>
            } else {
                <p><span class="before">{ &props.before }</span><u>{ written }</u></p>
            }
        </div>
    }
}

/// Whether the visitor prefers reduced motion.
fn calm() -> bool {
    let query = window().match_media("(prefers-reduced-motion: reduce)");
    query.ok().flatten().is_some_and(|query| query.matches())
}

/// The end of a text, from the start of a word on.
fn tail(text: &str) -> String {
    let start = text.char_indices().rev().nth(BEFORE).map_or(0, |(at, _)| at);
    let cut = &text[start..];
    let word = if start == 0 { 0 } else { cut.find(char::is_whitespace).unwrap_or(0) };
    let sign = if start == 0 { "" } else { "\u{2026}" };
    format!("{sign}{}", &cut[word..])
}
