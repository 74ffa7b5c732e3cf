//! What the browser allows: memory and storage.

use js_sys::{Promise, Reflect};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;

/// Bytes of a page of WebAssembly memory.
const PAGE: u64 = 1 << 16;

/// Bytes that a 32-bit program can address.
const MOST: u64 = 1 << 32;

/// Bytes that the 32-bit program can still take. The browser may give less.
pub fn memory() -> u64 {
    MOST.saturating_sub(std::arch::wasm32::memory_size(0) as u64 * PAGE)
}

/// Bytes that the browser keeps for this site, and how many of them are used; `None` where it does not say.
pub async fn storage() -> Option<(u64, u64)> {
    let get = |object: &JsValue, key: &str| Reflect::get(object, &JsValue::from_str(key)).ok();
    let storage = get(&get(&js_sys::global(), "navigator")?, "storage")?;
    let estimate = get(&storage, "estimate")?.dyn_into::<js_sys::Function>().ok()?;
    let estimate: Promise = estimate.call0(&storage).ok()?.dyn_into().ok()?;
    let estimate = JsFuture::from(estimate).await.ok()?;
    let bytes = |key| get(&estimate, key).and_then(|bytes| bytes.as_f64()).map(|bytes| bytes as u64);
    Some((bytes("quota")?, bytes("usage")?))
}
