//! The card with the pictures of the whole text: routing map, load, flow.

use crate::i18n::messages::t;
use crate::routing::Trace;
use crate::state::shared::Shared;
use crate::state::{Action, ExpertOf, LayerChoice, Picture};
use crate::ui::browser::palette::Palette;
use crate::ui::charts::flow::FlowPicture;
use crate::ui::charts::load_map::LoadMap;
use crate::ui::charts::routing_map::RoutingMap;
use crate::ui::charts::save::SaveRow;
use crate::ui::parts::radio_group::{RadioGroup, RadioOption};
use yew::prelude::*;

#[derive(Properties, PartialEq)]
pub struct PictureCardProps {
    pub trace: Shared<Trace>,
    /// Number of tokens of the whole text; during playback `trace` has fewer.
    pub length: usize,
    pub text: Shared<String>,
    /// Whether the trace comes from a recording of the training.
    pub recorded: bool,
    /// Saves the trace of a text as the command line's JSON.
    pub ask: Callback<String>,
    pub palette: Shared<Palette>,
    pub dark: bool,
    pub picture: Picture,
    pub layer: LayerChoice,
    pub inspected: Option<usize>,
    pub pinned: Option<usize>,
    /// Which tokens were found.
    pub found: Shared<Vec<bool>>,
    pub expert: Option<ExpertOf>,
    /// The expert that is pointed at or chosen: tokens that did not go to it fade.
    pub marked: Option<ExpertOf>,
    pub dispatch: Callback<Action>,
}

/// The card.
#[component]
pub fn PictureCard(props: &PictureCardProps) -> Html {
    let choice = |value: &'static str, label: String| RadioOption { value: value.into(), label: label.into() };
    let segments =
        vec![choice("map", t!("picture.map")), choice("load", t!("picture.load")), choice("flow", t!("picture.flow"))];
    let choose = props.dispatch.reform(|value: String| {
        Action::Picture(match value.as_str() {
            "load" => Picture::Load,
            "flow" => Picture::Flow,
            _ => Picture::Map,
        })
    });
    let (on, title, about) = match props.picture {
        Picture::Map => ("map", t!("map.title"), t!("map.about")),
        Picture::Load => ("load", t!("loadmap.title"), t!("loadmap.about")),
        Picture::Flow => ("flow", t!("flow.title"), t!("flow.about")),
    };
    let (trace, palette, dark) = (props.trace.clone(), props.palette.clone(), props.dark);
    let dispatch = props.dispatch.clone();
    let picture = match props.picture {
        _ if props.trace.layers.is_empty() && !props.trace.is_empty() => {
            html! { <p class="empty">{ t!("picture.dense") }</p> }
        }
        _ if props.trace.is_empty() => html! { <p class="empty">{ t!("picture.empty") }</p> },
        Picture::Map => html! {
            <RoutingMap {trace} length={props.length} {palette} {dark} layer={props.layer} inspected={props.inspected}
                marked={props.marked} {dispatch} />
        },
        Picture::Load => html! { <LoadMap {trace} {palette} {dark} expert={props.expert} {dispatch} /> },
        Picture::Flow => {
            html! {
                <FlowPicture found={props.found.clone()} {trace} pinned={props.pinned} expert={props.marked}
                    {dispatch} />
            }
        }
    };
    html! {
        <section class="card" aria-labelledby="picture-title" data-place="picture">
            <div class="head">
                <h2 id="picture-title">{ title }</h2>
                <p>{ about }</p>
                <RadioGroup name="picture" label={t!("picture.label")} {segments} {on} {choose}
                    testid="picture-select" />
            </div>
            { picture }
            if !props.trace.is_empty() {
                <SaveRow recorded={props.recorded} picture={props.picture} trace={props.trace.clone()}
                    text={props.text.clone()}
                    ask={props.ask.clone()} dispatch={props.dispatch.clone()} />
            }
        </section>
    }
}
