//! The contents of files, wherever they are stored, and the files of a model.

use futures::FutureExt;
use futures::future::{LocalBoxFuture, ready};
use std::borrow::Cow;
use std::ops::Range;
use std::rc::Rc;

/// The shared contents of a file: in memory, mapped, outside of WebAssembly memory, or still arriving.
pub type Bytes = Rc<dyn Content>;

/// The contents of a file.
pub trait Content {
    /// Waits until the bytes before `end` or all bytes of the file are there; returns how many are there.
    fn arrived(&self, end: usize) -> LocalBoxFuture<'_, usize>;

    /// The bytes in `range`, which must have arrived; copied where they are not in the program's memory.
    fn read(&self, range: Range<usize>) -> Cow<'_, [u8]>;

    /// As [`Self::read`], for the last time: the memory of these bytes may be freed.
    fn take(&self, range: Range<usize>) -> Cow<'_, [u8]> {
        self.read(range)
    }
}

/// The result of a future that only waits for complete files.
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
    /// The name of the directory or of the file.
    pub name: String,
    /// `config.json`.
    pub config: Vec<u8>,
    /// `tokenizer.json`, where there is one.
    pub tokenizer: Option<Vec<u8>>,
    /// `generation_config.json`, where there is one.
    pub generation: Option<Vec<u8>>,
    /// What the files say about conversations, as `tokenizer_config.json` has it: `chat_template`, `bos_token` and
    /// `eos_token`.
    pub chat: Option<Vec<u8>>,
    /// (name, content) of `model.safetensors`, or of each shard; or of each GGUF file of the model.
    pub weights: Vec<(String, Bytes)>,
}
