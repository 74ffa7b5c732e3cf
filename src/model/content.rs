//! The contents of files, wherever they are stored, and the files of a model.

use crate::error::Result;
use futures::FutureExt;
use futures::future::{LocalBoxFuture, ready};
use std::borrow::Cow;
use std::ops::Range;
use std::rc::Rc;

/// The shared contents of a file: in memory, mapped, outside of WebAssembly memory, still arriving, or read from a
/// disk or a server range by range.
pub type Bytes = Rc<dyn Content>;

/// The contents of a file. Offsets have 64 bits also where addresses have 32.
pub trait Content {
    /// Waits until the bytes before `end` or all bytes of the file can be read; returns how many can.
    fn arrived(&self, end: u64) -> LocalBoxFuture<'_, u64>;

    /// The bytes in `range`, which must have arrived; copied where they are not in the program's memory.
    ///
    /// # Errors
    /// They cannot be read any more, because the file changed or its server does not answer.
    fn read(&self, range: Range<u64>) -> LocalBoxFuture<'_, Result<Cow<'_, [u8]>>>;

    /// As [`Self::read`], for the last time: the memory of these bytes may be freed.
    ///
    /// # Errors
    /// As [`Self::read`].
    fn take(&self, range: Range<u64>) -> LocalBoxFuture<'_, Result<Cow<'_, [u8]>>> {
        self.read(range)
    }
}

/// The result of a future that only waits for complete files.
pub(crate) fn at_once<T>(waiting: impl Future<Output = T>) -> T {
    waiting.now_or_never().expect("complete files never make a caller wait")
}

impl<T: AsRef<[u8]>> Content for T {
    fn arrived(&self, _: u64) -> LocalBoxFuture<'_, u64> {
        ready(self.as_ref().len() as u64).boxed_local()
    }

    fn read(&self, range: Range<u64>) -> LocalBoxFuture<'_, Result<Cow<'_, [u8]>>> {
        // What has arrived is in memory, so its offsets are addresses.
        ready(Ok(Cow::Borrowed(&self.as_ref()[range.start as usize..range.end as usize]))).boxed_local()
    }
}

/// All bytes of a file that has arrived; a file in memory is not copied.
///
/// # Errors
/// As [`Content::read`].
pub async fn all_of(content: &dyn Content) -> Result<Cow<'_, [u8]>> {
    let size = content.arrived(u64::MAX).await;
    content.read(0..size).await
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
