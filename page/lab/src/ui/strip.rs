//! A text whose tokens have the colour of the expert that a layer sends them to.

use moescope_common::t;
use serde_json::Value;
use std::rc::Rc;
use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct StripProps {
    /// The tokens.
    pub tokens: Value,
    /// By layer: each token's experts by falling weight.
    pub experts: Value,
    /// The same to compare with: tokens whose set of experts differs are marked.
    #[prop_or_default]
    pub other: Option<Rc<Value>>,
    /// Experts of a token.
    pub top_k: usize,
    pub layer: usize,
    /// What is shown, in words.
    pub label: String,
}

fn experts_of(experts: &Value, layer: usize, token: usize, top_k: usize) -> Vec<u64> {
    let all = experts[layer].as_array().into_iter().flatten();
    all.skip(token * top_k).take(top_k).filter_map(Value::as_u64).collect()
}

/// The text.
#[component]
pub fn Strip(props: &StripProps) -> Html {
    let top_k = props.top_k.max(1);
    let tokens = props.tokens.as_array().into_iter().flatten().enumerate().map(|(at, token)| {
        let mut now = experts_of(&props.experts, props.layer, at, top_k);
        let first = now.first().copied().unwrap_or_default();
        let names = now.iter().map(u64::to_string).collect::<Vec<_>>().join(" + ");
        let text = token.as_str().unwrap_or_default();
        let title = t!("sentence.label", token = text, experts = names);
        let is_other = props.other.as_ref().is_some_and(|other| {
            let mut then = experts_of(other, props.layer, at, top_k);
            now.sort_unstable();
            then.sort_unstable();
            then != now
        });
        let shown = text.replace('\n', "\u{21b5}");
        html! {
            <span key={at} class="strip-token" data-e={first.to_string()} data-moved={is_other.then_some("")}
                {title}>{ shown }</span>
        }
    });
    html! { <p class="lab-strip" data-testid="lab-strip" aria-label={props.label.clone()}>{ for tokens }</p> }
}
