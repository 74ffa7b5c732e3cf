//! What a file holds, wherever it is, and the files of a model.

use futures::FutureExt;
use futures::future::{LocalBoxFuture, ready};
use std::borrow::Cow;
use std::ops::Range;
use std::rc::Rc;

/// A file's content, shared: in memory, mapped, outside of this program's memory, or still arriving.
pub type Bytes = Rc<dyn Content>;

/// What a file holds.
pub trait Content {
    /// Waits until the bytes before `end` are there, or the file's last: how many are there.
    fn arrived(&self, end: usize) -> LocalBoxFuture<'_, usize>;

    /// The bytes in `range`, which have arrived: copied where they are not in this program's memory.
    fn read(&self, range: Range<usize>) -> Cow<'_, [u8]>;

    /// As [`Self::read`], for the last time: their memory may be used for something else.
    fn take(&self, range: Range<usize>) -> Cow<'_, [u8]> {
        self.read(range)
    }
}

/// The result of a future that waits for nothing but complete files.
pub(crate) fn at_once<T>(waiting: impl Future<Output = T>) -> T {
    waiting.now_or_never().expect("complete files never make a caller wait")
}

impl<T: AsRef<[u8]>> Content for T {
    fn arrived(&self, _: usize) -> LocalBoxFuture<'_, usize> {
        ready(self.as_ref().len()).boxed_local()
    }

    fn read(&self, range: Range<usize>) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.as_ref()[range])
    }
}

/// The files of a model directory.
pub struct ModelFiles {
    /// The directory's name, or the file's.
    pub name: String,
    /// `config.json`.
    pub config: Vec<u8>,
    /// `tokenizer.json`, where there is one.
    pub tokenizer: Option<Vec<u8>>,
    /// `generation_config.json`, where there is one.
    pub generation: Option<Vec<u8>>,
    /// (name, content) of `model.safetensors`, or of each shard; or of each GGUF file of the model.
    pub weights: Vec<(String, Bytes)>,
}
