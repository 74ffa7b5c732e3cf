//! The view as the page's address keeps it: `?model=NAME|URL&layer=N|all&backend=auto|webgpu|cpu#text=...`.
//!
//! After `?`: `model`, `backend`, `layer`, `view` (the picture), `token` (the one chosen) and `to` (the end of a
//! range), `colour` (what colours mean), `tab` (of the drawer), `expert` (`LAYER.EXPERT`), `step` (of the training),
//! `recorded` (the recorded text), `beside` (a second step), `compare` (a second model, or `self`), `story`, `lang`.
//! After `#`, which no browser sends to a server: `text`, `find`, `policy` (what is changed about the routing,
//! docs/gates.md) and `compare-policy` (what is changed about the second model's).
//! Older links have all of it after `?`: both places are read, and the fragment wins.
//! A link brings back the same view; what makes no sense is ignored, and said.

use crate::phrase::{Phrase, phrase};
use crate::view::Tab;
use crate::{COLOURS, ColourBy, ExpertOf, LayerChoice, Picture, State, colour_name};
use form_urlencoded::Serializer;
use moescope::routing::Policy;
use moescope_worker::protocol::BackendChoice;
use std::collections::HashMap;

/// Longest text that goes into a link, in characters: what programs that pass links on take.
pub const LONGEST_TEXT: usize = 20_000;

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
    /// The drawer's tab.
    pub tab: Option<Tab>,
    /// The story told.
    pub story: Option<String>,
    /// What was ignored, a sentence each.
    pub ignored: Vec<Phrase>,
}

impl Address {
    /// Reads the query of an address (from `?` on) and its fragment (from `#` on); the fragment wins.
    pub fn parse(query: &str, fragment: &str) -> Self {
        let mut address = Self::default();
        let mut parameters = HashMap::<String, String>::new();
        for part in [fragment.trim_start_matches('#'), query.trim_start_matches('?')] {
            // The first of two with the same name holds. One without a value says nothing.
            for (name, value) in form_urlencoded::parse(part.as_bytes()).filter(|(_, value)| !value.is_empty()) {
                parameters.entry(name.into_owned()).or_insert_with(|| value.into_owned());
            }
        }
        let get = |name: &str| parameters.get(name).cloned();
        address.story = get("story");
        address.model = get("model");
        address.text = get("text").map(|text| as_in_a_text_box(&text));
        address.compare = get("compare");
        address.language = get("lang");
        address.search = get("find");
        address.recorded = get("recorded");
        address.layer = address.read("layer", get("layer"), Phrase::key("address.layer"), layer);
        address.backend = address.read("backend", get("backend"), Phrase::key("address.backend"), backend);
        address.picture = address.read("view", get("view"), Phrase::key("address.view"), picture);
        address.token = address.read("token", get("token"), Phrase::key("address.token"), |value| value.parse().ok());
        address.range_end = address.read("to", get("to"), Phrase::key("address.token"), |value| value.parse().ok());
        address.colour_by = address.read("colour", get("colour"), COLOURS.map(colour_name).join(", ").into(), colour);
        let tabs = Tab::ALL.map(Tab::name).join(", ");
        address.tab = address.read("tab", get("tab"), tabs.into(), Tab::named);
        address.expert = address.read("expert", get("expert"), Phrase::key("address.expert"), expert);
        let policy = |value: &str| Policy::parse(value).ok();
        address.policy = address.read("policy", get("policy"), Phrase::key("address.policy"), policy);
        address.compare_policy =
            address.read("compare-policy", get("compare-policy"), Phrase::key("address.policy"), policy);
        address.step = address.read("step", get("step"), Phrase::key("address.step"), |value| value.parse().ok());
        address.beside = address.read("beside", get("beside"), Phrase::key("address.step"), |value| value.parse().ok());
        address
    }

    fn read<T>(
        &mut self,
        name: &str,
        value: Option<String>,
        expected: Phrase,
        read: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let value = value?;
        let read = read(&value);
        if read.is_none() {
            let shown: String = value.chars().take(40).collect();
            self.ignored.push(phrase!("address.ignored", name = name, value = shown, expected = expected));
        }
        read
    }

    /// Query and fragment of the address of what `state` shows (`?...#...`); empty where it is the opening view.
    pub fn write(state: &State, language: Option<&str>) -> String {
        let mut parameters = Pairs::new(String::new());
        let mut long = Pairs::new(String::new());
        let first = state.examples.first().map(|example| example.text.as_str());
        let first_model = state.offered.first().map(|offered| offered.name.as_str());
        if let Some(model) = state.model_asked.as_deref().filter(|model| Some(*model) != first_model) {
            parameters.append_pair("model", model);
        }
        if state.backend != BackendChoice::Auto {
            parameters.append_pair("backend", backend_name(state.backend));
        }
        let default_layer = state.model.as_ref().map(|model| LayerChoice::One(model.layers / 2));
        if default_layer.is_some_and(|layer| layer != state.layer) {
            parameters.append_pair("layer", &layer_name(state.layer));
        }
        if state.picture != Picture::Map {
            parameters.append_pair("view", picture_name(state.picture));
        }
        if let Some(token) = state.pinned {
            parameters.append_pair("token", &token.to_string());
        }
        if let Some(end) = state.range_end {
            parameters.append_pair("to", &end.to_string());
        }
        if state.colour_by != ColourBy::Expert {
            parameters.append_pair("colour", colour_name(state.colour_by));
        }
        if !state.search.is_empty() {
            long.append_pair("find", &state.search);
        }
        if let Some(ExpertOf { layer, expert }) = state.expert {
            parameters.append_pair("expert", &format!("{layer}.{expert}"));
        }
        if let (Some(past), Some(recording)) = (&state.past, &state.recording) {
            let step = |snapshot: usize| recording.snapshots()[snapshot].moment.step.to_string();
            parameters.append_pair("step", &step(past.moment.snapshot));
            parameters.append_pair("recorded", &recording.texts()[past.moment.text].id);
            if let Some(beside) = past.moment.beside {
                parameters.append_pair("beside", &step(beside));
            }
        }
        if state.changes.asked != Policy::default() {
            long.append_pair("policy", &state.changes.asked.to_json().to_string());
        }
        if let Some(compare) = &state.compare {
            parameters.append_pair("compare", compare);
            if state.compare_policy != Policy::default() {
                long.append_pair("compare-policy", &state.compare_policy.to_json().to_string());
            }
        }
        if let Some(language) = language {
            parameters.append_pair("lang", language);
        }
        if Some(state.text.as_str()) != first && !state.text.is_empty() && state.text.chars().count() <= LONGEST_TEXT {
            long.append_pair("text", &state.text);
        }
        if state.view.tab != Tab::default() && state.story.is_none() {
            parameters.append_pair("tab", state.view.tab.name());
        }
        if let Some(story) = &state.story {
            parameters.append_pair("story", story);
        }
        let part = |sign: &str, pairs: String| if pairs.is_empty() { pairs } else { format!("{sign}{pairs}") };
        part("?", parameters.finish()) + &part("#", long.finish())
    }
}

type Pairs<'a> = Serializer<'a, String>;

/// `text` as a text box holds it: every line ends with a line feed.
pub fn as_in_a_text_box(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
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
