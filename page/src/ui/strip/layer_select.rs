//! Which layer the views show.

use crate::i18n::messages::t;
use crate::state::address::layer_name;
use crate::state::{Action, LayerChoice};
use crate::ui::parts::radio_group::{RadioGroup, RadioOption};
use yew::prelude::*;

/// With more layers than this a segment is only a number.
const LAYERS_WITH_NAMES: usize = 12;

#[derive(Properties, PartialEq)]
pub struct LayerSelectProps {
    /// How many layers the model has.
    pub layers: usize,
    pub layer: LayerChoice,
    pub dispatch: Callback<Action>,
}

/// A segment a layer, and one for all.
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
