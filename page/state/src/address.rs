//! The view as the page's address keeps it: `#/?model=NAME|URL&layer=N|all&text=...`.
//!
//! All of it is after `#`, which no browser sends to a server and no host refuses for its length ([`crate::route`]).
//! Keys: `model`, `backend`, `layer`, `view` (the picture), `token` (the one chosen) and `to` (the end of a range),
//! `colour` (what colours mean), `tab` (of the drawer), `expert` (`LAYER.EXPERT`), `step` (of the training), `recorded`
//! (the recorded text), `beside` (a second step), `compare` (a second model, or `self`), `compare-policy` (what is
//! changed about its routing), `story`, `lang`, `present`, `embed`, `policy` (what is changed about the routing,
//! docs/gates.md), `find`, `text`.
//! Older links have some or all of it after `?`: both places are read, and the fragment wins.
//! A link brings back the same view; what makes no sense is ignored, and said.

use crate::phrase::{Phrase, phrase};
use crate::view::{Part, Tab};
use crate::{COLOURS, ColourBy, ExpertOf, LayerChoice, Picture, State, colour_name};
use form_urlencoded::Serializer;
use moescope::routing::Policy;
use moescope_worker::protocol::BackendChoice;
use std::collections::HashMap;
use std::fmt;

/// Longest text in a link, in characters: a length that programs that pass on links accept.
pub const LONGEST_TEXT: usize = 20_000;

/// The values in an address.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Address {
    /// Name in `models/`, or a URL.
    pub model: Option<String>,
    /// The text.
    pub text: Option<String>,
    /// The layer shown.
    pub layer: Option<LayerChoice>,
    /// The backend.
    pub backend: Option<BackendChoice>,
    /// The picture shown.
    pub picture: Option<Picture>,
    /// What the colours of the strip mean.
    pub colour_by: Option<ColourBy>,
    /// The chosen token.
    pub token: Option<usize>,
    /// The end of the range that begins at the chosen token.
    pub range_end: Option<usize>,
    /// The text to find.
    pub search: Option<String>,
    /// The chosen expert.
    pub expert: Option<ExpertOf>,
    /// The training step of the snapshot that is shown.
    pub step: Option<u64>,
    /// The id of the recorded text that is shown at that step.
    pub recorded: Option<String>,
    /// The training step that it is compared with.
    pub beside: Option<u64>,
    /// Name or URL of the model to compare with.
    pub compare: Option<String>,
    /// The policy of the second side.
    pub compare_policy: Option<Policy>,
    /// The policy.
    pub policy: Option<Policy>,
    /// The language.
    pub language: Option<String>,
    /// The drawer's tab.
    pub tab: Option<Tab>,
    /// The story.
    pub story: Option<String>,
    /// The page is shown on a projector.
    pub present: bool,
    /// The parts that are shown, where another page embeds this one; none for all.
    pub embed: Vec<Part>,
    /// What was ignored, a sentence each.
    pub ignored: Vec<Phrase>,
}

impl Address {
    /// Whether it asks for nothing but a text and a language.
    pub fn is_plain(&self) -> bool {
        *self == Self { text: self.text.clone(), language: self.language.clone(), ..Self::default() }
    }

    /// Reads the query of an address (from `?` on) and its fragment (from `#` on); the fragment wins.
    pub fn parse(query: &str, fragment: &str) -> Self {
        let mut address = Self::default();
        let mut parameters = HashMap::<String, String>::new();
        // The first of two with the same name holds. One without a value says nothing, but for a switch.
        for part in [fragment.trim_start_matches(['#', '/', '?']), query.trim_start_matches('?')] {
            for (name, value) in form_urlencoded::parse(part.as_bytes()) {
                address.present |= name == "present" && !matches!(&*value, "0" | "false");
                if !value.is_empty() {
                    parameters.entry(name.into_owned()).or_insert_with(|| value.into_owned());
                }
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
        let parts = Part::ALL.map(Part::name).join(", ");
        address.embed = address.read("embed", get("embed"), parts.into(), Part::list).unwrap_or_default();
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

    /// The address of what `state` shows. What is as in the opening view is left out.
    pub fn of(state: &State, language: Option<&str>) -> Self {
        let backend = Some(state.backend).filter(|backend| *backend != BackendChoice::Auto);
        let (language, present, embed) = (language.map(str::to_owned), state.view.present, state.view.embed.clone());
        if state.story.is_some() {
            // A story sets all else itself.
            return Self { story: state.story.clone(), backend, language, present, embed, ..Self::default() };
        }
        let first = state.examples.first().map(|example| example.text.as_str());
        let first_model = state.offered.first().map(|offered| offered.name.as_str());
        let default_layer = state.model.as_ref().map(|model| LayerChoice::One(model.layers / 2));
        let past = state.past.as_ref().zip(state.recording.as_ref());
        let step = |snapshot: usize| past.map(|(_, recording)| recording.snapshots()[snapshot].moment.step);
        let told = |text: &&str| Some(*text) != first && !text.is_empty() && text.chars().count() <= LONGEST_TEXT;
        let changed = |policy: &Policy| (*policy != Policy::default()).then(|| policy.clone());
        Self {
            model: state.model_asked.clone().filter(|model| Some(model.as_str()) != first_model),
            text: Some(state.text.as_str()).filter(told).map(str::to_owned),
            layer: default_layer.filter(|layer| *layer != state.layer).map(|_| state.layer),
            backend,
            picture: Some(state.picture).filter(|picture| *picture != Picture::Map),
            colour_by: Some(state.colour_by).filter(|colour| *colour != ColourBy::Expert),
            token: state.pinned,
            range_end: state.range_end,
            search: Some(state.search.clone()).filter(|search| !search.is_empty()),
            expert: state.expert,
            step: past.and_then(|(past, _)| step(past.moment.snapshot)),
            recorded: past.map(|(past, recording)| recording.texts()[past.moment.text].id.clone()),
            beside: past.and_then(|(past, _)| past.moment.beside).and_then(step),
            compare: state.compare.clone(),
            compare_policy: state.compare.as_ref().and_then(|_| changed(&state.compare_policy)),
            policy: changed(&state.changes.asked),
            language,
            tab: Some(state.view.tab).filter(|tab| *tab != Tab::default()),
            story: None,
            present,
            embed,
            ignored: Vec::new(),
        }
    }

    /// Whether it leads to the view of `other`, but for the text.
    pub fn differs_at_most_in_text(&self, other: &Self) -> bool {
        let without_text = |address: &Self| Self { text: None, ..address.clone() };
        without_text(self) == without_text(other)
    }
}

/// From `#` on; nothing for the opening view.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |number: Option<u64>| number.map(|number| number.to_string());
        let position = |position: Option<usize>| position.map(|position| position.to_string());
        let policy = |policy: &Option<Policy>| policy.as_ref().map(|policy| policy.to_json().to_string());
        let parts = || self.embed.iter().map(|part| part.name()).collect::<Vec<_>>().join(",");
        let all = [
            ("model", self.model.clone()),
            ("backend", self.backend.map(|backend| backend_name(backend).to_owned())),
            ("layer", self.layer.map(layer_name)),
            ("view", self.picture.map(|picture| picture_name(picture).to_owned())),
            ("token", position(self.token)),
            ("to", position(self.range_end)),
            ("colour", self.colour_by.map(|colour| colour_name(colour).to_owned())),
            ("tab", self.tab.map(|tab| tab.name().to_owned())),
            ("expert", self.expert.map(|ExpertOf { layer, expert }| format!("{layer}.{expert}"))),
            ("step", number(self.step)),
            ("recorded", self.recorded.clone()),
            ("beside", number(self.beside)),
            ("compare", self.compare.clone()),
            ("compare-policy", policy(&self.compare_policy)),
            ("story", self.story.clone()),
            ("lang", self.language.clone()),
            ("present", self.present.then(|| "1".to_owned())),
            ("embed", (!self.embed.is_empty()).then(parts)),
            ("policy", policy(&self.policy)),
            ("find", self.search.clone()),
            ("text", self.text.clone()),
        ];
        let mut pairs = Serializer::new(String::new());
        for (name, value) in all.iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
            pairs.append_pair(name, value);
        }
        let pairs = pairs.finish();
        if pairs.is_empty() { Ok(()) } else { write!(f, "#/?{pairs}") }
    }
}

/// `text` in the form of a text box: every line ends with a line feed.
pub fn as_in_a_text_box(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

fn layer(value: &str) -> Option<LayerChoice> {
    match value {
        "all" => Some(LayerChoice::All),
        number => number.parse().ok().map(LayerChoice::One),
    }
}

/// The name of a layer in links: a number or `all`.
pub fn layer_name(layer: LayerChoice) -> String {
    match layer {
        LayerChoice::One(number) => number.to_string(),
        LayerChoice::All => "all".into(),
    }
}

/// Parses `auto`, `webgpu`, `cpu` or `cpu-int8`.
pub fn backend(value: &str) -> Option<BackendChoice> {
    match value {
        "auto" => Some(BackendChoice::Auto),
        "webgpu" => Some(BackendChoice::WebGpu),
        "cpu" => Some(BackendChoice::Cpu),
        "cpu-int8" => Some(BackendChoice::CpuInt8),
        _ => None,
    }
}

/// The name that [`backend`] parses.
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

/// Parses `2.5` as expert 5 of layer 2.
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
