//! Chooses the layer that the views show.

use crate::i18n::messages::t;
use crate::state::address::layer_name;
use crate::state::{Action, LayerChoice};
use crate::ui::parts::radio_group::{RadioGroup, RadioOption};
use yew::prelude::*;

/// With more layers than this, a button has only a number.
const LAYERS_WITH_NAMES: usize = 12;

#[derive(Properties, PartialEq)]
pub struct LayerSelectProps {
    /// Number of layers of the model.
    pub layers: usize,
    pub layer: LayerChoice,
    pub dispatch: Callback<Action>,
}

/// A button for each layer, and one for all.
#[component]
pub fn LayerSelect(props: &LayerSelectProps) -> Html {
    let named = props.layers <= LAYERS_WITH_NAMES;
    let mut segments: Vec<RadioOption> = (0..props.layers)
        .map(|layer| {
            let label = if named { format!("L{layer}") } else { layer.to_string() };
            RadioOption { value: layer.to_string().into(), label: label.into() }
        })
        .collect();
    segments.push(RadioOption { value: "all".into(), label: t!("layer.all").into() });
    let choose =
        props.dispatch.reform(|value: String| Action::Layer(value.parse().map_or(LayerChoice::All, LayerChoice::One)));
    html! {
        <RadioGroup name="layer" label={t!("layer.label")} {segments} on={layer_name(props.layer)} {choose}
            testid="layer-select" />
    }
}
