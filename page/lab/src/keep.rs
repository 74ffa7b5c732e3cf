//! Models in the browser's storage: the Cache API, where each file has the address `kept/NAME/FILE` of the site.
//! Explore's worker reads them from there (page/worker/src/fetch.rs).

use js_sys::{Array, Promise, Reflect, Uint8Array};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{Blob, Cache, CacheStorage, Request, Response, Url};

/// The name of the store.
const STORE: &str = "moescope.kept";

/// The directory of kept models below the site.
const DIRECTORY: &str = "kept/";

/// The address of a kept model's directory, from the site on.
pub fn directory_of(name: &str) -> String {
    format!("{DIRECTORY}{name}/")
}

/// A name that an address can hold: letters, digits, `-`, `_` and `.`.
pub fn legal(name: &str) -> String {
    let legal: String =
        name.trim().chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' }).take(60).collect();
    let legal = legal.trim_matches(|c| c == '-' || c == '.').to_owned();
    if legal.is_empty() { "model".into() } else { legal }
}

/// The stores of this page or worker; none where the browser refuses, or at an unsafe address.
fn stores() -> Option<CacheStorage> {
    Reflect::get(&js_sys::global(), &"caches".into()).ok()?.dyn_into().ok()
}

/// The file of an archive, and its address.
pub fn file(bytes: &[u8]) -> Result<String, String> {
    let parts = Array::of1(&Uint8Array::from(bytes));
    let blob = Blob::new_with_u8_array_sequence(&parts).map_err(|_| "the browser cannot make a file".to_owned())?;
    Url::create_object_url_with_blob(&blob).map_err(|_| "the browser gives the file no address".to_owned())
}

/// Keeps a model's files below `site`.
///
/// # Errors
/// The storage is full, or refused.
pub async fn keep(site: &str, name: &str, files: Vec<(String, Vec<u8>)>) -> Result<u64, String> {
    let bytes: usize = files.iter().map(|(_, file)| file.len()).sum();
    let refused = || {
        "the browser keeps no models at this address (it needs https, and no private window); save the model as a file"
            .to_owned()
    };
    let stores = stores().ok_or_else(refused)?;
    let store: Cache = done(stores.open(STORE)).await.map_err(|_| refused())?.unchecked_into();
    for (file, bytes_of) in files {
        let address = format!("{site}{}{file}", directory_of(name));
        // Of a view into the program's memory the browser makes a copy.
        let response =
            Response::new_with_opt_js_u8_array(Some(&Uint8Array::from(&bytes_of[..]))).map_err(|_| refused())?;
        let length = [("content-length", bytes_of.len().to_string())];
        for (key, value) in length {
            // A header of letters cannot fail.
            let _ = response.headers().set(key, &value);
        }
        if let Err(error) = done(store.put_with_str(&address, &response)).await {
            forget(site, name).await;
            let why = Reflect::get(&error, &"name".into()).ok().and_then(|name| name.as_string()).unwrap_or_default();
            return Err(if why == "QuotaExceededError" {
                let size = bytes.div_ceil(1_000_000);
                format!("the browser's storage is full: the model needs {size} MB; forget a kept model, or save a file")
            } else {
                format!("the browser does not keep the model ({why}); save it as a file")
            });
        }
    }
    Ok(bytes as u64)
}

/// Forgets a kept model.
pub async fn forget(site: &str, name: &str) {
    let Some(store) = open().await else { return };
    for address in addresses(&store).await {
        if address.starts_with(&format!("{site}{}", directory_of(name))) {
            // What is not there is forgotten.
            let _ = done(store.delete_with_str(&address)).await;
        }
    }
}

/// The names of the kept models of `site`, in alphabetical order.
pub async fn names(site: &str) -> Vec<String> {
    let Some(store) = open().await else { return Vec::new() };
    let begin = format!("{site}{DIRECTORY}");
    let name = |address: &String| Some(address.strip_prefix(&begin)?.strip_suffix("/config.json")?.to_owned());
    let mut names: Vec<String> = addresses(&store).await.iter().filter_map(name).collect();
    names.sort();
    names
}

async fn open() -> Option<Cache> {
    done(stores()?.open(STORE)).await.ok()?.dyn_into().ok()
}

async fn addresses(store: &Cache) -> Vec<String> {
    let Ok(keys) = done(store.keys()).await else { return Vec::new() };
    let keys = Array::from(&keys);
    keys.iter().filter_map(|key| Some(key.dyn_into::<Request>().ok()?.url())).collect()
}

async fn done(promise: Promise) -> Result<JsValue, JsValue> {
    JsFuture::from(promise).await
}
