//! The site as a static host would serve it, and hosts that go wrong, each on a free port of this machine.

use crate::tools::Tools;
use anyhow::{Context, Result};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::Html;
use axum::routing::any;
use futures_util::StreamExt;
use safetensors::SafeTensors;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;
use tower_http::services::ServeFile;
use tower_http::set_header::SetResponseHeaderLayer;
use xtask::wasm::{PROGRAM, RELAXED_PROGRAM};

/// A server. It outlives what a test holds of it: a page that is still open may ask for something, and would write an error
/// to its console.
pub struct Server {
    port: u16,
    task: JoinHandle<()>,
}

impl Server {
    /// Serves `router` on a free port.
    ///
    /// # Errors
    /// No port is to be had.
    pub async fn start(router: Router) -> Result<Self> {
        let listener = xtask::serve::bind(0)?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { port, task })
    }

    /// Ends it.
    pub fn stop(self) {
        self.task.abort();
    }

    /// An address on this server; `path` starts with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("http://localhost:{}{path}", self.port)
    }
}

/// The path below which [`site`] serves the same site again.
pub const SUB_PATH: &str = "/some/sub-path";

/// The site at `/` and once more in a sub-path, beside models that cannot be loaded:
/// `/broken/html` answers every request with a page, as hosts of single-page applications do;
/// `/broken/cut` has a weights file that ends in its middle; on the way from `/broken/off` the connection breaks off in the
/// middle of the weights, and goes on where it is asked to; `/broken/endless` is of another shape than its config says, and its weights
/// never end. `/shards` is the main model in more files than a browser has connections to a server.
///
/// # Errors
/// The site was not built.
pub fn site(tools: &Tools) -> Result<Router> {
    let site = xtask::serve::router(&tools.site)?;
    let page = || async { Html("<!doctype html><title>Welcome</title>") };
    let main = tools.model("main");
    let weights = std::fs::read(main.join("model.safetensors"))
        .with_context(|| format!("the site has no model in {}", main.display()))?;
    let half = Bytes::from(weights[..weights.len() / 2].to_vec());
    let beginning = half.clone();
    let mut router = Router::new()
        .nest_service(SUB_PATH, site.clone())
        .route("/broken/html/{*file}", any(page))
        .route("/broken/cut/model.safetensors", any(|| async { half }));
    let endless = move || {
        let stream = futures_util::stream::iter([Ok::<_, std::io::Error>(beginning.clone())]);
        async { Body::from_stream(stream.chain(futures_util::stream::pending())) }
    };
    let config = std::fs::read_to_string(main.join("config.json"))?;
    let mut config: Value = serde_json::from_str(&config)?;
    config["intermediate_size"] = json!(12);
    let config = config.to_string();
    router = router
        .route("/broken/endless/model.safetensors", any(endless))
        .route("/broken/endless/config.json", any(|| async { config }))
        .nest("/shards", shards(&weights)?);
    router = router.route("/broken/off/model.safetensors", any(move |headers| breaking_off(headers, weights)));
    for name in ["config.json", "tokenizer.json"] {
        let contents = Bytes::from(std::fs::read(main.join(name))?);
        for place in ["broken/cut", "broken/off", "shards"] {
            let contents = contents.clone();
            router = router.route(&format!("/{place}/{name}"), any(|| async { contents }));
        }
    }
    Ok(router.fallback_service(site))
}

/// Files of [`site`]'s model in shards.
const SHARDS: usize = 9;

/// The tensors of a safetensors file in several, dealt out in turn, and the index that says which are where.
fn shards(file: &[u8]) -> Result<Router> {
    let tensors = SafeTensors::deserialize(file)?.tensors();
    let name = |shard: usize| format!("model-{:05}-of-{SHARDS:05}.safetensors", shard + 1);
    let places = tensors.iter().enumerate().map(|(n, (tensor, _))| (tensor.clone(), json!(name(n % SHARDS))));
    let index = json!({ "metadata": {}, "weight_map": places.collect::<serde_json::Map<_, _>>() }).to_string();
    let mut router = Router::new().route("/model.safetensors.index.json", any(|| async { index }));
    for shard in 0..SHARDS {
        let of_it = tensors.iter().skip(shard).step_by(SHARDS).map(|(name, tensor)| (name, tensor));
        let file = Bytes::from(safetensors::serialize(of_it, None)?);
        router = router.route(&format!("/{}", name(shard)), any(|| async { file }));
    }
    Ok(router)
}

/// The whole breaks off in its middle; the rest, asked for with `Range`, comes whole.
async fn breaking_off(headers: HeaderMap, file: Vec<u8>) -> axum::response::Response {
    let length = file.len();
    let header = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let start = header(header::RANGE).and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let answer = axum::response::Response::builder().header(header::ETAG, VERSION);
    let answer = match start.filter(|_| header(header::IF_RANGE) == Some(VERSION)) {
        Some(start) => {
            let range = format!("bytes {start}-{}/{length}", length - 1);
            let answer = answer.status(StatusCode::PARTIAL_CONTENT).header(header::CONTENT_RANGE, range);
            answer.body(Body::from(file[start..].to_vec()))
        }
        None => {
            let parts = [Ok(file[..length / 2].to_vec()), Err(std::io::Error::other("the cable was pulled"))];
            let body = Body::from_stream(futures_util::stream::iter(parts));
            answer.header(header::CONTENT_LENGTH, length).body(body)
        }
    };
    answer.expect("legal headers")
}

/// The version of the file whose connection breaks off.
const VERSION: &str = "\"1\"";

/// The site's files, with leave to be read from pages of other origins or without.
///
/// # Errors
/// The site was not built.
pub fn other_origin(tools: &Tools, allowed: bool) -> Result<Router> {
    let site = xtask::serve::router(&tools.site)?;
    let anyone = HeaderValue::from_static("*");
    Ok(if allowed {
        site.layer(SetResponseHeaderLayer::overriding(header::ACCESS_CONTROL_ALLOW_ORIGIN, anyone))
    } else {
        site
    })
}

/// The site, with the program that does without relaxed SIMD under the name of the other.
///
/// # Errors
/// The site was not built.
pub fn without_relaxed_simd(tools: &Tools) -> Result<Router> {
    let plain = ServeFile::new(tools.site.join(PROGRAM));
    let site = xtask::serve::router(&tools.site)?;
    Ok(Router::new().route_service(&format!("/{RELAXED_PROGRAM}"), plain).fallback_service(site))
}

/// The site on connections that end with every answer: when this server is stopped, nothing answers any more.
///
/// # Errors
/// The site was not built.
pub fn leaving(tools: &Tools) -> Result<Router> {
    let close = SetResponseHeaderLayer::overriding(header::CONNECTION, HeaderValue::from_static("close"));
    Ok(site(tools)?.layer(close))
}

/// The site, and the addresses (path and query) that it was asked for.
///
/// # Errors
/// The site was not built.
pub fn listening(tools: &Tools) -> Result<(Router, Arc<Mutex<Vec<String>>>)> {
    let addresses = Arc::<Mutex<Vec<String>>>::default();
    let heard = addresses.clone();
    let listen = move |request: Request, next: Next| {
        heard.lock().expect("no panic holds it").push(request.uri().to_string());
        next.run(request)
    };
    Ok((xtask::serve::router(&tools.site)?.layer(middleware::from_fn(listen)), addresses))
}

/// The site, which gives its program to the second who asks for it, the worker, once weights have been asked for; and how often they
/// were.
///
/// # Errors
/// The site was not built.
pub fn weights_before_program(tools: &Tools) -> Result<(Router, Arc<AtomicUsize>)> {
    let (programs, weights) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let asked = weights.clone();
    let wait = move |request: Request, next: Next| {
        let (programs, weights) = (programs.clone(), weights.clone());
        async move {
            let path = request.uri().path();
            weights.fetch_add(usize::from(path.ends_with("/model.safetensors")), Ordering::SeqCst);
            if path.ends_with(".wasm") && programs.fetch_add(1, Ordering::SeqCst) > 0 {
                while weights.load(Ordering::SeqCst) == 0 {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            next.run(request).await
        }
    };
    Ok((xtask::serve::router(&tools.site)?.layer(middleware::from_fn(wait)), asked))
}

/// A copy of the site's shell without its program, as after an upload that was cut short.
///
/// # Errors
/// The site was not built, or `directory` cannot be written.
pub fn without_program(tools: &Tools, directory: &Path) -> Result<Router> {
    std::fs::create_dir_all(directory)?;
    for name in ["index.html", "boot.js", "program.js", "boot.css", "style.css", "moescope.js", "worker.js"] {
        std::fs::copy(tools.site.join(name), directory.join(name))?;
    }
    xtask::serve::router(directory)
}

/// The site, with a recording of the main model's training: the last of its snapshots is the model itself on the first
/// example, in those before it every expert has another's place. Gives the recording too.
///
/// # Errors
/// The site was not built, or the model cannot be run.
pub fn recorded(tools: &Tools) -> Result<(Router, Value)> {
    let recording = recording(tools)?;
    let text = recording.to_string();
    Ok((with_recording(tools, text)?, recording))
}

/// The site, with a recording that ends in its middle.
///
/// # Errors
/// As [`recorded`].
pub fn damaged_recording(tools: &Tools) -> Result<Router> {
    let mut text = recording(tools)?.to_string();
    text.truncate(text.len() / 2);
    with_recording(tools, text)
}

fn with_recording(tools: &Tools, recording: String) -> Result<Router> {
    let index = std::fs::read_to_string(tools.site.join("models/index.json"))?;
    let mut index: Value = serde_json::from_str(&index)?;
    let files = index[0]["files"].as_array_mut().context("the list of models has no files")?;
    if !files.contains(&json!("recording.json")) {
        files.push(json!("recording.json"));
    }
    let index = index.to_string();
    Ok(Router::new()
        .route("/models/index.json", any(|| async { index }))
        .route("/models/main/recording.json", any(|| async { recording }))
        .fallback_service(xtask::serve::router(&tools.site)?))
}

/// Snapshots in a recording of the tests.
const SNAPSHOTS: usize = 4;

fn recording(tools: &Tools) -> Result<Value> {
    let examples = std::fs::read_to_string(tools.site.join("examples.json"))?;
    let examples: Vec<Value> = serde_json::from_str(&examples)?;
    let text = examples[0]["text"].as_str().context("the first example has a text")?;
    let trace = crate::cli::trace(tools, "main", text, "cpu")?;
    let experts = trace.layers[0].balance.load.len();
    let snapshots: Vec<Value> = (0..SNAPSHOTS).map(|snapshot| recorded_snapshot(&trace, snapshot, experts)).collect();
    Ok(json!({
        "schema": 1,
        "experts": experts,
        "top_k": trace.layers[0].selected[0].len(),
        "layers": trace.layers.iter().map(|layer| layer.layer).collect::<Vec<_>>(),
        "texts": [{
            "id": examples[0]["id"],
            "label": examples[0]["label"],
            "tokens": trace.tokens.iter().map(|token| json!({ "id": token.id, "text": token.text, "bytes": null })).collect::<Vec<_>>(),
        }],
        "snapshots": snapshots,
    }))
}

fn recorded_snapshot(trace: &crate::cli::Trace, snapshot: usize, experts: usize) -> Value {
    let turned = |expert: usize| (expert + SNAPSHOTS - 1 - snapshot) % experts;
    let layers = trace.layers.iter().map(|layer| {
        let digits = layer.selected.iter().flatten().filter_map(|&e| char::from_digit(turned(e) as u32, 36));
        let weights = layer.weights.iter().flatten().map(|weight| (weight * 100.0).round() as u8);
        json!({ "selected": digits.collect::<String>(), "weights": weights.collect::<Vec<_>>() })
    });
    let balance =
        trace.layers.iter().map(|layer| json!({ "load": layer.balance.load, "importance": layer.balance.load }));
    json!({
        "step": snapshot * 100,
        "tokens": snapshot * 1_228_800,
        "loss": 7.6 - snapshot as f64,
        "balance": balance.collect::<Vec<_>>(),
        "texts": [{ "surprise": vec![400 - 100 * snapshot; trace.tokens.len()], "layers": layers.collect::<Vec<_>>() }],
    })
}
