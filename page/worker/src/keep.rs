//! Keeps a model's files in the browser's private file system (OPFS), so that it opens without a network. A download
//! that broke off goes on where it stopped. The page opens and deletes what is kept (page/src/kept.rs).

use super::download::Answer;
use super::fetch::weights_of;
use super::place::Place;
use super::protocol::{KeptFile, KeptModel, Source};
use js_sys::{Reflect, Uint8Array};
use moescope::error::{Error, Result};
use moescope::model::files::tokenizer_file;
use moescope::model::gguf;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    FileSystemDirectoryHandle, FileSystemFileHandle, FileSystemGetDirectoryOptions, FileSystemGetFileOptions,
    FileSystemReadWriteOptions, FileSystemSyncAccessHandle,
};

/// The file that says which versions of which files are here in part.
const PARTS: &str = "parts.json";

/// The versions of files that are here in part, by name.
#[derive(Default, Serialize, Deserialize)]
struct Parts(BTreeMap<String, String>);

/// Downloads the model at `source` to the browser's storage. Tells (bytes done, bytes in all where known) on the way.
///
/// # Errors
/// The model cannot be fetched, the browser has no such storage, or it is full.
pub async fn keep(source: &Source, token: Option<String>, tell: &dyn Fn(u64, Option<u64>)) -> Result<KeptModel> {
    let Source::Url(address) = source else {
        return Err(Error::Input("files that were opened from the disk are there already".into()));
    };
    let place = Place::new(source, token)?;
    let folder = Folder::open(&KeptModel::key(address)).await?;
    let (small, weights) = names(&place).await?;
    let mut parts: Parts =
        folder.read(PARTS).await.and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default();
    let mut files = Vec::new();
    for (name, bytes) in small {
        folder.write(&name, &bytes).await?;
        files.push(KeptFile { name, bytes: bytes.len() as u64 });
    }
    let mut answers: Vec<(String, Answer)> = Vec::new();
    for name in &weights {
        answers.push((name.clone(), place.open(name).await?.map_err(|missing| place.error(name, &missing))?));
    }
    let total: Option<u64> = answers.iter().map(|(_, answer)| answer.total).sum();
    let mut done = 0;
    for (name, answer) in answers {
        let come = |here: u64| tell(done + here, total);
        let bytes = folder.download(&name, answer, &mut parts, &come).await?;
        done += bytes;
        files.push(KeptFile { name, bytes });
    }
    let first = weights.first().filter(|_| weights.len() == 1 || weights[0].ends_with(".gguf"));
    let kept = KeptModel { address: address.clone(), name: place.name(), files, weights: first.cloned() };
    folder.write(KeptModel::MANIFEST, &serde_json::to_vec(&kept).expect("it is plain data")).await?;
    Ok(kept)
}

/// The small files of a model with their contents, and the names of its weights.
async fn names(place: &Place<'_>) -> Result<(Vec<(String, Vec<u8>)>, Vec<String>)> {
    if let Some(first) = place.weights().filter(|name| name.ends_with(".gguf")) {
        return Ok((Vec::new(), gguf::all_parts(first)));
    }
    let config = place.get("config.json").await?.map_err(|missing| place.error("config.json", &missing))?;
    let mut small = Vec::new();
    if let Ok(tokenizer) = place.tokenizer(&tokenizer_file(&config)).await? {
        small.push(("tokenizer.json".to_owned(), tokenizer));
    }
    for name in ["generation_config.json", "model.safetensors.index.json"] {
        if let Ok(Ok(bytes)) = place.get(name).await {
            small.push((name.to_owned(), bytes));
        }
    }
    small.push(("config.json".to_owned(), config));
    let weights = weights_of(place).await?;
    if weights.len() == 1 {
        small.retain(|(name, _)| name != "model.safetensors.index.json");
    }
    Ok((small, weights))
}

/// The folder of one model.
struct Folder(FileSystemDirectoryHandle);

impl Folder {
    async fn open(key: &str) -> Result<Self> {
        let create = FileSystemGetDirectoryOptions::new();
        create.set_create(true);
        let find = async {
            let get = |object: &JsValue, key: &str| Reflect::get(object, &JsValue::from_str(key));
            let storage = get(&get(&js_sys::global(), "navigator")?, "storage")?;
            let root = get(&storage, "getDirectory")?.dyn_into::<js_sys::Function>()?.call0(&storage)?;
            let root: FileSystemDirectoryHandle = JsFuture::from(js_sys::Promise::from(root)).await?.unchecked_into();
            let models = JsFuture::from(root.get_directory_handle_with_options(KeptModel::FOLDER, &create)).await?;
            let models: FileSystemDirectoryHandle = models.unchecked_into();
            JsFuture::from(models.get_directory_handle_with_options(key, &create)).await
        };
        let folder = find.await.map_err(|why: JsValue| {
            let why =
                format!("this browser keeps no files for a page ({}); open the model's files instead", said(&why));
            Error::Input(why)
        })?;
        Ok(Self(folder.unchecked_into()))
    }

    /// Opens a file for writing.
    async fn handle(&self, name: &str) -> Result<Handle> {
        let create = FileSystemGetFileOptions::new();
        create.set_create(true);
        let open = async {
            let file = JsFuture::from(self.0.get_file_handle_with_options(name, &create)).await?;
            JsFuture::from(file.unchecked_into::<FileSystemFileHandle>().create_sync_access_handle()).await
        };
        let handle = open.await.map_err(|why| {
            Error::read(name, format!("it cannot be kept ({}); is it open in another tab?", said(&why)))
        })?;
        Ok(Handle(handle.unchecked_into()))
    }

    async fn read(&self, name: &str) -> Option<Vec<u8>> {
        let handle = self.handle(name).await.ok()?;
        let mut bytes = vec![0; handle.size() as usize];
        handle.0.read_with_u8_array(&mut bytes).ok()?;
        Some(bytes)
    }

    async fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let handle = self.handle(name).await?;
        handle.cut(0);
        handle.write(&Uint8Array::from(bytes), 0, name)?;
        let _ = handle.0.flush();
        Ok(())
    }

    /// Downloads a file, from where it broke off before. Returns its size.
    async fn download(&self, name: &str, mut answer: Answer, parts: &mut Parts, come: &dyn Fn(u64)) -> Result<u64> {
        let handle = self.handle(name).await?;
        let version = answer.version().unwrap_or_default();
        let is_same = !version.is_empty() && parts.0.get(name) == Some(&version);
        let mut here = if is_same { handle.size() } else { 0 };
        if Some(here) == answer.total {
            return Ok(here);
        }
        handle.cut(here);
        parts.0.insert(name.to_owned(), version);
        self.write(PARTS, &serde_json::to_vec(&parts).expect("it is plain data")).await?;
        if here > 0 {
            answer.leave_out_first();
        }
        while let Some(part) = answer.next(here).await? {
            handle.write(&part, here, name)?;
            here += u64::from(part.length());
            come(here);
        }
        let _ = handle.0.flush();
        match answer.total {
            Some(total) if total != here => Err(Error::read(name, "the connection broke; keep it again to go on")),
            _ => Ok(here),
        }
    }
}

/// A file that is open for writing; nobody else can open it meanwhile.
struct Handle(FileSystemSyncAccessHandle);

impl Handle {
    fn size(&self) -> u64 {
        self.0.get_size().unwrap_or(0.0) as u64
    }

    fn cut(&self, size: u64) {
        let _ = self.0.truncate_with_f64(size as f64);
    }

    fn write(&self, bytes: &Uint8Array, at: u64, name: &str) -> Result<()> {
        let options = FileSystemReadWriteOptions::new();
        options.set_at(at as f64);
        let written = self.0.write_with_js_u8_array_and_options(bytes, &options);
        let why = match written {
            Ok(written) if written as u32 == bytes.length() => return Ok(()),
            Ok(_) => "the storage took a part only".to_owned(),
            Err(why) => said(&why),
        };
        let why = format!(
            "the browser's storage is full or refuses it ({why}) after {} MB; delete models that are kept, or open the \
             model without keeping it",
            at >> 20
        );
        Err(Error::read(name, why))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// What an exception says.
fn said(why: &JsValue) -> String {
    let text = |key: &str| Reflect::get(why, &JsValue::from_str(key)).ok().and_then(|text| text.as_string());
    text("name").or_else(|| text("message")).unwrap_or_else(|| "no reason given".into())
}
