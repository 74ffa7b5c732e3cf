//! Fetches what the page needs from its own site: the lists of models, examples and languages, and the files of a
//! model. Also finds the address of a model.

use crate::i18n::messages::{Language, t};
use crate::kept;
use crate::routing::Recording;
use crate::state::example::Example;
use crate::state::story::Card;
use crate::state::training_snapshot::RECORDING;
use crate::state::{Action, CURVES, DOSSIER, Offered};
use crate::version;
use crate::worker::address::on_hub;
use crate::worker::opened::find_model;
use crate::worker::protocol::Source;
use gloo::utils::{document, window};
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::JsFuture;
use web_sys::{File, Url};
use yew::prelude::*;

/// Fetches the lists, and loads the first model as soon as its name is known.
pub fn fetch_lists(dispatch: &Callback<Action>, asked: Option<String>) {
    let examples = dispatch.clone();
    wasm_bindgen_futures::spawn_local(async move {
        let list = fetch_json::<Vec<Example>>(&version::file("examples.json")).await;
        match list {
            Some(list) => examples.emit(Action::Examples(list)),
            None => examples.emit(Action::Note(t!("examples.missing").into())),
        }
    });
    let stories = dispatch.clone();
    wasm_bindgen_futures::spawn_local(async move {
        // Without stories, the page has one row less.
        if let Some(cards) = fetch_json::<Vec<Card>>(&version::file("stories/index.json")).await {
            stories.emit(Action::Stories(cards));
        }
    });
    let dispatch = dispatch.clone();
    wasm_bindgen_futures::spawn_local(async move {
        let offered = fetch_json::<Vec<Offered>>("models/index.json").await.unwrap_or_default();
        let first = offered.first().map(|offered| offered.name.clone());
        let small = if asked.is_none() { stand_in(&offered) } else { None };
        let (source, asked) = first_model(asked, &offered, first, &dispatch);
        dispatch.emit(Action::Models(offered));
        let is_shipped = asked.as_deref().is_some_and(|asked| address_of(asked).is_none());
        match source {
            Some(Source::Url(address)) if !is_shipped => {
                let source = kept::source(&address).await.unwrap_or(Source::Url(address));
                dispatch.emit(Action::Load { source, asked });
            }
            Some(source) => dispatch.emit(Action::Load { source, asked }),
            None => dispatch.emit(Action::Fail(t!("model.no-models").into())),
        }
        small.into_iter().for_each(|small| dispatch.emit(Action::StandIn(small)));
    });
}

/// The address of the model that [`first_model`] will choose, if it is one of the site's (index.html has their names).
pub fn expected_model(asked: Option<&str>) -> Option<String> {
    let names = document().body()?.get_attribute("data-models")?;
    let name = names.split('/').find(|&name| asked.is_none_or(|asked| asked == name))?;
    absolute(&format!("models/{name}/"))
}

/// The model to open first: the one in the address if it is valid, else the first in the list.
fn first_model(
    asked: Option<String>,
    offered: &[Offered],
    first: Option<String>,
    dispatch: &Callback<Action>,
) -> (Option<Source>, Option<String>) {
    if let Some(asked) = asked {
        if offered.iter().any(|offered| offered.name == asked) {
            return (Some(shipped(&asked)), Some(asked));
        }
        if let Some(url) = address_of(&asked) {
            return (Some(Source::Url(url)), Some(asked));
        }
        let names = offered.iter().map(|offered| offered.name.as_str()).collect::<Vec<_>>().join(", ");
        dispatch.emit(Action::Note(t!("address.model", value = asked, names = names).into()));
    }
    (first.as_deref().map(shipped), first)
}

/// A model with at most this part of the first one's bytes can stand in for it.
const SMALL: u64 = 8;

/// The smallest model of the list, where it is much smaller than the first.
fn stand_in(offered: &[Offered]) -> Option<Source> {
    let first = offered.first()?;
    let smallest = offered.iter().filter(|offered| offered.bytes > 0).min_by_key(|offered| offered.bytes)?;
    (smallest.bytes * SMALL <= first.bytes).then(|| shipped(&smallest.name))
}

pub fn fetch_languages(came: &Callback<Vec<Language>>) {
    let came = came.clone();
    wasm_bindgen_futures::spawn_local(async move {
        if let Some(languages) = fetch_json(&version::file("messages/index.json")).await {
            came.emit(languages);
        }
    });
}

pub fn fetch_texts(language: String, came: Callback<(String, Option<String>)>) {
    wasm_bindgen_futures::spawn_local(async move {
        let path = version::file(&format!("messages/{language}.json"));
        let json = if language == "en" { None } else { fetch_text(&path).await };
        came.emit((language, json));
    });
}

/// Fetches the dossiers and the training curves of a shipped model.
pub fn fetch_extras(name: String, files: &[String], dispatch: &Callback<Action>) {
    let has = |file: &str| files.iter().any(|other| other == file);
    if has(DOSSIER) {
        let (name, dispatch) = (name.clone(), dispatch.clone());
        wasm_bindgen_futures::spawn_local(async move {
            if let Some(dossier) = fetch_json(&format!("models/{name}/{DOSSIER}")).await {
                dispatch.emit(Action::Dossier(name, Box::new(dossier)));
            }
        });
    }
    if has(CURVES) {
        let dispatch = dispatch.clone();
        wasm_bindgen_futures::spawn_local(async move {
            if let Some(curves) = fetch_json(&format!("models/{name}/{CURVES}")).await {
                dispatch.emit(Action::Curves(name, curves));
            }
        });
    }
}

/// Fetches the recording of a shipped model, which only the replay of the training needs.
pub fn fetch_recording(name: String, dispatch: &Callback<Action>) {
    let dispatch = dispatch.clone();
    wasm_bindgen_futures::spawn_local(async move {
        let recording = match fetch_text(&format!("models/{name}/{RECORDING}")).await {
            Some(json) => Recording::read(&json).map(Box::new).map_err(|error| error.to_string()),
            None => Err(t!("recorded.missing", name = name)),
        };
        dispatch.emit(Action::Recording(name, recording));
    });
}

/// Fetches a story.
pub fn fetch_story(name: String, dispatch: &Callback<Action>) {
    let dispatch = dispatch.clone();
    wasm_bindgen_futures::spawn_local(async move {
        let is_name = name.chars().all(|c| c.is_ascii_lowercase() || c == '-');
        let story = if is_name { fetch_json(&version::file(&format!("stories/{name}.json"))).await } else { None };
        match story {
            Some(story) => dispatch.emit(Action::StoryCame(Box::new(story))),
            None => {
                dispatch.emit(Action::Note(t!("story.missing", name = name).into()));
                dispatch.emit(Action::Story(None));
            }
        }
    });
}

async fn fetch_json<T: serde::de::DeserializeOwned>(path: &str) -> Option<T> {
    serde_json::from_str(&fetch_text(path).await?).ok()
}

async fn fetch_text(path: &str) -> Option<String> {
    let response = JsFuture::from(window().fetch_with_str(path)).await.ok()?;
    let response: web_sys::Response = response.dyn_into().ok()?;
    if !response.ok() {
        return None;
    }
    JsFuture::from(response.text().ok()?).await.ok()?.as_string()
}

/// The source of the site's model `name`.
pub fn shipped(name: &str) -> Source {
    Source::Url(absolute(&format!("models/{name}/")).unwrap_or_default())
}

/// `address` as an absolute URL, relative to the page.
pub fn absolute(address: &str) -> Option<String> {
    let base = window().document()?.base_uri().ok().flatten()?;
    let url = Url::new_with_base(address, &base).ok()?;
    matches!(url.protocol().as_str(), "http:" | "https:" | "blob:").then(|| url.href())
}

/// The address of the model that `text` stands for: a URL, a path (`/m`, `./m`) or its name on the Hugging Face hub
/// (`ORG/NAME`, `ORG/NAME@REVISION`); `None` for any other text.
pub fn address_of(text: &str) -> Option<String> {
    let is_address = text.contains("://") || text.starts_with(['/', '.']) || text.starts_with("blob:");
    on_hub(text).or_else(|| is_address.then(|| absolute(text)).flatten())
}

/// Loads the model at an address: what is kept of it in the browser, or from its server.
pub fn open_address(address: String, dispatch: &Callback<Action>) {
    let dispatch = dispatch.clone();
    wasm_bindgen_futures::spawn_local(async move {
        let source = kept::source(&address).await.unwrap_or_else(|| Source::Url(address.clone()));
        dispatch.emit(Action::Load { source, asked: Some(address) });
    });
}

/// Loads the model among files that the visitor opened (path, file), or shows why there is none.
/// One JSON file alone may hold the dossiers of the model in use.
pub fn open_files(files: &[(String, File)], dispatch: &Callback<Action>) {
    match files {
        [(path, file)] if path.ends_with(".json") && file.name() != "config.json" => {
            let (files, dispatch) = (files.to_vec(), dispatch.clone());
            wasm_bindgen_futures::spawn_local(async move {
                let text = JsFuture::from(files[0].1.text()).await.ok().and_then(|text| text.as_string());
                match text.and_then(|text| serde_json::from_str(&text).ok()) {
                    Some(dossier) => dispatch.emit(Action::DossierOpened(Box::new(dossier))),
                    None => open_model_of(&files, &dispatch),
                }
            });
        }
        files => open_model_of(files, dispatch),
    }
}

fn open_model_of(files: &[(String, File)], dispatch: &Callback<Action>) {
    dispatch.emit(match from_files(files) {
        Ok(source) => Action::Load { source, asked: None },
        Err(message) => Action::Fail(message.into()),
    });
}

/// The model among opened files (path, file).
///
/// # Errors
/// There is no model or more than one: see [`find_model`].
pub fn from_files(files: &[(String, File)]) -> Result<Source, String> {
    let paths: Vec<String> = files.iter().map(|(path, _)| path.clone()).collect();
    let model = find_model(&paths)?;
    let files = model.files.iter().map(|place| &files[*place].1).filter_map(named_blob).collect();
    Ok(Source::Files { name: model.name, files, weights: model.weights })
}

/// A file's path within the opened directory; the file's name where it was opened alone.
pub fn path_of(file: &File) -> String {
    let path = js_sys::Reflect::get(file, &"webkitRelativePath".into()).ok().and_then(|path| path.as_string());
    path.filter(|path| !path.is_empty()).unwrap_or_else(|| file.name())
}

/// A file's name, and an address from which the worker can read it.
fn named_blob(file: &File) -> Option<(String, String)> {
    Some((file.name(), Url::create_object_url_with_blob(file).ok()?))
}
