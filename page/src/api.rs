//! `window.moescope`, for notebooks, pages that embed this one, and tests. Every function returns a promise, except
//! `backend()`. A promise rejects with one sentence that says what is wrong and what to do.

use crate::model::{Backend, ModelInfo};
use crate::routing::Policy;
use crate::routing::policy::Rule;
use crate::site::{address_of, from_files, path_of, shipped};
use crate::state::Action;
use crate::state::address;
use crate::worker::protocol::{BackendChoice, Command, Extent, Logits, Opening, Prompt, Sampling, Source};
use crate::worker_client::WorkerClient;
use js_sys::{Array, Error, JSON, Object, Promise, Reflect};
use std::future::Future;
use std::rc::Rc;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;
use yew::Callback;

type Outcome = Result<JsValue, JsValue>;

/// Tokens that `generate` makes by default.
const TOKENS: usize = 64;

/// Sets `window.moescope`. `dispatch` gets the actions of scripts.
pub fn install(link: Rc<WorkerClient>, dispatch: Callback<Action>) {
    let api = Object::new();
    let ready = {
        let link = link.clone();
        future_to_promise(async move { model_json(&link.ready().await.map_err(sentence)?) })
    };
    // A rejected `ready` that no script uses must not be reported as an unhandled rejection. The closure has to exist
    // when that happens, so it is kept for good.
    let unheard = Closure::new(|_| {});
    let _ = ready.catch(&unheard);
    unheard.forget();
    set(&api, "ready", &ready);
    {
        let link = link.clone();
        let backend = move || link.model().map_or(JsValue::NULL, |model| backend_name(&model).into());
        set(&api, "backend", &Closure::<dyn Fn() -> JsValue>::new(backend).into_js_value());
    }
    method(&api, "load", {
        let (link, dispatch) = (link.clone(), dispatch.clone());
        move |source, options| load(link.clone(), dispatch.clone(), source, options)
    });
    method(&api, "trace", {
        let link = link.clone();
        move |prompt, options| trace(link.clone(), prompt, options)
    });
    method(&api, "generate", {
        let link = link.clone();
        move |prompt, options| generate(link.clone(), prompt, options)
    });
    method(&api, "policy", {
        let link = link.clone();
        let dispatch = dispatch.clone();
        move |policy, _| set_policy(link.clone(), dispatch.clone(), policy)
    });
    set(&gloo::utils::window(), "moescope", &api);
}

/// Adds a method with two arguments that returns a promise.
fn method<F, R>(api: &Object, name: &str, body: F)
where
    F: Fn(JsValue, JsValue) -> R + 'static,
    R: Future<Output = Outcome> + 'static,
{
    let closure = Closure::<dyn Fn(JsValue, JsValue) -> Promise>::new(move |first, second| {
        future_to_promise(body(first, second))
    });
    set(api, name, &closure.into_js_value());
}

/// `load(source, {backend, layers, resident, token})`; the source is a name in `models/`, the URL of a model directory
/// or file, or files.
async fn load(link: Rc<WorkerClient>, dispatch: Callback<Action>, source: JsValue, options: JsValue) -> Outcome {
    let backend = match option(&options, "backend") {
        None => BackendChoice::Auto,
        Some(value) => value
            .as_string()
            .and_then(|name| address::backend(&name))
            .ok_or_else(|| sentence("load: backend must be \"auto\", \"webgpu\", \"cpu\" or \"cpu-int8\"".into()))?,
    };
    let extent = extent(&options)?;
    let token = option(&options, "token").and_then(|token| token.as_string());
    let (source, asked) = model_source(&source).map_err(sentence)?;
    if let (Source::Url(address), Some(token)) = (&source, &token) {
        dispatch.emit(Action::Token { address: address.clone(), token: token.clone() });
    }
    dispatch.emit(Action::LoadBegan { source: source.clone(), asked, backend, extent });
    let opening = Opening { asks: false, token, extent };
    model_json(&link.load(source, backend, opening).await.map_err(sentence)?)
}

/// What of a model the options ask for.
fn extent(options: &JsValue) -> Result<Extent, JsValue> {
    let number = |key: &str| option(options, key).map(|value| value.as_f64().unwrap_or(f64::NAN));
    let layers = match number("layers") {
        None => None,
        Some(layers) if layers >= 1.0 && layers.fract() == 0.0 => Some(layers as usize),
        Some(_) => return Err(sentence("load: layers must be a whole number from 1 on".into())),
    };
    let resident = number("resident");
    if resident.is_some_and(|share| !(share > 0.0 && share <= 1.0)) {
        return Err(sentence("load: resident must be a number above 0 and at most 1".into()));
    }
    Ok(Extent { layers, resident })
}

fn model_source(source: &JsValue) -> Result<(Source, Option<String>), String> {
    let wrong = || {
        "load: give a name in models/, an address (a URL, or ORG/NAME on Hugging Face), or a model's files".to_owned()
    };
    if let Some(text) = source.as_string() {
        let source = match address_of(&text) {
            Some(address) => Source::Url(address),
            None if text.trim().is_empty() || text.contains("://") => return Err(wrong()),
            None => shipped(&text),
        };
        return Ok((source, Some(text)));
    }
    // A FileList, an array of files, or one file.
    let files = match source.dyn_ref::<web_sys::File>() {
        Some(file) => Array::of1(file),
        None if source.is_object() => Array::from(source),
        None => return Err(wrong()),
    };
    let files = files.iter().filter_map(|file| file.dyn_into::<web_sys::File>().ok());
    let files: Vec<_> = files.map(|file| (path_of(&file), file)).collect();
    if files.is_empty() {
        return Err(wrong());
    }
    Ok((from_files(&files)?, None))
}

/// `trace(textOrIds, {logits})`: the JSON of `moescope trace`, as an object.
pub async fn trace(link: Rc<WorkerClient>, prompt: JsValue, options: JsValue) -> Outcome {
    let prompt = read_prompt("trace", &prompt)?;
    let logits = match option(&options, "logits").map(|value| value.as_string()) {
        None => Logits::None,
        Some(Some(name)) if name == "none" => Logits::None,
        Some(Some(name)) if name == "last" => Logits::Last,
        Some(Some(name)) if name == "all" => Logits::All,
        Some(_) => return Err(sentence("trace: logits must be \"none\", \"last\" or \"all\"".into())),
    };
    let json = link.ask(|request| Command::Trace { request, prompt, logits }).await.map_err(sentence)?;
    JSON::parse(&json)
}

/// `generate(textOrIds, {tokens, temperature, top_p, seed})`: `{ids, text, trace, prefill_ms, decode_ms}`.
async fn generate(link: Rc<WorkerClient>, prompt: JsValue, options: JsValue) -> Outcome {
    let prompt = read_prompt("generate", &prompt)?;
    let default = Sampling::default();
    let tokens = number(&options, "tokens", TOKENS as f64, 1.0, 1e6)? as usize;
    let sampling = Sampling {
        temperature: number(&options, "temperature", f64::from(default.temperature), 0.0, 100.0)? as f32,
        top_p: number(&options, "top_p", f64::from(default.top_p), 0.0, 1.0)? as f32,
        seed: number(&options, "seed", default.seed as f64, 0.0, 9e15)? as u64,
    };
    let command = |request| Command::Complete { request, prompt, tokens, sampling, plain: false };
    JSON::parse(&link.ask(command).await.map_err(sentence)?)
}

/// `policy(p)`: sets the policy `p` (docs/gates.md) for the page's text and for the texts of `trace` and `generate`.
/// Null or `{}` gives the model's own routing.
pub async fn set_policy(link: Rc<WorkerClient>, dispatch: Callback<Action>, policy: JsValue) -> Outcome {
    let json = if policy.is_undefined() { None } else { JSON::stringify(&policy)?.as_string() };
    let policy = Policy::parse(json.as_deref().unwrap_or("null")).map_err(|error| sentence(error.to_string()))?;
    link.ready().await.map_err(sentence)?;
    let policy = Policy(policy.0.into_iter().filter(|rule| *rule != Rule::default()).collect());
    dispatch.emit(Action::Policy(policy));
    link.policy_answer().await.map_err(sentence)?;
    Ok(JsValue::UNDEFINED)
}

fn read_prompt(method: &str, prompt: &JsValue) -> Result<Prompt, JsValue> {
    if let Some(text) = prompt.as_string() {
        return Ok(Prompt::Text(text));
    }
    let wrong = || sentence(format!("{method}: give a text, or an array of token ids (whole numbers from 0)"));
    // Array.from also reads typed arrays.
    if !prompt.is_object() {
        return Err(wrong());
    }
    let ids = Array::from(prompt).into_iter().map(|id| {
        let id = id.as_f64().filter(|id| id.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(id));
        id.map(|id| id as u32)
    });
    ids.collect::<Option<Vec<u32>>>().map(Prompt::Ids).ok_or_else(wrong)
}

fn option(options: &JsValue, name: &str) -> Option<JsValue> {
    let value = options.is_object().then(|| Reflect::get(options, &name.into()).ok()).flatten()?;
    (!value.is_undefined() && !value.is_null()).then_some(value)
}

fn number(options: &JsValue, name: &str, default: f64, least: f64, most: f64) -> Result<f64, JsValue> {
    let Some(value) = option(options, name) else { return Ok(default) };
    let value = value.as_f64().filter(|x| (least..=most).contains(x));
    value.ok_or_else(|| sentence(format!("generate: {name} must be a number from {least} to {most}")))
}

/// The model's info as JSON, with sums and names for scripts.
fn model_json(info: &ModelInfo) -> Outcome {
    let mut value = serde_json::to_value(info).map_err(|error| sentence(error.to_string()))?;
    value["backend"] = backend_name(info).into();
    value["adapter"] = match &info.backend {
        Backend::Gpu { adapter } => adapter.as_str().into(),
        Backend::Cpu | Backend::CpuInt8 => serde_json::Value::Null,
    };
    value["parameters"] = info.cost.parameters().into();
    value["active_parameters"] = info.cost.active_parameters().into();
    JSON::parse(&value.to_string())
}

fn backend_name(info: &ModelInfo) -> &'static str {
    match info.backend {
        Backend::Cpu => "cpu",
        Backend::CpuInt8 => "cpu-int8",
        Backend::Gpu { .. } => "webgpu",
    }
}

fn sentence(message: String) -> JsValue {
    Error::new(&message).into()
}

fn set(object: &JsValue, name: &str, value: &JsValue) {
    // Setting a new property of a plain object or of the window cannot fail.
    let _ = Reflect::set(object, &name.into(), value);
}
