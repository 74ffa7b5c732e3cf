//! The page: yew components, one concept a file; [`app`] puts them together.
//!
//! What the page knows is one [`state::State`]; an action changes it and asks for effects; components draw it.
//! They compute nothing that a pure function over the trace ([`crate::routing`]) could.

pub(crate) mod address;
mod app;
mod as_table;
mod backend_badge;
mod canvas;
mod changes;
mod compare;
mod compare_snapshots;
mod compared_strip;
mod cost;
mod dialog;
mod dossier;
mod dropped;
mod effect_view;
mod examples;
mod expert_inspector;
mod filling_view;
mod flow;
mod fold;
mod format;
mod generate;
mod header;
mod help;
mod history;
mod icon;
mod judge;
mod keep;
mod later;
mod layer_select;
mod lens;
pub(crate) mod link;
mod live;
mod load_balance;
mod load_map;
mod messages;
mod mixtral_card;
pub(crate) mod model_select;
mod notices;
mod pace;
mod palette;
mod past;
mod picture;
mod playback;
mod policy_bar;
mod policy_card;
mod policy_words;
mod routing_map;
mod save;
mod segments;
mod settling;
mod share;
mod shared;
pub(crate) mod state;
mod strip_card;
mod strip_part;
mod sweeps;
mod text_box;
mod text_card;
mod theme;
mod token_chip;
mod token_inspector;
mod token_strip;
mod training;
mod version;
mod visible;

/// Starts the page in `#app`, or in the body where there is none.
pub fn start() {
    let props = app::AppProps { typed: text_box::Typed::read() };
    let root = gloo::utils::document().get_element_by_id("app");
    let root = root.unwrap_or_else(|| gloo::utils::body().into());
    root.set_inner_html("");
    yew::Renderer::<app::App>::with_root_and_props(root, props).render();
}
