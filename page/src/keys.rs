//! Keys that work everywhere on the page, except in text fields.

use crate::state::{Action, LayerChoice, Picture};
use wasm_bindgen::JsCast;
use web_sys::{HtmlElement, KeyboardEvent};

/// The function of a key.
pub enum Key {
    /// A change of the state.
    Act(Action),
    /// Let the model continue the text, or stop it.
    Continue,
    /// Focus the text box.
    Write,
    /// Show the help.
    Help,
    /// Go on in the story, or back.
    Step(bool),
}

impl Key {
    /// Whether to prevent the browser's own action for the key.
    pub fn takes_over(&self) -> bool {
        matches!(self, Self::Continue | Self::Write | Self::Step(_) | Self::Act(Action::Undo | Action::Redo))
    }
}

/// What the key asks for in a model of so many layers, on a projector or not; nothing where it belongs to a text that
/// is being written.
pub fn read(event: &KeyboardEvent, layers: usize, present: bool) -> Option<Key> {
    let control = event.ctrl_key() || event.meta_key();
    if control && event.key() == "Enter" {
        return Some(Key::Continue);
    }
    if event.is_composing() || is_writing(event) {
        return None;
    }
    if control {
        return match (event.key().as_str(), event.shift_key()) {
            ("y", _) | ("z" | "Z", true) => Some(Key::Act(Action::Redo)),
            ("z" | "Z", false) => Some(Key::Act(Action::Undo)),
            _ => None,
        };
    }
    if event.alt_key() {
        return None;
    }
    let action = match event.key().as_str() {
        // What a clicker sends; in the strip and the tabs the arrows walk along those.
        "ArrowRight" | "PageDown" if present && !event.default_prevented() => return Some(Key::Step(true)),
        "ArrowLeft" | "PageUp" if present && !event.default_prevented() => return Some(Key::Step(false)),
        "?" => return Some(Key::Help),
        "/" => return Some(Key::Write),
        "a" => Action::Layer(LayerChoice::All),
        "m" => Action::Picture(Picture::Map),
        "l" => Action::Picture(Picture::Load),
        "f" => Action::Picture(Picture::Flow),
        "Escape" => Action::Pin(None),
        key => {
            let layer = key.parse().ok().filter(|&layer: &usize| layer < layers)?;
            Action::Layer(LayerChoice::One(layer))
        }
    };
    Some(Key::Act(action))
}

/// Whether the focus is in a text field or another control that takes letters.
fn is_writing(event: &KeyboardEvent) -> bool {
    let element = event.target().and_then(|target| target.dyn_into::<HtmlElement>().ok());
    element.is_some_and(|element| {
        let kind = element.get_attribute("type").unwrap_or_default();
        matches!(element.tag_name().as_str(), "TEXTAREA" | "SELECT")
            || (element.tag_name() == "INPUT" && !matches!(kind.as_str(), "radio" | "checkbox" | "range"))
    })
}
