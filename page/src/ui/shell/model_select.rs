//! Choosing a model: one of the site's, or one from files or an address.

use crate::i18n::format;
use crate::i18n::messages::{name_of, t};
use crate::model::ModelInfo;
use crate::site::shipped;
use crate::state::openings::Openings;
use crate::state::shared::Shared;
use crate::state::{Action, Offered};
use crate::ui::parts::icon::icon;
use crate::ui::parts::popup::Popup;
use crate::ui::shell::open_model::OpenModel;
use crate::worker::protocol::Source;
use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct ModelSelectProps {
    pub offered: Shared<Vec<Offered>>,
    /// Name or address of the chosen model.
    pub asked: Option<String>,
    /// The model in use.
    pub model: Option<Shared<ModelInfo>>,
    /// Whether a model is being loaded.
    pub loading: bool,
    /// Where the model in use came from.
    pub own: Option<Source>,
    pub openings: Openings,
    pub dispatch: Callback<Action>,
}

/// The button with the model's name, and the panel of models.
#[component]
pub fn ModelSelect(props: &ModelSelectProps) -> Html {
    let open = use_state_eq(|| false);
    let on_list = props.offered.iter().find(|offered| props.asked.as_ref() == Some(&offered.name));
    let name = match (on_list, &props.model) {
        (Some(offered), _) => model_title(&offered.name),
        (None, Some(model)) => model.name.clone(),
        (None, None) if props.loading => t!("model.loading"),
        (None, None) => t!("model.none"),
    };
    let shape = props.model.as_deref().map(shape).unwrap_or_default();
    let label = html! { <><b>{ name }</b><span class="model-shape">{ shape }</span>{ icon("down") }</> };
    let rows = props.offered.iter().map(|offered| row(offered, props));
    let show = {
        let open = open.clone();
        Callback::from(move |_: MouseEvent| open.set(true))
    };
    let close = {
        let open = open.clone();
        Callback::from(move |()| open.set(false))
    };
    html! {
        <>
            <Popup {label} class={classes!("pill", "model-button")} place={classes!("model-select")}
                testid="model-select"
                panel_testid="models-panel">
                <h2>{ t!("model.label") }</h2>
                <ul class="models">{ for rows }</ul>
                <button type="button" data-testid="open-model" data-closes="" onclick={show}>
                    { icon("folder") }{ t!("model.open") }</button>
            </Popup>
            if *open {
                <OpenModel {close} own={props.own.clone()} openings={props.openings.clone()}
                    dispatch={props.dispatch.clone()} />
            }
        </>
    }
}

/// A model's title for visitors; the name of its directory where it has none.
pub fn model_title(name: &str) -> String {
    match name {
        "main" => t!("model.title.main"),
        "switch" => t!("model.title.switch"),
        "fine-grained" => t!("model.title.fine-grained"),
        "hierarchical" => t!("model.title.hierarchical"),
        "noisy-top-k" => t!("model.title.noisy-top-k"),
        "collapse" => t!("model.title.collapse"),
        "dense" => t!("model.title.dense"),
        "dense-wide" => t!("model.title.dense-wide"),
        other => other.to_owned(),
    }
}

/// The number of experts, and of experts per token, in words.
pub fn shape(model: &ModelInfo) -> String {
    let shape = match model.experts {
        0 => t!("model.shape.dense", layers = model.layers),
        experts => t!("model.shape", experts = experts, top_k = model.top_k),
    };
    match part(model) {
        Some(part) => format!("{part} · {shape}"),
        None => shape,
    }
}

/// Which layers run, where these are not all.
pub fn part(model: &ModelInfo) -> Option<String> {
    model.of_layers.map(|all| t!(model.layers; "model.part", all = all))
}

/// A model in the list: its description, hints, and a comparison with the model in use.
fn row(offered: &Offered, props: &ModelSelectProps) -> Html {
    let name = offered.name.clone();
    let on = props.asked.as_ref() == Some(&name);
    let choose = {
        let name = name.clone();
        let dispatch = props.dispatch.clone();
        Callback::from(move |_: MouseEvent| {
            dispatch.emit(Action::Load { source: shipped(&name), asked: Some(name.clone()) });
            dispatch.emit(Action::OpeningText(name.clone()));
        })
    };
    let compare = {
        let name = name.clone();
        props.dispatch.reform(move |_: MouseEvent| Action::Compare(Some(name.clone())))
    };
    html! {
        <li key={name.clone()}>
            <button type="button" class="model-row" data-testid="model-row" data-model={name.clone()} data-closes=""
                aria-pressed={on.to_string()} onclick={choose}>
                <b>{ model_title(&name) }<small>{ size(offered) }</small></b>
                { loads(offered) }
                <span>{ name_of("model-about", &name, &offered.about) }</span>
            </button>
            if !on {
                <button type="button" class="quiet small" data-testid="model-compare" data-model={name.clone()}
                    data-closes=""
                    title={t!("compare.about")} onclick={compare}>{ t!("compare.open") }</button>
            }
        </li>
    }
}

fn size(offered: &Offered) -> String {
    if offered.bytes == 0 { String::new() } else { format::bytes(offered.bytes as f64) }
}

/// How the experts of the middle layer share the work over held-out text: small bars.
fn loads(offered: &Offered) -> Html {
    let most = offered.loads.iter().copied().fold(0.0, f32::max);
    if most == 0.0 {
        return html! {};
    }
    let width = 100.0 / offered.loads.len() as f32;
    let bars = offered.loads.iter().enumerate().map(|(expert, load)| {
        let height = load / most * 24.0;
        html! {
            <rect key={expert} data-e={expert.to_string()} x={format!("{:.2}", width * expert as f32)}
                y={format!("{:.1}", 24.0 - height)}
                width={format!("{:.2}", width * 0.8)} height={format!("{height:.1}")} />
        }
    });
    html! {
        <svg class="model-loads" viewBox="0 0 100 24" preserveAspectRatio="none" aria-hidden="true">{ for bars }</svg>
    }
}
