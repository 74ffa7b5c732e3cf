//! The experts' shares as bars.

use moescope_common::format;
use moescope_common::t;
use std::rc::Rc;
use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct SharesProps {
    pub shares: Rc<Vec<f64>>,
    /// They are those of the first run.
    pub is_first: bool,
}

/// The bars.
#[component]
pub fn Shares(props: &SharesProps) -> Html {
    let bars = props.shares.iter().enumerate().map(|(expert, share)| {
        let name = t!("share.of", expert = expert, share = format::percent(*share));
        html! {
            <li key={expert} class="share-row" data-e={expert.to_string()} data-expert={expert.to_string()}
                data-testid={if props.is_first { "lab-share" } else { "lab-share-beside" }}
                data-share={share.to_string()} title={name.clone()}>
                <span class="share-number" aria-hidden="true">{ expert }</span>
                <span class="share-bar" style={format!("--share:{share:.4}")} role="img" aria-label={name}></span>
                <span class="share-part" aria-hidden="true">{ format::percent(*share) }</span>
            </li>
        }
    });
    html! { <ol class="share-rows" aria-label={t!("share.label")}>{ for bars }</ol> }
}
