//! The controls of the strip: layer, meaning of the colours, search, playback.

use crate::i18n::messages::t;
use crate::state::shared::Shared;
use crate::state::{Action, COLOURS, ColourBy, LayerChoice, colour_name};
use crate::ui::browser::ready_state::ReadyState;
use crate::ui::charts::save::SavePicture;
use crate::ui::parts::icon::icon;
use crate::ui::parts::popup::Popup;
use crate::ui::strip::layer_select::LayerSelect;
use crate::ui::strip::playback::Playback;
use wasm_bindgen::JsCast;
use web_sys::{HtmlInputElement, HtmlSelectElement};
use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct StripToolsProps {
    /// Number of layers of the model.
    pub layers: usize,
    pub layer: LayerChoice,
    pub colour_by: ColourBy,
    /// Whether the model has dossiers, which the colours by kind of text need.
    pub has_dossier: bool,
    /// Whether a training snapshot is shown, which has no router scores.
    pub recorded: bool,
    pub search: String,
    /// Whether a range of tokens is chosen.
    pub has_range: bool,
    pub found: Shared<Vec<bool>>,
    /// Number of tokens of the text, and the number shown; `None` where all are.
    pub length: usize,
    pub played: Option<usize>,
    pub ready_state: ReadyState,
    pub dispatch: Callback<Action>,
}

/// The controls.
#[component]
pub fn StripTools(props: &StripToolsProps) -> Html {
    let label = html! { <>{ t!("strip.more-tools") }{ icon("down") }</> };
    html! {
        <>
            <LayerSelect layers={props.layers} layer={props.layer} dispatch={props.dispatch.clone()} />
            <Popup {label} class={classes!("quiet")} testid="strip-more">
                <div class="menu-body strip-more">
                    { colour_by(props) }
                    { search(props) }
                    if props.length > 0 {
                        { save(props) }
                        <Playback length={props.length} played={props.played} ready_state={props.ready_state.clone()}
                            dispatch={props.dispatch.clone()} />
                    }
                </div>
            </Popup>
        </>
    }
}

/// Saves the stage and the strip as pictures.
fn save(props: &StripToolsProps) -> Html {
    let legend = match props.layer {
        LayerChoice::One(layer) => t!(&format!("strip.about.{}", colour_name(props.colour_by)), layer = layer),
        LayerChoice::All => t!("strip.about.all"),
    };
    let dispatch = &props.dispatch;
    html! {
        <div class="row wrap save" role="group" aria-label={t!("save.label")}>
            <SavePicture element=".stage-scroll svg" file="stage" title={t!("stage.label")} label={t!("save.stage")}
                dispatch={dispatch.clone()} />
            <SavePicture element="[data-place=strip] .strip" file="strip" title={t!("strip.title")} {legend}
                label={t!("save.strip")} dispatch={dispatch.clone()} />
        </div>
    }
}

fn colour_by(props: &StripToolsProps) -> Html {
    if props.layer == LayerChoice::All {
        return html! {};
    }
    let choose = {
        let dispatch = props.dispatch.clone();
        Callback::from(move |event: Event| {
            let select = event.target().and_then(|target| target.dyn_into::<HtmlSelectElement>().ok());
            let Some(value) = select.map(|select| select.value()) else { return };
            if let Some(choice) = COLOURS.into_iter().find(|choice| colour_name(*choice) == value) {
                dispatch.emit(Action::ColourBy(choice));
            }
        })
    };
    let possible = COLOURS.into_iter().filter(|choice| match choice {
        ColourBy::Domain => props.has_dossier,
        // A recording has no router scores.
        ColourBy::Entropy => !props.recorded,
        _ => true,
    });
    let options = possible.map(|choice| {
        html! {
            <option value={colour_name(choice)} selected={choice == props.colour_by}>
                { t!(&format!("colour.{}", colour_name(choice))) }</option>
        }
    });
    html! {
        <label class="colour-by"><span>{ t!("colour.label") }</span>
            <select data-testid="colour-by" onchange={choose}>{ for options }</select>
        </label>
    }
}

/// Finds a text among the tokens; Enter goes to the next one.
fn search(props: &StripToolsProps) -> Html {
    let input = {
        let dispatch = props.dispatch.clone();
        Callback::from(move |event: InputEvent| {
            let input = event.target().and_then(|target| target.dyn_into::<HtmlInputElement>().ok());
            if let Some(input) = input {
                dispatch.emit(Action::Search(input.value()));
            }
        })
    };
    let next = {
        let dispatch = props.dispatch.clone();
        Callback::from(move |event: KeyboardEvent| {
            if event.key() == "Enter" && !event.is_composing() {
                event.prevent_default();
                dispatch.emit(Action::FindNext);
            }
        })
    };
    let count = props.found.iter().filter(|found| **found).count();
    html! {
        <label class="row search"><span class="hidden">{ t!("find.label") }</span>
            <input type="search" placeholder={t!("find.placeholder")} value={props.search.clone()} data-testid="find"
                oninput={input} onkeydown={next} />
            <span class="soft" role="status">
                { (!props.search.is_empty() || props.has_range).then(|| t!(count; "find.count")) }</span>
        </label>
    }
}
