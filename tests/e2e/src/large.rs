//! A server with a file of more than 4 GB, which answers with ranges of it or not, and with a model that needs a token.

use crate::server::site;
use crate::tools::Tools;
use anyhow::{Context, Result};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use futures_util::StreamExt;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Bytes of a tensor that nothing needs, before those of the model.
pub const PADDING: u64 = 5_000_000_000;

/// Bytes of zeros that are sent at once.
const ZEROS: usize = 1 << 20;

/// The main model's weights with a tensor of [`PADDING`] bytes before them: the header, and the bytes after the
/// padding.
///
/// # Errors
/// The site has no main model.
pub fn padded(tools: &Tools) -> Result<(Bytes, Bytes)> {
    let file = std::fs::read(tools.model("main").join("model.safetensors"))?;
    let length = u64::from_le_bytes(*file.first_chunk().context("the file has a header")?) as usize;
    let mut header: Value = serde_json::from_slice(&file[8..8 + length])?;
    let tensors = header.as_object_mut().context("the header is an object")?;
    for (_, tensor) in tensors.iter_mut().filter(|(name, _)| *name != "__metadata__") {
        let places = tensor["data_offsets"].as_array_mut().context("a tensor has a place")?;
        places.iter_mut().for_each(|place| *place = json!(place.as_u64().unwrap_or(0) + PADDING));
    }
    let padding = json!({ "dtype": "U8", "shape": [2, PADDING / 2], "data_offsets": [0, PADDING] });
    tensors.insert("a.padding".into(), padding);
    let header = header.to_string().into_bytes();
    let head = [&(header.len() as u64).to_le_bytes()[..], &header].concat();
    Ok((Bytes::from(head), Bytes::from(file[8 + length..].to_vec())))
}

/// What was asked of the large file.
#[derive(Default)]
pub struct Asked {
    /// The ranges of it that were sent: first byte and number of bytes.
    pub ranges: Mutex<Vec<(u64, u64)>>,
    /// When its beginning was sent last.
    pub begun: Mutex<Option<Instant>>,
    /// Its version: ETag and size differ with it.
    pub version: AtomicUsize,
}

/// The site, and the main model in a file of more than 4 GB: `/large` answers with ranges of it, `/plain` does not.
/// `/gated` has the main model for those who send the token `secret`.
///
/// # Errors
/// The site was not built.
pub fn large(tools: &Tools) -> Result<(Router, Arc<Asked>)> {
    let asked = Arc::<Asked>::default();
    let (head, tail) = padded(tools)?;
    let mut router = Router::new();
    for (place, ranges) in [("large", true), ("plain", false)] {
        let (head, tail, asked) = (head.clone(), tail.clone(), asked.clone());
        let answer = any(move |headers: HeaderMap| {
            let (head, tail, asked) = (head.clone(), tail.clone(), asked.clone());
            async move { answer(&headers, &head, &tail, &asked, ranges) }
        });
        router = router.route(&format!("/{place}/model.safetensors"), answer);
    }
    let main = tools.model("main");
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        let content = Bytes::from(std::fs::read(main.join(name))?);
        for place in ["large", "plain"].into_iter().filter(|_| name != "model.safetensors") {
            let content = content.clone();
            router = router.route(&format!("/{place}/{name}"), any(|| async { content }));
        }
        let gated = move |request: Request| async move {
            let token = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
            match token {
                Some("Bearer secret") => Ok(content),
                Some(_) => Err(StatusCode::FORBIDDEN),
                None => Err(StatusCode::UNAUTHORIZED),
            }
        };
        router = router.route(&format!("/gated/{name}"), any(gated));
    }
    Ok((router.fallback_service(site(tools)?), asked))
}

fn answer(headers: &HeaderMap, head: &Bytes, tail: &Bytes, asked: &Asked, ranges: bool) -> Response {
    let version = asked.version.load(Ordering::SeqCst);
    let size = head.len() as u64 + PADDING + tail.len() as u64;
    let etag = format!("\"version-{version}\"");
    let of = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let same = of(header::IF_RANGE).is_none_or(|wanted| wanted == etag);
    let range = of(header::RANGE).filter(|_| ranges && same).and_then(|range| parse(range, size));
    let Some((first, end)) = range else {
        *asked.begun.lock().expect("no panic holds it") = Some(Instant::now());
        let zeros = std::iter::repeat_n(Bytes::from(vec![0; ZEROS]), (PADDING as usize).div_ceil(ZEROS));
        let pieces = std::iter::once(head.clone()).chain(zeros).map(Ok::<_, std::io::Error>);
        let body = Body::from_stream(futures_util::stream::iter(pieces).boxed());
        let headers = [(header::ETAG, etag), (header::CONTENT_LENGTH, size.to_string())];
        return (headers, body).into_response();
    };
    asked.ranges.lock().expect("no panic holds it").push((first, end - first));
    let byte = |at: u64| match at.checked_sub(head.len() as u64) {
        None => head[at as usize],
        Some(at) => at.checked_sub(PADDING).map_or(0, |at| tail[at as usize]),
    };
    let body: Vec<u8> = (first..end).map(byte).collect();
    let place = format!("bytes {first}-{}/{size}", end - 1);
    (StatusCode::PARTIAL_CONTENT, [(header::ETAG, etag), (header::CONTENT_RANGE, place)], body).into_response()
}

fn parse(range: &str, size: u64) -> Option<(u64, u64)> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let end = last.parse::<u64>().map_or(size, |last| last + 1);
    Some((first.parse().ok()?, end.min(size)))
}
