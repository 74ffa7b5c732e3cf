//! Dark or light: as the system says, until the visitor chooses.

use crate::canvas::forget_look;
use crate::storage;
use gloo::events::EventListener;
use gloo::utils::{document, window};

const KEY: &str = "moescope.theme";

fn system() -> Option<web_sys::MediaQueryList> {
    window().match_media("(prefers-color-scheme: dark)").ok().flatten()
}

/// True for the dark theme; a choice made earlier is applied to the document.
pub fn begin() -> bool {
    match storage::get(KEY) {
        Some(dark) => {
            apply(dark);
            dark
        }
        None => system().is_some_and(|query| query.matches()),
    }
}

/// Makes the page dark or light and remembers it; the system's own theme is followed again.
pub fn choose(dark: bool) {
    apply(dark);
    forget_look();
    if system().is_some_and(|query| query.matches()) == dark {
        storage::delete(KEY);
    } else {
        // Where storage is forbidden, the choice lasts as long as the page.
        let _ = storage::set(KEY, &dark);
    }
}

fn apply(dark: bool) {
    if let Some(root) = document().document_element() {
        // Setting an attribute with a legal name cannot fail.
        let _ = root.set_attribute("data-theme", if dark { "dark" } else { "light" });
    }
}

/// Calls `changed` when the system's theme changes and the visitor has made no choice.
pub fn follow(changed: impl Fn(bool) + 'static) -> Option<EventListener> {
    let query = system()?;
    let target = query.clone();
    Some(EventListener::new(&target, "change", move |_| {
        if storage::get::<bool>(KEY).is_none() {
            if let Some(root) = document().document_element() {
                let _ = root.remove_attribute("data-theme");
            }
            forget_look();
            changed(query.matches());
        }
    }))
}
