//! The text box. The browser owns the text while it is edited, so that its undo, its spell checking and its input
//! methods work. The page listens, and writes only examples and generated text.

use crate::i18n::messages::t;
use crate::state::Action;
use crate::state::shared::Shared;
use gloo::events::EventListener;
use gloo::utils::document;
use std::cell::Cell;
use wasm_bindgen::JsCast;
use web_sys::{HtmlDocument, HtmlTextAreaElement, InputEvent};
use yew::prelude::*;

/// Longer texts (in UTF-16 units) are displayed without a text direction for each line, which takes browsers ten times
/// as long to lay out.
const LONG: u32 = 20_000;

#[derive(Properties, PartialEq)]
pub struct TextBoxProps {
    pub node: NodeRef,
    pub dispatch: Callback<Action>,
}

/// The state of the text box that index.html shows while the program is loaded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Typed {
    /// Its text.
    pub text: String,
    /// Whether the visitor has edited it.
    pub edited: bool,
    /// The position of the caret, in UTF-16 units.
    pub caret: Option<u32>,
}

impl Typed {
    /// Reads the current state.
    pub fn read() -> Self {
        let document = document();
        let area = document.get_element_by_id("boot-text").and_then(|area| area.dyn_into::<HtmlTextAreaElement>().ok());
        area.map_or_else(Self::default, |area| Self {
            text: area.value(),
            edited: area.default_value().is_ok_and(|text| text != area.value()),
            caret: (document.active_element().as_ref() == Some(&area))
                .then(|| area.selection_end().ok().flatten().unwrap_or_default()),
        })
    }
}

/// Restores focus and caret.
pub fn focus(node: &NodeRef, caret: u32) {
    if let Some(area) = node.cast::<HtmlTextAreaElement>() {
        // Both only fail for an element that is not in the document.
        let _ = area.focus();
        let _ = area.set_selection_range(caret, caret);
    }
}

/// The text box.
#[component]
pub fn TextBox(props: &TextBoxProps) -> Html {
    let input = {
        let (node, dispatch) = (props.node.clone(), props.dispatch.clone());
        Callback::from(move |event: InputEvent| {
            // While an input method composes, the text is not final. Text that the page itself types is already known.
            if !event.is_composing() && !TYPING.get() {
                edited(&node, &dispatch);
            }
        })
    };
    {
        let (node, dispatch) = (props.node.clone(), props.dispatch.clone());
        use_effect_with((), move |()| {
            let listeners = node.cast::<HtmlTextAreaElement>().map(|area| {
                let composed = EventListener::new(&area, "compositionend", move |_| edited(&node, &dispatch));
                (composed, prepare_for_long_pastes(&area))
            });
            move || drop(listeners)
        });
    }
    html! {
        <textarea ref={props.node.clone()} id="text" data-testid="text-input" rows="2" spellcheck="false"
            autocomplete="off" aria-label={t!("text.label")} placeholder={t!("text.placeholder")}
            aria-describedby="text-state" oninput={input} />
    }
}

fn edited(node: &NodeRef, dispatch: &Callback<Action>) {
    if let Some(area) = node.cast::<HtmlTextAreaElement>() {
        set_long(&area, area.text_length() > LONG);
        dispatch.emit(Action::Edit(area.value()));
    }
}

/// Marks the box as long before a long paste is laid out.
fn prepare_for_long_pastes(area: &HtmlTextAreaElement) -> EventListener {
    let target = area.clone();
    EventListener::new(area, "beforeinput", move |event| {
        let more = event.dyn_ref::<InputEvent>().and_then(InputEvent::data).map_or(0, |data| data.len());
        set_long(&target, target.text_length() as usize + more > LONG as usize);
    })
}

fn set_long(area: &HtmlTextAreaElement, long: bool) {
    // Fails only for an invalid class name.
    let _ = area.class_list().toggle_with_force("long", long);
}

/// Shows `text` in the box. An addition to the old text is typed rather than set, so that the browser's undo can
/// revert it. If the box has no focus, the text is set (typing would open a phone's keyboard).
pub fn show(node: &NodeRef, text: &Shared<String>) {
    let Some(area) = node.cast::<HtmlTextAreaElement>() else { return };
    let old = area.value();
    if old == **text {
        return;
    }
    let focused = document().active_element().is_some_and(|active| active.is_same_node(Some(&area)));
    set_long(&area, text.len() > LONG as usize);
    let appended = text.strip_prefix(old.as_str()).unwrap_or(text);
    if focused && insert(&area, &old, appended, text.starts_with(old.as_str())) {
        area.set_scroll_top(area.scroll_height());
        return;
    }
    area.set_value(text);
    if !old.is_empty() && text.starts_with(old.as_str()) {
        area.set_scroll_top(area.scroll_height());
    }
}

thread_local! {
    /// Whether the page itself is typing into the box.
    static TYPING: Cell<bool> = const { Cell::new(false) };
}

/// Types `new` at the end of the box, or replaces all of its text.
fn insert(area: &HtmlTextAreaElement, old: &str, new: &str, append: bool) -> bool {
    let end = old.encode_utf16().count() as u32;
    let start = if append { end } else { 0 };
    if area.set_selection_range(start, end).is_err() {
        return false;
    }
    let document: HtmlDocument = document().unchecked_into();
    TYPING.set(true);
    let done = document.exec_command_with_show_ui_and_value("insertText", false, new).unwrap_or(false);
    TYPING.set(false);
    done
}
