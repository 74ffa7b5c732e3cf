//! The view as the page's address keeps it: `?model=NAME|URL&text=...&layer=N|all&backend=auto|webgpu|cpu`,
//! with `view` (the picture), `colour` (what colours mean), `token` (the one chosen) and `to` (the end of a range), `find`,
//! `expert` (`LAYER.EXPERT`), `compare` (a second model, or `self`), `compare-policy` (what is changed about
//! that one's routing), `step` (of the training), `recorded` (the recorded text) and
//! `beside` (a second step), `policy` (what is changed about the routing, docs/gates.md), and `lang`. A link brings back the same view; what makes no sense is ignored, and said.

use crate::i18n::messages::t;
use crate::routing::Policy;
use crate::state::{COLOURS, ColourBy, ExpertOf, LayerChoice, Picture, State, colour_name};
use crate::worker::protocol::BackendChoice;
use web_sys::UrlSearchParams;

/// Longest text that goes into a link, in characters: what all browsers and most servers take.
pub const LONGEST_TEXT: usize = 4000;

/// What an address says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Address {
    /// Name in `models/`, or a URL.
    pub model: Option<String>,
    /// The text.
    pub text: Option<String>,
    /// The layer shown.
    pub layer: Option<LayerChoice>,
    /// The backend asked for.
    pub backend: Option<BackendChoice>,
    /// The picture shown.
    pub picture: Option<Picture>,
    /// What the colours of the strip mean.
    pub colour_by: Option<ColourBy>,
    /// The token chosen.
    pub token: Option<usize>,
    /// The end of the range that begins at it.
    pub range_end: Option<usize>,
    /// What is searched for.
    pub search: Option<String>,
    /// The expert chosen.
    pub expert: Option<ExpertOf>,
    /// The step of the training that is shown.
    pub step: Option<u64>,
    /// The name of the recorded text that is shown then.
    pub recorded: Option<String>,
    /// The step that is compared with it.
    pub beside: Option<u64>,
    /// Name or URL of the model to compare with.
    pub compare: Option<String>,
    /// What is changed about that one's routing.
    pub compare_policy: Option<Policy>,
    /// What is changed about the routing.
    pub policy: Option<Policy>,
    /// The language asked for.
    pub language: Option<String>,
    /// What was ignored, a sentence each.
    pub ignored: Vec<String>,
}

impl Address {
    /// Reads the part of an address from `?` on.
    pub fn parse(search: &str) -> Self {
        let mut address = Self::default();
        let Ok(parameters) = UrlSearchParams::new_with_str(search) else { return address };
        let get = |name: &str| parameters.get(name).filter(|value| !value.is_empty());
        address.model = get("model");
        address.text = get("text");
        address.compare = get("compare");
        address.language = get("lang");
        address.search = get("find");
        address.recorded = get("recorded");
        address.layer = address.read("layer", get("layer"), t!("address.layer"), layer);
        address.backend = address.read("backend", get("backend"), t!("address.backend"), backend);
        address.picture = address.read("view", get("view"), t!("address.view"), picture);
        address.token = address.read("token", get("token"), t!("address.token"), |value| value.parse().ok());
        address.range_end = address.read("to", get("to"), t!("address.token"), |value| value.parse().ok());
        address.colour_by = address.read("colour", get("colour"), COLOURS.map(colour_name).join(", "), colour);
        address.expert = address.read("expert", get("expert"), t!("address.expert"), expert);
        let policy = |value: &str| Policy::parse(value).ok();
        address.policy = address.read("policy", get("policy"), t!("address.policy"), policy);
        address.compare_policy = address.read("compare-policy", get("compare-policy"), t!("address.policy"), policy);
        address.step = address.read("step", get("step"), t!("address.step"), |value| value.parse().ok());
        address.beside = address.read("beside", get("beside"), t!("address.step"), |value| value.parse().ok());
        address
    }

    fn read<T>(
        &mut self,
        name: &str,
        value: Option<String>,
        expected: String,
        read: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let value = value?;
        let read = read(&value);
        if read.is_none() {
            let shown: String = value.chars().take(40).collect();
            self.ignored.push(t!("address.ignored", name = name, value = shown, expected = expected));
        }
        read
    }

    /// The address of what `state` shows, from `?` on; empty where it is the opening view.
    pub fn write(state: &State, language: Option<&str>) -> String {
        let Ok(parameters) = UrlSearchParams::new() else { return String::new() };
        let first = state.examples.first().map(|example| example.text.as_str());
        let first_model = state.offered.first().map(|offered| offered.name.as_str());
        if let Some(model) = state.model_asked.as_deref().filter(|model| Some(*model) != first_model) {
            parameters.append("model", model);
        }
        if state.backend != BackendChoice::Auto {
            parameters.append("backend", backend_name(state.backend));
        }
        let default_layer = state.model.as_ref().map(|model| LayerChoice::One(model.layers / 2));
        if default_layer.is_some_and(|layer| layer != state.layer) {
            parameters.append("layer", &layer_name(state.layer));
        }
        if state.picture != Picture::Map {
            parameters.append("view", picture_name(state.picture));
        }
        if let Some(token) = state.pinned {
            parameters.append("token", &token.to_string());
        }
        if let Some(end) = state.range_end {
            parameters.append("to", &end.to_string());
        }
        if state.colour_by != ColourBy::Expert {
            parameters.append("colour", colour_name(state.colour_by));
        }
        if !state.search.is_empty() {
            parameters.append("find", &state.search);
        }
        if let Some(ExpertOf { layer, expert }) = state.expert {
            parameters.append("expert", &format!("{layer}.{expert}"));
        }
        if let (Some(past), Some(recording)) = (&state.past, &state.recording) {
            let step = |snapshot: usize| recording.snapshots()[snapshot].moment.step.to_string();
            parameters.append("step", &step(past.moment.snapshot));
            parameters.append("recorded", &recording.texts()[past.moment.text].id);
            if let Some(beside) = past.moment.beside {
                parameters.append("beside", &step(beside));
            }
        }
        if state.changes.asked != Policy::default() {
            parameters.append("policy", &state.changes.asked.to_json().to_string());
        }
        if let Some(compare) = &state.compare {
            parameters.append("compare", compare);
            if state.compare_policy != Policy::default() {
                parameters.append("compare-policy", &state.compare_policy.to_json().to_string());
            }
        }
        if let Some(language) = language {
            parameters.append("lang", language);
        }
        if Some(state.text.as_str()) != first && !state.text.is_empty() && state.text.chars().count() <= LONGEST_TEXT {
            parameters.append("text", &state.text);
        }
        let query = String::from(parameters.to_string());
        if query.is_empty() { query } else { format!("?{query}") }
    }
}

fn layer(value: &str) -> Option<LayerChoice> {
    match value {
        "all" => Some(LayerChoice::All),
        number => number.parse().ok().map(LayerChoice::One),
    }
}

/// `2` or `all`.
pub fn layer_name(layer: LayerChoice) -> String {
    match layer {
        LayerChoice::One(number) => number.to_string(),
        LayerChoice::All => "all".into(),
    }
}

/// `auto`, `webgpu`, `cpu` or `cpu-int8`.
pub fn backend(value: &str) -> Option<BackendChoice> {
    match value {
        "auto" => Some(BackendChoice::Auto),
        "webgpu" => Some(BackendChoice::WebGpu),
        "cpu" => Some(BackendChoice::Cpu),
        "cpu-int8" => Some(BackendChoice::CpuInt8),
        _ => None,
    }
}

/// The name that [`backend`] reads.
pub fn backend_name(backend: BackendChoice) -> &'static str {
    match backend {
        BackendChoice::Auto => "auto",
        BackendChoice::WebGpu => "webgpu",
        BackendChoice::Cpu => "cpu",
        BackendChoice::CpuInt8 => "cpu-int8",
    }
}

fn colour(value: &str) -> Option<ColourBy> {
    COLOURS.into_iter().find(|colour| colour_name(*colour) == value)
}

/// `2.5`: expert 5 of layer 2.
fn expert(value: &str) -> Option<ExpertOf> {
    let (layer, expert) = value.split_once('.')?;
    Some(ExpertOf { layer: layer.parse().ok()?, expert: expert.parse().ok()? })
}

fn picture(value: &str) -> Option<Picture> {
    match value {
        "map" => Some(Picture::Map),
        "load" => Some(Picture::Load),
        "flow" => Some(Picture::Flow),
        _ => None,
    }
}

fn picture_name(picture: Picture) -> &'static str {
    match picture {
        Picture::Map => "map",
        Picture::Load => "load",
        Picture::Flow => "flow",
    }
}
