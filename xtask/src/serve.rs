//! Serves the site on this machine over HTTP, as a static host would.

use anyhow::{Context, Result, bail};
use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use tower_http::services::ServeDir;
use tower_http::set_header::SetResponseHeaderLayer;

/// Listens on the loopback address only.
///
/// # Errors
/// The port is in use, or this user may not use it.
pub fn bind(port: u16) -> Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => {
            anyhow::anyhow!("port {port} is taken by another program: end that one, or choose another with --port")
        }
        ErrorKind::PermissionDenied => {
            anyhow::anyhow!("port {port} needs administrator rights: choose one above 1023 with --port")
        }
        _ => anyhow::anyhow!("cannot listen on port {port}: {error}"),
    })
}

/// Serves a site until Ctrl-C.
///
/// # Errors
/// The directory holds no site, or the network fails.
pub fn run(listener: TcpListener, directory: &Path) -> Result<()> {
    let router = router(directory)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        println!("Moescope is at http://localhost:{}/ (Ctrl-C ends it)", address.port());
        tokio::select! {
            served = async { axum::serve(listener, router).await } => served.context("the server failed"),
            _ = tokio::signal::ctrl_c() => Ok(()),
        }
    })
}

/// A router for the site in `directory`: MIME types, compressed copies, ranges, ETags, and the headers below.
///
/// # Errors
/// The directory holds no site.
pub fn router(directory: &Path) -> Result<Router> {
    let policy = content_security_policy(directory)?;
    let files = ServeDir::new(directory).precompressed_br().precompressed_gzip();
    let fixed = |name: HeaderName, value: HeaderValue| SetResponseHeaderLayer::overriding(name, value);
    Ok(Router::new()
        .fallback_service(files)
        .layer(fixed(header::CONTENT_SECURITY_POLICY, policy))
        .layer(fixed(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")))
        .layer(fixed(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")))
        .layer(middleware::from_fn(cache_control)))
}

/// Files in `build/` never change, because their address contains a hash of them. All other files must be revalidated
/// at each request: a 304 is cheap here, and a new build is visible at once.
async fn cache_control(request: Request, next: Next) -> Response {
    let is_versioned = request.uri().path().contains("/build/");
    let mut response = next.run(request).await;
    let is_there = !response.status().is_client_error() && !response.status().is_server_error();
    let rule = if is_versioned && is_there { "public, max-age=31536000, immutable" } else { "no-cache" };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(rule));
    response
}

/// The policy from the `<meta>` of index.html, as a header, so that it also holds for the worker.
fn content_security_policy(directory: &Path) -> Result<HeaderValue> {
    let path = directory.join("index.html");
    let Ok(page) = fs::read_to_string(&path) else {
        bail!("{} is not there: build the site first, or name another directory with --dist", path.display());
    };
    let policy = page
        .split_once("http-equiv=\"Content-Security-Policy\"")
        .and_then(|(_, rest)| rest.split_once("content=\""))
        .and_then(|(_, rest)| rest.split_once('"'))
        .map(|(policy, _)| policy.split_whitespace().collect::<Vec<_>>().join(" "))
        .with_context(|| format!("{} states no Content-Security-Policy", path.display()))?;
    HeaderValue::from_str(&policy).with_context(|| format!("{}: its policy is no header", path.display()))
}
