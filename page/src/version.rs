//! The page's version, and whether the site has a newer one.

use gloo::events::EventListener;
use gloo::utils::{document, window};
use std::cell::Cell;
use std::rc::Rc;
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{RequestCache, RequestInit, Response};

/// Minimum time between two requests to the site.
const REST_MS: f64 = 60_000.0;

/// The directory of this version's files, from index.html: `build/HASH/`.
fn build() -> String {
    document().body().and_then(|body| body.get_attribute("data-build")).unwrap_or_default()
}

/// The address of a file of this version, relative to the page.
pub fn file(name: &str) -> String {
    format!("{}{name}", build())
}

/// Calls `found` if the site has another version when the visitor returns to the page.
pub fn watch(found: impl Fn() + 'static) -> EventListener {
    let (found, asked_at) = (Rc::new(found), Cell::new(f64::NEG_INFINITY));
    EventListener::new(&document(), "visibilitychange", move |_| {
        let now = js_sys::Date::now();
        if document().hidden() || now - asked_at.get() < REST_MS {
            return;
        }
        asked_at.set(now);
        let found = found.clone();
        spawn_local(async move {
            if site_has_another().await == Some(true) {
                found();
            }
        });
    })
}

/// Whether the site's index.html names another version; `None` without an answer or a version in it.
async fn site_has_another() -> Option<bool> {
    let path = window().location().pathname().ok()?;
    let request = RequestInit::new();
    request.set_cache(RequestCache::NoCache);
    let response = JsFuture::from(window().fetch_with_str_and_init(&path, &request)).await.ok()?;
    let response: Response = response.dyn_into().ok()?;
    let page = JsFuture::from(response.text().ok()?).await.ok()?.as_string()?;
    let (_, rest) = page.split_once("data-build=\"")?;
    Some(rest.split('"').next()? != build())
}
