//! Tests of the server with a small site.

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use std::path::PathBuf;
use tower::ServiceExt;
use xtask::serve;

const POLICY: &str = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'";

/// A site with one file of each kind; its compressed copies contain marks, to tell them apart.
fn site(name: &str) -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(directory.join("models/main")).unwrap();
    let page = format!(
        "<!doctype html><meta http-equiv=\"Content-Security-Policy\"\n content=\"{}\">",
        POLICY.replace("; ", ";\n  ")
    );
    for (path, contents) in [
        ("index.html", page.as_str()),
        ("boot.js", "0123456789"),
        ("moescope_bg.wasm", "plain"),
        ("moescope_bg.wasm.br", "brotli"),
        ("moescope_bg.wasm.gz", "gzip"),
        ("style.css", "body {}"),
        ("icon.svg", "<svg/>"),
        ("models/index.json", "[]"),
        ("models/main/model.safetensors", "abcdefghij"),
    ] {
        std::fs::write(directory.join(path), contents).unwrap();
    }
    directory
}

async fn get(router: &Router, path: &str, headers: &[(header::HeaderName, &str)]) -> Response<Body> {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

async fn text(response: Response<Body>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

fn header_of<'a>(response: &'a Response<Body>, name: &header::HeaderName) -> &'a str {
    response.headers().get(name).unwrap_or_else(|| panic!("no {name}")).to_str().unwrap()
}

#[tokio::test]
async fn files_have_their_mime_types() {
    let router = serve::router(&site("mime")).unwrap();
    for (path, mime) in [
        ("/", "text/html"),
        ("/boot.js", "text/javascript"),
        ("/moescope_bg.wasm", "application/wasm"),
        ("/style.css", "text/css"),
        ("/icon.svg", "image/svg+xml"),
        ("/models/index.json", "application/json"),
        ("/models/main/model.safetensors", "application/octet-stream"),
    ] {
        let response = get(&router, path, &[]).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert_eq!(header_of(&response, &header::CONTENT_TYPE), mime, "{path}");
    }
    assert_eq!(get(&router, "/models/none/config.json", &[]).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn every_answer_carries_the_policy_that_the_page_states() {
    let router = serve::router(&site("policy")).unwrap();
    for path in ["/", "/boot.js", "/none"] {
        let response = get(&router, path, &[]).await;
        assert_eq!(header_of(&response, &header::CONTENT_SECURITY_POLICY), POLICY, "{path}");
        assert_eq!(header_of(&response, &header::X_CONTENT_TYPE_OPTIONS), "nosniff", "{path}");
        assert_eq!(header_of(&response, &header::REFERRER_POLICY), "no-referrer", "{path}");
        assert_eq!(header_of(&response, &header::CACHE_CONTROL), "no-cache", "{path}");
    }
}

#[tokio::test]
async fn files_of_a_version_may_be_kept_for_ever_and_what_is_missing_not() {
    let directory = site("versioned");
    std::fs::create_dir_all(directory.join("build/0123")).unwrap();
    std::fs::write(directory.join("build/0123/boot.js"), "0123456789").unwrap();
    let router = serve::router(&directory).unwrap();
    let rule = async |path: &str| header_of(&get(&router, path, &[]).await, &header::CACHE_CONTROL).to_owned();
    assert_eq!(rule("/build/0123/boot.js").await, "public, max-age=31536000, immutable");
    for path in ["/build/0123/none.js", "/", "/models/index.json"] {
        assert_eq!(rule(path).await, "no-cache", "{path}");
    }
}

#[tokio::test]
async fn a_known_etag_is_answered_with_304() {
    let router = serve::router(&site("etag")).unwrap();
    let response = get(&router, "/boot.js", &[]).await;
    let etag = header_of(&response, &header::ETAG).to_owned();
    let again = get(&router, "/boot.js", &[(header::IF_NONE_MATCH, &etag)]).await;
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(text(again).await, "");
    let other = get(&router, "/boot.js", &[(header::IF_NONE_MATCH, "\"other\"")]).await;
    assert_eq!(other.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_range_is_answered_with_that_part() {
    let router = serve::router(&site("range")).unwrap();
    let part = get(&router, "/models/main/model.safetensors", &[(header::RANGE, "bytes=2-4")]).await;
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(header_of(&part, &header::CONTENT_RANGE), "bytes 2-4/10");
    assert_eq!(text(part).await, "cde");
    let beyond = get(&router, "/models/main/model.safetensors", &[(header::RANGE, "bytes=20-")]).await;
    assert_eq!(beyond.status(), StatusCode::RANGE_NOT_SATISFIABLE);
}

#[tokio::test]
async fn the_best_encoding_that_the_browser_takes_is_sent() {
    let router = serve::router(&site("encoding")).unwrap();
    for (accepted, encoding, body) in
        [("gzip, br", Some("br"), "brotli"), ("gzip", Some("gzip"), "gzip"), ("identity", None, "plain")]
    {
        let response = get(&router, "/moescope_bg.wasm", &[(header::ACCEPT_ENCODING, accepted)]).await;
        let sent = response.headers().get(header::CONTENT_ENCODING).map(|value| value.to_str().unwrap());
        assert_eq!(sent, encoding, "{accepted}");
        assert_eq!(header_of(&response, &header::CONTENT_TYPE), "application/wasm", "{accepted}");
        assert_eq!(header_of(&response, &header::VARY), "accept-encoding", "{accepted}");
        assert_eq!(text(response).await, body, "{accepted}");
    }
}

#[test]
fn a_taken_port_is_named_with_the_way_out() {
    let first = serve::bind(0).unwrap();
    let port = first.local_addr().unwrap().port();
    let error = serve::bind(port).unwrap_err().to_string();
    assert!(error.contains(&format!("port {port} is taken")) && error.contains("--port"), "{error}");
}

#[test]
fn a_directory_without_a_site_is_named() {
    let error = serve::router("/nowhere".as_ref()).unwrap_err().to_string();
    assert!(error.contains("/nowhere/index.html is not there") && error.contains("--dist"), "{error}");
}
