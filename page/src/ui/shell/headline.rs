//! The headline and a sentence about what is shown, both true for the model in use.

use crate::i18n::messages::{name_of, t};
use crate::model::ModelInfo;
use crate::state::Offered;
use crate::state::shared::Shared;
use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct HeadlineProps {
    pub model: Option<Shared<ModelInfo>>,
    /// The model's entry in the list, if the site has the model.
    pub offered: Option<Offered>,
    /// Whether the page opens with this model.
    pub is_first: bool,
}

/// The headline.
#[component]
pub fn Headline(props: &HeadlineProps) -> Html {
    let about = props.offered.as_ref().map(|offered| name_of("model-about", &offered.name, &offered.about));
    let about = about.filter(|about| !about.is_empty()).unwrap_or_else(|| t!("headline.about"));
    html! {
        <div class="headline">
            <h1 data-testid="headline">{ headline(props.model.as_deref()) }</h1>
            <p data-testid="model-line">{ if props.is_first { t!("headline.invitation") } else { about } }</p>
        </div>
    }
}

fn headline(model: Option<&ModelInfo>) -> String {
    let Some(model) = model else { return t!("headline.none") };
    match model.router.as_str() {
        _ if model.experts == 0 => t!("headline.dense", layers = model.layers),
        "expert-choice" => t!("headline.expert-choice", experts = model.experts),
        "soft" => t!("headline.soft", experts = model.experts),
        _ if model.shared_experts > 0 => {
            t!(model.shared_experts; "headline.shared", top_k = model.top_k, experts = model.experts)
        }
        _ => t!(model.top_k; "headline", experts = model.experts),
    }
}
