//! Models that are kept in the browser's private file system (OPFS): lists, opens and deletes them. The worker writes
//! them (page/worker/src/keep.rs).

use crate::worker::protocol::{KeptModel, Source};
use gloo::utils::window;
use js_sys::{AsyncIterator, Reflect};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{File, FileSystemDirectoryHandle, FileSystemFileHandle, FileSystemRemoveOptions, Url};

/// The kept models, and the browser's storage for this site: bytes used and allowed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kept {
    pub models: Vec<KeptModel>,
    pub storage: Option<(f64, f64)>,
}

/// What is kept; nothing where the browser keeps no files.
pub async fn list() -> Kept {
    let Some(folder) = folder().await else { return Kept::default() };
    let mut models = Vec::new();
    let entries: AsyncIterator = folder.keys();
    while let Some(next) = next(&entries).await {
        let field = |key: &str| Reflect::get(&next, &JsValue::from_str(key)).unwrap_or(JsValue::UNDEFINED);
        if field("done").is_truthy() {
            break;
        }
        let Some(key) = field("value").as_string() else { continue };
        models.extend(manifest(&folder, &key).await);
    }
    models.sort_by(|a: &KeptModel, b| a.name.cmp(&b.name));
    Kept { models, storage: storage().await }
}

async fn next(entries: &AsyncIterator) -> Option<JsValue> {
    JsFuture::from(entries.next().ok()?).await.ok()
}

/// The source of a kept model; `None` where it is not kept whole.
pub async fn source(address: &str) -> Option<Source> {
    let folder = folder().await?;
    let key = KeptModel::key(address);
    let model = manifest(&folder, &key).await.filter(|model| model.address == address)?;
    let of_it: FileSystemDirectoryHandle =
        JsFuture::from(folder.get_directory_handle(&key)).await.ok()?.unchecked_into();
    let mut files = Vec::new();
    for file in &model.files {
        let opened = opened(&of_it, &file.name).await.filter(|opened| opened.size() as u64 == file.bytes)?;
        files.push((file.name.clone(), Url::create_object_url_with_blob(&opened).ok()?));
    }
    Some(Source::Files { name: model.name, files, weights: model.weights })
}

/// Deletes a kept model.
pub async fn delete(address: &str) {
    let Some(folder) = folder().await else { return };
    let options = FileSystemRemoveOptions::new();
    options.set_recursive(true);
    // It may have been deleted in another tab.
    let _ = JsFuture::from(folder.remove_entry_with_options(&KeptModel::key(address), &options)).await;
}

async fn folder() -> Option<FileSystemDirectoryHandle> {
    let storage = window().navigator().storage();
    // Browsers of before 2023 have no such function, and pages without a secure context no storage.
    let get = Reflect::get(&storage, &JsValue::from_str("getDirectory")).ok()?;
    let root = get.dyn_into::<js_sys::Function>().ok()?.call0(&storage).ok()?;
    let root = JsFuture::from(js_sys::Promise::from(root)).await.ok()?;
    let root: FileSystemDirectoryHandle = root.unchecked_into();
    Some(JsFuture::from(root.get_directory_handle(KeptModel::FOLDER)).await.ok()?.unchecked_into())
}

async fn opened(folder: &FileSystemDirectoryHandle, name: &str) -> Option<File> {
    let handle: FileSystemFileHandle = JsFuture::from(folder.get_file_handle(name)).await.ok()?.unchecked_into();
    JsFuture::from(handle.get_file()).await.ok()?.dyn_into().ok()
}

async fn manifest(folder: &FileSystemDirectoryHandle, key: &str) -> Option<KeptModel> {
    let of_it = JsFuture::from(folder.get_directory_handle(key)).await.ok()?.unchecked_into();
    let file = opened(&of_it, KeptModel::MANIFEST).await?;
    serde_json::from_str(&JsFuture::from(file.text()).await.ok()?.as_string()?).ok()
}

async fn storage() -> Option<(f64, f64)> {
    let estimate = JsFuture::from(window().navigator().storage().estimate().ok()?).await.ok()?;
    let bytes = |key: &str| Reflect::get(&estimate, &JsValue::from_str(key)).ok()?.as_f64();
    Some((bytes("usage")?, bytes("quota")?))
}
