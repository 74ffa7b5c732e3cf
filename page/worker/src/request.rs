//! Requests for files: of a server or of a blob URL, whole or from some byte on.

use super::address::is_within;
use js_sys::{Map, Promise, Reflect};
use std::ops::Range;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{AbortController, CacheStorage, Request, RequestInit, Response, WorkerGlobalScope};

/// The message for an opened file that can no longer be read.
pub const CHANGED: &str = "it changed on disk, or was moved, after it was chosen; choose it again";

/// The message for a connection that broke too often.
pub const BROKEN: &str = "the connection broke; try again";

/// An address, and what its server has to be told.
#[derive(Clone)]
pub struct Access {
    /// The absolute URL, or a blob URL.
    pub url: String,
    /// An access token of the visitor.
    token: Option<String>,
}

/// A token, and the address of the model that it is for: no other site gets it.
#[derive(Clone, Default)]
pub struct Login {
    /// The token; it is kept in memory only.
    pub token: Option<String>,
    /// The model's address.
    pub place: String,
}

impl Access {
    /// The access to `url`; `login` has a token where the visitor gave one for this site.
    pub fn new(url: &str, login: &Login) -> Self {
        let token = login.token.clone().filter(|_| is_within(url, &login.place));
        Self { url: url.to_owned(), token }
    }

    /// Whether the visitor gave a token for it.
    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Whether it is a file that the visitor opened.
    pub fn is_opened(&self) -> bool {
        self.url.starts_with("blob:")
    }

    /// The answer that was `begun`, where that is a promise of one; otherwise requests the file. Dropping the future
    /// aborts the request.
    pub async fn answer(&self, begun: JsValue) -> std::result::Result<Response, JsValue> {
        if let Some(kept) = kept(&self.url).await {
            return Ok(kept);
        }
        if let Ok(begun) = begun.dyn_into::<Promise>() {
            return JsFuture::from(begun).await.map(JsCast::unchecked_into);
        }
        self.send(&[]).await
    }

    /// Requests the bytes in `range`, of the file with this ETag, where it is known.
    pub async fn range(&self, range: Range<u64>, version: Option<&str>) -> std::result::Result<Response, JsValue> {
        let bytes = format!("bytes={}-{}", range.start, range.end.saturating_sub(1));
        self.part(&bytes, version).await
    }

    /// Requests the bytes from `start` on; as [`Self::range`].
    pub async fn rest(&self, start: u64, version: Option<&str>) -> std::result::Result<Response, JsValue> {
        self.part(&format!("bytes={start}-"), version).await
    }

    async fn part(&self, bytes: &str, version: Option<&str>) -> std::result::Result<Response, JsValue> {
        let version = version.filter(|version| !version.starts_with("W/"));
        let headers: Vec<_> = [("range", bytes)].into_iter().chain(version.map(|v| ("if-range", v))).collect();
        self.send(&headers).await
    }

    async fn send(&self, headers: &[(&str, &str)]) -> std::result::Result<Response, JsValue> {
        let controller = AbortController::new()?;
        let init = RequestInit::new();
        init.set_signal(Some(&controller.signal()));
        let request = Request::new_with_str_and_init(&self.url, &init)?;
        for (name, value) in headers {
            request.headers().set(name, value)?;
        }
        if let Some(token) = &self.token {
            request.headers().set("authorization", &format!("Bearer {token}"))?;
        }
        let abort = AbortOnDrop(Some(controller));
        let response = JsFuture::from(worker().fetch_with_request(&request)).await;
        abort.keep();
        response.map(JsCast::unchecked_into)
    }
}

/// What addresses of kept models have in them: Lab keeps fine-tuned models in the browser (page/lab/src/keep.rs).
const KEPT: &str = "/kept/";

/// The file of a model that was kept in the browser; none where `url` is no such file.
async fn kept(url: &str) -> Option<Response> {
    if !url.contains(KEPT) {
        return None;
    }
    // At unsafe addresses there is no such storage.
    let stores = Reflect::get(&worker(), &JsValue::from_str("caches")).ok()?.dyn_into::<CacheStorage>().ok()?;
    JsFuture::from(stores.match_with_str(url)).await.ok()?.dyn_into().ok()
}

/// A header of an answer.
pub fn header(response: &Response, name: &str) -> Option<String> {
    response.headers().get(name).ok().flatten()
}

/// The first byte and the file's size of an answer with a part of a file; `None` where the server does not say.
pub fn content_range(response: &Response) -> Option<(u64, u64)> {
    let range = header(response, "content-range")?;
    let (place, size) = range.strip_prefix("bytes ")?.split_once('/')?;
    Some((place.split_once('-')?.0.parse().ok()?, size.parse().ok()?))
}

/// The worker's global scope.
pub fn worker() -> WorkerGlobalScope {
    js_sys::global().unchecked_into()
}

/// The answers that worker.js requested while the program was loading, by address.
pub fn begun() -> Map {
    let begun = Reflect::get(&js_sys::global(), &JsValue::from_str("begun"));
    begun.ok().and_then(|begun| begun.dyn_into().ok()).unwrap_or_default()
}

/// Aborts a request on drop, unless it was answered.
struct AbortOnDrop(Option<AbortController>);

impl AbortOnDrop {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        if let Some(controller) = &self.0 {
            controller.abort();
        }
    }
}
