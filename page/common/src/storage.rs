//! The browser's storage between visits, if the browser allows it: for the text and the theme.
//!
//! A browser may refuse storage (private windows, sandboxed frames, a visitor's choice): `localStorage` is null, or
//! its methods throw exceptions. Then nothing is kept, and the page works without it.

use gloo::utils::window;
use serde::Serialize;
use serde::de::DeserializeOwned;
use wasm_bindgen::JsCast;
use web_sys::{PerformanceNavigationTiming, Storage};

const TEXT: &str = "moescope.text";

/// The browser's storage; `None` where the browser refuses.
fn storage() -> Option<Storage> {
    window().local_storage().ok().flatten()
}

/// Whether the browser has readable storage.
pub fn is_available() -> bool {
    storage().is_some_and(|storage| storage.get_item(TEXT).is_ok())
}

/// The value stored under `key`; `None` where there is none, or one of another type.
pub fn get<T: DeserializeOwned>(key: &str) -> Option<T> {
    serde_json::from_str(&storage()?.get_item(key).ok()??).ok()
}

/// Stores `value` under `key`. Returns false where the browser refuses: storage is full or forbidden.
pub fn set<T: Serialize + ?Sized>(key: &str, value: &T) -> bool {
    let json = serde_json::to_string(value);
    storage().zip(json.ok()).is_some_and(|(storage, json)| storage.set_item(key, &json).is_ok())
}

/// Deletes the value stored under `key`.
pub fn delete(key: &str) {
    // Where storage is refused, nothing was kept.
    let _ = storage().map(|storage| storage.remove_item(key));
}

/// The text kept last, if any.
pub fn kept() -> Option<String> {
    get::<String>(TEXT).filter(|text| !text.is_empty())
}

/// Keeps `text`; false as in [`set`].
pub fn keep(text: &str) -> bool {
    set(TEXT, text)
}

/// Forgets the text.
pub fn forget() {
    delete(TEXT);
}

/// True where the visitor loaded the page again rather than opening it.
pub fn is_reload() -> bool {
    let entries = window().performance().map(|performance| performance.get_entries_by_type("navigation"));
    let first = entries.map(|entries| entries.get(0));
    first
        .and_then(|entry| entry.dyn_into::<PerformanceNavigationTiming>().ok())
        .is_some_and(|entry| entry.type_() == web_sys::NavigationType::Reload)
}
