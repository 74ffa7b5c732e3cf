//! A file that is read range by range: opened by the visitor, or on a server that supports ranges. Nothing of it is in
//! memory but the range that was read last.

use super::request::{self, Access};
use gloo_timers::future::TimeoutFuture;
use js_sys::{ArrayBuffer, Uint8Array};
use moescope::error::{Error, Result};
use std::cell::{Cell, RefCell};
use std::ops::Range;
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::JsFuture;
use web_sys::Response;

/// Bytes that are read at once where less is asked for: the tensors of a layer are neighbours.
const AT_ONCE: u64 = 8 << 20;

/// How many times a range is asked for again where the connection breaks, and the time before each, in milliseconds.
const AGAIN: [u32; 3] = [200, 1000, 3000];

/// A file that is read range by range.
pub struct Ranges {
    access: Access,
    /// The file's name in messages.
    label: String,
    size: u64,
    version: Option<String>,
    /// The bytes that were read last, and where they begin.
    last: RefCell<Option<(u64, Uint8Array)>>,
    reads_ahead: Cell<bool>,
}

impl Ranges {
    /// The file at an address, which has `size` bytes; `version` is its ETag, where that is known.
    pub fn new(access: Access, label: &str, size: u64, version: Option<String>) -> Self {
        let label = label.to_owned();
        Self { access, label, size, version, last: RefCell::default(), reads_ahead: Cell::new(true) }
    }

    /// Reads no more than is asked for from now on.
    pub fn read_exactly(&self) {
        self.reads_ahead.set(false);
        self.last.take();
    }

    /// Bytes of the file.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The bytes in `range`, copied into WebAssembly memory.
    ///
    /// # Errors
    /// The file changed, its server does not answer, or does not support ranges.
    pub async fn read(&self, range: Range<u64>) -> Result<Vec<u8>> {
        if let Some(bytes) = self.kept(&range) {
            return Ok(bytes);
        }
        let ahead = if self.reads_ahead.get() { AT_ONCE } else { 0 };
        let end = range.end.max(range.start.saturating_add(ahead)).min(self.size);
        let bytes = self.fetched(range.start..end).await?;
        let length = range.end - range.start;
        if u64::from(bytes.length()) < length {
            return Err(Error::read(&self.label, "its server sends less than was asked for; try again"));
        }
        let wanted = bytes.subarray(0, length as u32).to_vec();
        *self.last.borrow_mut() = (end > range.end).then_some((range.start, bytes));
        Ok(wanted)
    }

    /// The bytes in `range`, where they were read before.
    fn kept(&self, range: &Range<u64>) -> Option<Vec<u8>> {
        let last = self.last.borrow();
        let (start, bytes) = last.as_ref()?;
        let from = range.start.checked_sub(*start)?;
        let to = range.end - start;
        (to <= u64::from(bytes.length())).then(|| bytes.subarray(from as u32, to as u32).to_vec())
    }

    async fn fetched(&self, range: Range<u64>) -> Result<Uint8Array> {
        let mut waits = AGAIN.into_iter();
        loop {
            match self.access.range(range.clone(), self.version.as_deref()).await {
                Ok(response) => {
                    self.check(&response, &range)?;
                    if let Some(bytes) = body(&response).await {
                        return Ok(bytes);
                    }
                }
                Err(_) if self.access.is_opened() => return Err(Error::read(&self.label, request::CHANGED)),
                Err(_) => {}
            }
            match waits.next() {
                Some(wait) => TimeoutFuture::new(wait).await,
                None => return Err(Error::read(&self.label, request::BROKEN)),
            }
        }
    }

    /// Returns an error for an answer that is not the range of the file that was opened.
    fn check(&self, response: &Response, range: &Range<u64>) -> Result<()> {
        let why = match (response.status(), request::content_range(response)) {
            (206, Some((first, size))) if first == range.start && size == self.size => return Ok(()),
            // Another site's `Content-Range` is hidden unless its server allows it.
            (206, None) => return Ok(()),
            (200 | 206 | 412 | 416, _) => {
                "it changed while it was read, or its server does not support ranges any more; open it again".into()
            }
            (status, _) => format!("the server answers {status} for a part of it; try again"),
        };
        Err(Error::read(&self.label, why))
    }
}

async fn body(response: &Response) -> Option<Uint8Array> {
    let buffer: ArrayBuffer = JsFuture::from(response.array_buffer().ok()?).await.ok()?.dyn_into().ok()?;
    Some(Uint8Array::new(&buffer))
}
