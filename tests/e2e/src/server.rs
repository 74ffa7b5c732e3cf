//! The site as a static host would serve it, and hosts that go wrong, each on a free port of this machine.

use crate::tools::Tools;
use anyhow::{Context, Result};
use axum::Router;
use axum::http::{HeaderValue, header};
use axum::response::Html;
use axum::routing::any;
use std::path::Path;
use tokio::task::JoinHandle;
use tower_http::set_header::SetResponseHeaderLayer;

/// A server that ends when dropped.
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

    /// An address on this server; `path` starts with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("http://localhost:{}{path}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The path below which [`site`] serves the same site again.
pub const SUB_PATH: &str = "/some/sub-path";

/// The site at `/` and once more in a sub-path, beside models that cannot be loaded:
/// `/broken/html` answers every request with a page, as hosts of single-page applications do;
/// `/broken/cut` has a weights file that ends in its middle.
///
/// # Errors
/// The site was not built.
pub fn site(tools: &Tools) -> Result<Router> {
    let site = xtask::serve::router(&tools.site)?;
    let page = || async { Html("<!doctype html><title>Welcome</title>") };
    let main = tools.model("main");
    let weights = std::fs::read(main.join("model.safetensors"))
        .with_context(|| format!("the site has no model in {}", main.display()))?;
    let half = weights[..weights.len() / 2].to_vec();
    let mut router = Router::new()
        .nest_service(SUB_PATH, site.clone())
        .route("/broken/html/{*file}", any(page))
        .route("/broken/cut/model.safetensors", any(|| async { half }));
    for name in ["config.json", "tokenizer.json"] {
        let contents = std::fs::read(main.join(name))?;
        router = router.route(&format!("/broken/cut/{name}"), any(|| async { contents }));
    }
    Ok(router.fallback_service(site))
}

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

/// A copy of the site's shell without its program, as after an upload that was cut short.
///
/// # Errors
/// The site was not built, or `directory` cannot be written.
pub fn without_program(tools: &Tools, directory: &Path) -> Result<Router> {
    std::fs::create_dir_all(directory)?;
    for name in ["index.html", "boot.js", "boot.css", "style.css", "moescope.js", "worker.js"] {
        std::fs::copy(tools.site.join(name), directory.join(name))?;
    }
    xtask::serve::router(directory)
}
