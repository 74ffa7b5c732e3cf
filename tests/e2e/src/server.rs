//! Servers for the tests: the site as a static host serves it, and faulty hosts, each on a free port of this machine.

use crate::tools::Tools;
use anyhow::{Context, Result};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse};
use axum::routing::any;
use futures_util::StreamExt;
use safetensors::SafeTensors;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;
use tower::ServiceExt;
use tower_http::services::ServeFile;
use tower_http::set_header::SetResponseHeaderLayer;
use xtask::wasm::{PROGRAM, RELAXED_PROGRAM};

/// A server. It keeps running when the test drops it, because an open page may still send a request and would log an
/// error if nothing answered.
pub struct Server {
    port: u16,
    task: JoinHandle<()>,
}

impl Server {
    /// Serves `router` on a free port.
    ///
    /// # Errors
    /// There is no free port.
    pub async fn start(router: Router) -> Result<Self> {
        Self::start_at(0, router).await
    }

    /// Serves `router` on a port that an earlier server of the test had; 0 for a free port.
    ///
    /// # Errors
    /// The port is in use.
    pub async fn start_at(port: u16, router: Router) -> Result<Self> {
        let listener = xtask::serve::bind(port)?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { port, task })
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Stops it.
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

/// The site at `/` and again under a sub-path, with models that cannot be loaded. `/broken/html` answers every request
/// with a web page, as hosts of single-page applications do. `/broken/cut` has a truncated weights file. `/broken/off`
/// closes the connection in the middle of the weights, and continues when it is asked for a range. `/broken/endless`
/// has another shape than its config says, and its weights never end. `/shards` has the main model in more files than
/// a browser opens connections to one server.
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

/// Number of files of the model in shards.
const SHARDS: usize = 9;

/// Distributes the tensors of a safetensors file over several files in turn; the index names the file of each tensor.
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

/// A request for the whole file is cut off in the middle; a `Range` request is answered completely.
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

/// The ETag of the file whose connection is cut off.
const VERSION: &str = "\"1\"";

/// The site's files, with or without the CORS headers that let pages of other origins read them.
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

/// The site, with the program without relaxed SIMD under the name of the one with it.
///
/// # Errors
/// The site was not built.
pub fn without_relaxed_simd(tools: &Tools) -> Result<Router> {
    let plain = ServeFile::new(tools.versioned(PROGRAM)?);
    let site = xtask::serve::router(&tools.site)?;
    let path = format!("/{}/{RELAXED_PROGRAM}", tools.build()?);
    Ok(Router::new().route_service(&path, plain).fallback_service(site))
}

/// The site over connections that close after every answer, so that no connection is left when the server is stopped.
///
/// # Errors
/// The site was not built.
pub fn leaving(tools: &Tools) -> Result<Router> {
    let close = SetResponseHeaderLayer::overriding(header::CONNECTION, HeaderValue::from_static("close"));
    Ok(site(tools)?.layer(close))
}

/// The site, and the addresses (path and query) that were requested from it.
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

/// The site, which answers the second request for its program (the worker's) only after weights were requested. Also
/// returns the number of requests for weights.
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
            // On a busy machine the small model stands in.
            let is_asked_for = path.ends_with("/model.safetensors") && !path.ends_with("/tiny/model.safetensors");
            weights.fetch_add(usize::from(is_asked_for), Ordering::SeqCst);
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

/// The site, where the main model's weights stop after their first tenth until the address `/release` is asked for.
///
/// # Errors
/// The site was not built.
pub fn weights_on_hold(tools: &Tools) -> Result<Router> {
    let weights = Bytes::from(std::fs::read(tools.model("main").join("model.safetensors"))?);
    let released = Arc::new(tokio::sync::Semaphore::new(0));
    let hold = released.clone();
    let held = move || {
        let (weights, hold) = (weights.clone(), hold.clone());
        let length = weights.len();
        let rest = weights.slice(length / 10..);
        let rest = futures_util::stream::once(async move {
            // It fails only where the semaphore is closed, which nobody does.
            hold.acquire().await.map_err(std::io::Error::other)?.forget();
            Ok::<_, std::io::Error>(rest)
        });
        let first = futures_util::stream::iter([Ok(weights.slice(..length / 10))]);
        async move { ([(header::CONTENT_LENGTH, length)], Body::from_stream(first.chain(rest))) }
    };
    let release = move || {
        released.add_permits(1);
        async { "released" }
    };
    let router = Router::new().route("/models/main/model.safetensors", any(held)).route("/release", any(release));
    Ok(router.fallback_service(xtask::serve::router(&tools.site)?))
}

/// The site as a line of `bytes_per_second` brings it: all answers share the line.
///
/// # Errors
/// The site was not built.
pub fn slow_line(tools: &Tools, bytes_per_second: f64) -> Result<Router> {
    let free = Arc::new(tokio::sync::Mutex::new(()));
    let pace = move |request: Request, next: Next| {
        let free = free.clone();
        async move {
            let (head, body) = next.run(request).await.into_parts();
            let body = body.into_data_stream().then(move |part| {
                let free = free.clone();
                async move {
                    let length = part.as_ref().map_or(0, Bytes::len);
                    let line = free.lock().await;
                    tokio::time::sleep(Duration::from_secs_f64(length as f64 / bytes_per_second)).await;
                    drop(line);
                    part
                }
            });
            axum::response::Response::from_parts(head, Body::from_stream(body))
        }
    };
    Ok(xtask::serve::router(&tools.site)?.layer(middleware::from_fn(pace)))
}

/// The site, with `answer` in place of the program's file `name`.
///
/// # Errors
/// The site was not built.
pub fn instead_of(tools: &Tools, name: &str, answer: Instead) -> Result<Router> {
    let file = std::fs::read(tools.versioned(name)?)?;
    let (status, kind, body) = match answer {
        Instead::Nothing => (StatusCode::NOT_FOUND, "text/plain", Vec::new()),
        Instead::Page => (StatusCode::OK, "text/html", b"<!doctype html><title>Welcome</title>".to_vec()),
        Instead::OtherType => (StatusCode::OK, "application/octet-stream", file),
        Instead::Garbage => (StatusCode::OK, "text/javascript", b"<!doctype html><title>Welcome</title>".to_vec()),
        Instead::After(script) => (StatusCode::OK, "text/javascript", [script.as_bytes(), &file].concat()),
    };
    let answer = move || async move { (status, [(header::CONTENT_TYPE, kind)], body.clone()) };
    let path = format!("/{}/{name}", tools.build()?);
    Ok(Router::new().route(&path, any(answer)).fallback_service(xtask::serve::router(&tools.site)?))
}

/// The site, with `script` before its service worker's own script.
///
/// # Errors
/// The site was not built.
pub fn keeper_after(tools: &Tools, script: &str) -> Result<Router> {
    let keeper = format!("{script}\n{}", std::fs::read_to_string(tools.site.join("keeper.js"))?);
    let answer = any(move || async move { ([(header::CONTENT_TYPE, "text/javascript")], keeper) });
    Ok(Router::new().route("/keeper.js", answer).fallback_service(xtask::serve::router(&tools.site)?))
}

/// What a server sends instead of a file.
#[derive(Clone, Copy, Debug)]
pub enum Instead {
    /// Status 404.
    Nothing,
    /// A web page, as hosts of single-page applications do.
    Page,
    /// The file with the MIME type of unknown files.
    OtherType,
    /// A web page with the MIME type of a script.
    Garbage,
    /// The script, with another one before it.
    After(&'static str),
}

/// Two versions of the site, which differ in title and directory, and the number of the version that is served: 0 or
/// 1, and neither for any other number.
///
/// # Errors
/// The site was not built, or `directory` cannot be written.
pub fn two_versions(tools: &Tools, directory: &Path) -> Result<(Router, Arc<AtomicUsize>)> {
    let (build, next) = (tools.build()?, "build/0123456789abcdef");
    let _ = std::fs::remove_dir_all(directory);
    copy_directory(&tools.site.join(&build), &directory.join(next))?;
    copy_directory(&tools.site.join("models"), &directory.join("models"))?;
    std::fs::copy(tools.site.join("keeper.js"), directory.join("keeper.js"))?;
    let page = std::fs::read_to_string(tools.site.join("index.html"))?;
    let page = page.replace(&build, next).replace("<title>Moescope", "<title>New Moescope");
    std::fs::write(directory.join("index.html"), page)?;

    let served = Arc::new(AtomicUsize::new(0));
    let which = served.clone();
    let close = || SetResponseHeaderLayer::overriding(header::CONNECTION, HeaderValue::from_static("close"));
    let versions = [site(tools)?.layer(close()), xtask::serve::router(directory)?.layer(close())];
    let old = format!("/{build}/");
    let choose = move |request: Request| {
        // Hosts of single-page applications answer so for files that no longer exist.
        let is_gone = which.load(Ordering::SeqCst) == 1 && request.uri().path().starts_with(&old);
        let version = versions.get(which.load(Ordering::SeqCst)).cloned();
        async move {
            match version.filter(|_| !is_gone) {
                None if is_gone => Html("<!doctype html><title>Welcome</title>").into_response(),
                Some(version) => version.oneshot(request).await.expect("it never fails"),
                None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
            }
        }
    };
    Ok((Router::new().fallback(choose), served))
}

fn copy_directory(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_directory(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// The site in a frame with `sandbox="allow-scripts"`, at `/frame`, with or without CORS headers for any origin.
///
/// # Errors
/// The site was not built.
pub fn sandboxed(tools: &Tools, allowed: bool) -> Result<Router> {
    let frame =
        "<!doctype html><title>Frame</title><iframe sandbox=\"allow-scripts\" src=\"/\" width=\"900\" height=\"700\">";
    Ok(Router::new()
        .route("/frame", any(move || async move { Html(frame) }))
        .fallback_service(other_origin(tools, allowed)?))
}

/// Hosts with unusual behaviour, each with the main model. `/keyed/` serves files only for requests with `?k=1`.
/// `/forbidding/` answers 403 for missing files and has the weights in shards. `/pages/` answers with a web page for
/// missing files and has no tokenizer. `/waiting/` never ends its weights. `/begun/` has a tokenizer that puts a token
/// before the text. `/gguf/` has a small Mixtral as a GGUF file, whole and without its end.
///
/// # Errors
/// The site was not built.
pub fn hosts(tools: &Tools) -> Result<Router> {
    let main = tools.model("main");
    let read = |name: &str| std::fs::read(main.join(name)).with_context(|| format!("{}: no {name}", main.display()));
    let (config, weights, tokenizer) = (read("config.json")?, read("model.safetensors")?, read("tokenizer.json")?);
    let file = |bytes: &[u8]| {
        let bytes = Bytes::copy_from_slice(bytes);
        any(move || async move { bytes.clone() })
    };
    let forbidden = || any(|| async { StatusCode::FORBIDDEN });
    let page = || any(|| async { Html("<!doctype html><title>Welcome</title>") });
    let keyed = |bytes: &[u8]| {
        let bytes = Bytes::copy_from_slice(bytes);
        any(move |request: Request| async move {
            let has_key = request.uri().query() == Some("k=1");
            if has_key { Ok(bytes.clone()) } else { Err(StatusCode::FORBIDDEN) }
        })
    };
    let half = Bytes::copy_from_slice(&weights[..weights.len() / 2]);
    let waiting = any(move || async move {
        let stream = futures_util::stream::iter([Ok::<_, std::io::Error>(half.clone())]);
        Body::from_stream(stream.chain(futures_util::stream::pending()))
    });
    let with_shards = |missing: &dyn Fn() -> axum::routing::MethodRouter| -> Result<Router> {
        let sharded = shards(&weights)?.route("/config.json", file(&config)).route("/model.safetensors", missing());
        Ok(sharded)
    };
    let gguf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../gguf/mixtral.gguf");
    let gguf = std::fs::read(&gguf).with_context(|| format!("there is no {}", gguf.display()))?;
    let half_gguf = file(&gguf[..gguf.len() / 2]);
    Ok(site(tools)?
        .nest("/gguf", Router::new().route("/mixtral.gguf", file(&gguf)).route("/half.gguf", half_gguf))
        .nest(
            "/keyed",
            Router::new()
                .route("/config.json", keyed(&config))
                .route("/model.safetensors", keyed(&weights))
                .route("/tokenizer.json", keyed(&tokenizer)),
        )
        .nest("/forbidding", with_shards(&forbidden)?.route("/tokenizer.json", file(&tokenizer)))
        .nest("/pages", with_shards(&page)?.route("/tokenizer.json", page()))
        .nest(
            "/waiting",
            Router::new()
                .route("/config.json", file(&config))
                .route("/model.safetensors", waiting)
                .route("/tokenizer.json", file(&tokenizer)),
        )
        .nest(
            "/begun",
            Router::new()
                .route("/config.json", file(&config))
                .route("/model.safetensors", file(&weights))
                .route("/tokenizer.json", file(&with_first_token(&tokenizer)?)),
        ))
}

/// A tokenizer that puts its special token before every text.
fn with_first_token(tokenizer: &[u8]) -> Result<Vec<u8>> {
    let mut tokenizer: Value = serde_json::from_slice(tokenizer)?;
    let special = tokenizer["added_tokens"][0].clone();
    let (name, id) = (special["content"].clone(), special["id"].clone());
    let (first, text) = (
        json!({ "SpecialToken": { "id": name, "type_id": 0 } }),
        |id| json!({ "Sequence": { "id": id, "type_id": 0 } }),
    );
    let key = name.as_str().context("the special token has a name")?;
    tokenizer["post_processor"] = json!({
        "type": "TemplateProcessing",
        "single": [first, text("A")],
        "pair": [first, text("A"), text("B")],
        "special_tokens": { key: { "id": name, "ids": [id], "tokens": [name] } },
    });
    Ok(tokenizer.to_string().into_bytes())
}

/// The site with a recording of the main model's training, and the recording. The last snapshot is the model itself on
/// the first example; in earlier ones all experts have other numbers.
///
/// # Errors
/// The site was not built, or the model cannot be run.
pub fn recorded(tools: &Tools) -> Result<(Router, Value)> {
    let recording = recording(tools)?;
    let text = recording.to_string();
    Ok((with_recording(tools, text)?, recording))
}

/// The site with a truncated recording.
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

/// Number of snapshots in the recording.
const SNAPSHOTS: usize = 4;

fn recording(tools: &Tools) -> Result<Value> {
    let examples = std::fs::read_to_string(tools.versioned("examples.json")?)?;
    let examples: Vec<Value> = serde_json::from_str(&examples)?;
    let text = examples[0]["text"].as_str().context("the first example has a text")?;
    let trace = crate::cli::trace(tools, "main", text, "cpu")?;
    let experts = trace.layers[0].balance.load.len();
    let snapshots: Vec<Value> = (0..SNAPSHOTS).map(|snapshot| recorded_snapshot(&trace, snapshot, experts)).collect();
    let tokens = trace.tokens.iter().map(|token| json!({ "id": token.id, "text": token.text, "bytes": null }));
    Ok(json!({
        "schema": 1,
        "experts": experts,
        "top_k": trace.layers[0].selected[0].len(),
        "layers": trace.layers.iter().map(|layer| layer.layer).collect::<Vec<_>>(),
        "texts": [{
            "id": examples[0]["id"],
            "label": examples[0]["label"],
            "tokens": tokens.collect::<Vec<_>>(),
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
