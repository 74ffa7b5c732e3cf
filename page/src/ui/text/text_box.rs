//! Where the visitor writes. The browser owns the text while it is edited, so that its undo, its spelling and its
//! input methods work; the page only listens, and writes where an example or the model does.

use crate::i18n::messages::t;
use crate::state::Action;
use crate::state::shared::Shared;
use gloo::events::EventListener;
use gloo::utils::document;
use std::cell::Cell;
use wasm_bindgen::JsCast;
use web_sys::{HtmlDocument, HtmlTextAreaElement, InputEvent};
use yew::prelude::*;

/// Longer texts (in UTF-16 units) are set without regard to the direction of each line: browsers take ten times as
/// long to lay them out with it.
const LONG: u32 = 20_000;

#[derive(Properties, PartialEq)]
pub struct TextBoxProps {
    pub node: NodeRef,
    pub dispatch: Callback<Action>,
}

/// What stands in the box that index.html shows while the program is loaded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Typed {
    /// Its text.
    pub text: String,
    /// The visitor has written in it.
    pub edited: bool,
    /// Where the visitor is writing, in UTF-16 units.
    pub caret: Option<u32>,
}

impl Typed {
    /// As it is now.
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

/// Goes on where the visitor was writing.
pub fn focus(node: &NodeRef, caret: u32) {
    if let Some(area) = node.cast::<HtmlTextAreaElement>() {
        // Neither fails for an element that is on the page.
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
            // While an input method composes, the text is not what the visitor means yet; and what the page itself
            // types in, it knows.
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

/// Before a paste is laid out, the box knows whether it is long.
fn prepare_for_long_pastes(area: &HtmlTextAreaElement) -> EventListener {
    let target = area.clone();
    EventListener::new(area, "beforeinput", move |event| {
        let more = event.dyn_ref::<InputEvent>().and_then(InputEvent::data).map_or(0, |data| data.len());
        set_long(&target, target.text_length() as usize + more > LONG as usize);
    })
}

fn set_long(area: &HtmlTextAreaElement, long: bool) {
    // Fails only for a name that is no class.
    let _ = area.class_list().toggle_with_force("long", long);
}

/// Puts `text` into the box. What follows what stands there already is typed in rather than set, so that the
/// browser's undo takes it back; where the box has no focus (a phone's keyboard should not open), it is set.
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
    /// The page itself types into the box.
    static TYPING: Cell<bool> = const { Cell::new(false) };
}

/// Types `new` at the end of the box, or over all of it.
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
