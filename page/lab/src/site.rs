//! What the program fetches from its own site.

use gloo::utils::{document, window};
use serde::de::DeserializeOwned;
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::JsFuture;

/// The address, seen from the page, of a file of this version.
pub fn file(name: &str) -> String {
    let build = document().body().and_then(|body| body.get_attribute("data-build")).unwrap_or_default();
    format!("{build}{name}")
}

/// The JSON at `path`; none where there is no file, or something else in it.
pub async fn fetch_json<T: DeserializeOwned>(path: &str) -> Option<T> {
    crate::json::parse(&fetch_text(path).await?).ok()
}

/// The text at `path`; none where there is no file.
pub async fn fetch_text(path: &str) -> Option<String> {
    let response = JsFuture::from(window().fetch_with_str(path)).await.ok()?;
    let response: web_sys::Response = response.dyn_into().ok()?;
    if !response.ok() {
        return None;
    }
    JsFuture::from(response.text().ok()?).await.ok()?.as_string()
}
