//! The picture of one token on its way through the model.

use crate::model::ModelInfo;
use crate::routing::{Policy, Trace};
use crate::state::ExpertOf;
use crate::state::shared::Shared;
use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct StageProps {
    /// What is shown; during playback its beginning.
    pub trace: Shared<Trace>,
    /// The token drawn: pointed at, chosen, or the newest.
    pub position: Option<usize>,
    pub model: Option<Shared<ModelInfo>>,
    /// The layer drawn large.
    pub open: usize,
    /// What is changed about the routing.
    pub policy: Policy,
    /// Draw what the layer replaced: one large network.
    pub dense: bool,
    /// The expert that is chosen or pointed at.
    pub expert: Option<ExpertOf>,
    /// Another layer is to be drawn large.
    pub on_layer: Callback<usize>,
    /// An expert was chosen, or let go.
    pub on_expert: Callback<Option<ExpertOf>>,
    /// The pointer is over an expert, or left it.
    pub on_point: Callback<Option<ExpertOf>>,
    /// The dense switch.
    pub on_dense: Callback<bool>,
}

/// The stage.
#[component]
pub fn Stage(props: &StageProps) -> Html {
    html! {
        <section class="card stage" data-testid="stage" data-token={props.position.map(|p| p.to_string())}
            data-layer={props.open.to_string()}></section>
    }
}
