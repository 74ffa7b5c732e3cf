//! The text kept in the browser, so that nothing is lost when the page is closed or loaded again.

use gloo::storage::{LocalStorage, Storage};
use gloo::utils::window;
use wasm_bindgen::JsCast;
use web_sys::PerformanceNavigationTiming;

const KEY: &str = "moescope.text";

/// The text kept last, if any.
pub fn kept() -> Option<String> {
    LocalStorage::get::<String>(KEY).ok().filter(|text| !text.is_empty())
}

/// Keeps `text`. False where the browser refuses: storage is full or forbidden.
pub fn keep(text: &str) -> bool {
    LocalStorage::set(KEY, text).is_ok()
}

/// Forgets what was kept.
pub fn forget() {
    LocalStorage::delete(KEY);
}

/// True where the visitor loaded the page again rather than opening it.
pub fn is_reload() -> bool {
    let entries = window().performance().map(|performance| performance.get_entries_by_type("navigation"));
    let first = entries.map(|entries| entries.get(0));
    first
        .and_then(|entry| entry.dyn_into::<PerformanceNavigationTiming>().ok())
        .is_some_and(|entry| entry.type_() == web_sys::NavigationType::Reload)
}
