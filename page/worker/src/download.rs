//! The download of a file: it goes on while more is wanted, and is resumed where its connection breaks.

use super::arriving::Arriving;
use super::clock::{breathe, now};
use super::missing::Missing;
use super::ranges::Ranges;
use super::request::{self, Access, BROKEN, CHANGED, content_range, header};
use js_sys::{Reflect, Uint8Array};
use moescope::error::{Error, Result};
use moescope::model::files::all_of;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{ReadableStreamDefaultReader, Response};

/// How many times the download of a file is resumed after its connection breaks.
const RESUMES: usize = 3;

/// While a file is downloaded, the worker handles messages from the page at least this often.
const BREATH_MS: f64 = 30.0;

/// A server's answer whose body has not been read.
pub struct Answer {
    access: Access,
    /// The file's name in messages.
    label: String,
    /// Size of the file in bytes, where it is known.
    pub total: Option<u64>,
    version: Option<String>,
    /// `None` where the answer has no body, or its connection was closed while nothing was wanted.
    reader: Option<Reader>,
    is_closed: bool,
    /// Bytes at the beginning of the body that are here already.
    skip: u64,
    /// How many times the download may still be resumed.
    resumes: usize,
}

impl Answer {
    /// Requests a file, unless worker.js has already requested it.
    ///
    /// # Errors
    /// The address cannot be reached, or its server fails.
    pub async fn to(access: Access, label: &str) -> Result<std::result::Result<Self, Missing>> {
        let begun = request::begun().get(&JsValue::from_str(&access.url));
        Self::of(access, label, begun).await
    }

    /// The answer for a file; `begun` is the promise of that answer where it has been requested.
    ///
    /// # Errors
    /// As [`Self::to`].
    pub async fn of(access: Access, label: &str, begun: JsValue) -> Result<std::result::Result<Self, Missing>> {
        let unreachable = |_| Error::read(label, unreadable(&access));
        let response = access.answer(begun).await.map_err(unreachable)?;
        if let Some(missing) = Missing::from_response(&response, &access.url, access.has_token()) {
            return Ok(Err(missing));
        }
        if !response.ok() {
            let why = format!("the server answers {} {}", response.status(), response.status_text());
            return Err(Error::read(label, why));
        }
        Ok(Ok(Self {
            access,
            label: label.to_owned(),
            total: length(&response),
            version: header(&response, "etag"),
            reader: Reader::new(&response),
            is_closed: false,
            skip: 0,
            resumes: RESUMES,
        }))
    }

    /// The same file, to be read range by range; `None` where its size is not known, or its server does not support
    /// ranges.
    pub async fn ranges(&self) -> Option<Ranges> {
        let size = self.total?;
        let response = self.access.range(0..1, self.version.as_deref()).await.ok()?;
        let is_range = response.status() == 206 && content_range(&response).is_none_or(|(_, whole)| whole == size);
        is_range.then(|| Ranges::new(self.access.clone(), &self.label, size, self.version.clone()))
    }

    /// Appends the body to `content`, chunk by chunk, as far as more is wanted, and calls `come` with the size of each
    /// chunk in bytes. With `alone`, the connection stays open while nothing is wanted: browsers have few of them.
    ///
    /// # Errors
    /// The connection breaks too often, or the file changes.
    pub async fn read(mut self, content: &Arriving, alone: bool, come: &dyn Fn(u64)) -> Result<()> {
        let mut breathed = now();
        loop {
            let close = || {
                if !alone {
                    (self.reader, self.is_closed) = (None, true);
                }
            };
            if !content.wants_more(close).await {
                return Ok(());
            }
            let Some(part) = self.next(content.size()).await? else { break };
            let bytes = u64::from(part.length());
            content.push(part);
            come(bytes);
            if now() - breathed > BREATH_MS {
                breathe().await;
                breathed = now();
            }
        }
        content.end();
        Ok(())
    }

    /// The whole body, for small files.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub async fn whole(self) -> Result<Vec<u8>> {
        let content = Arriving::default();
        content.set_flow(super::arriving::Flow::Whole);
        self.read(&content, true, &|_| {}).await?;
        Ok(all_of(&content).await?.into_owned())
    }

    /// The version of the file, where its server says it.
    pub fn version(&self) -> Option<String> {
        self.version.clone()
    }

    /// Leaves out the bytes that are here already: the next chunk is asked for from there on.
    pub fn leave_out_first(&mut self) {
        (self.reader, self.is_closed) = (None, true);
    }

    /// The next chunk, which starts at byte `at`; `None` at the end. Resumes the download where the connection breaks.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub async fn next(&mut self, at: u64) -> Result<Option<Uint8Array>> {
        loop {
            if !self.is_closed {
                let Some(reader) = &self.reader else { return Ok(None) };
                if let Ok(part) = JsFuture::from(reader.0.read()).await {
                    let field = |key: &str| Reflect::get(&part, &JsValue::from_str(key)).unwrap_or(JsValue::UNDEFINED);
                    if !field("done").is_falsy() {
                        return Ok(None);
                    }
                    let part: Uint8Array = field("value").unchecked_into();
                    let skipped = self.skip.min(part.length().into());
                    self.skip -= skipped;
                    if skipped < part.length().into() {
                        return Ok(Some(part.subarray(skipped as u32, part.length())));
                    }
                    continue;
                }
                let why = if self.access.is_opened() { CHANGED } else { BROKEN };
                self.resumes = self.resumes.checked_sub(1).ok_or_else(|| Error::read(&self.label, why))?;
            }
            self.reopen(at).await?;
        }
    }

    /// Requests the body from the byte `at` on; from its beginning where the server ignores that, and skips the bytes
    /// before `at`.
    async fn reopen(&mut self, at: u64) -> Result<()> {
        let broken = || Error::read(&self.label, if self.access.is_opened() { CHANGED } else { BROKEN });
        let response = self.access.rest(at, self.version.as_deref()).await.map_err(|_| broken())?;
        let same_version = self.version.is_some() && header(&response, "etag") == self.version;
        let (skip, same_size) = match response.status() {
            206 => (0, content_range(&response).is_some_and(|(first, size)| first == at && Some(size) == self.total)),
            200 => (at, self.version.is_none() && self.total.is_some() && length(&response) == self.total),
            _ => return Err(broken()),
        };
        if !same_version && !same_size {
            return Err(broken());
        }
        self.reader = Some(Reader::new(&response).ok_or_else(broken)?);
        (self.skip, self.is_closed) = (skip, false);
        Ok(())
    }
}

/// The size of the file in bytes, where the answer says it: the length of a compressed answer is not the file's.
fn length(response: &Response) -> Option<u64> {
    let length = header(response, "content-length").filter(|_| header(response, "content-encoding").is_none());
    length.and_then(|n| n.parse().ok())
}

/// Why the browser gets no answer from an address.
fn unreadable(access: &Access) -> &'static str {
    if access.is_opened() {
        return CHANGED;
    }
    "the address cannot be reached: it may be misspelt, offline, or its server may not let other sites read it (CORS)"
}

/// Reads the body of an answer, and closes the connection on drop.
struct Reader(ReadableStreamDefaultReader);

impl Reader {
    fn new(response: &Response) -> Option<Self> {
        Some(Self(response.body()?.get_reader().unchecked_into()))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // Cancelling a stream that failed gives another rejected promise, which has to be handled.
        drop(JsFuture::from(self.0.cancel()));
    }
}
