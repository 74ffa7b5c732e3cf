//! A file that is being downloaded. Its chunks stay in JavaScript buffers, outside of WebAssembly memory (which can
//! only grow). It can be read before the download is complete.

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::LocalBoxFuture;
use js_sys::{Function, Reflect, Uint8Array};
use moescope::model::files::Content;
use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::ops::Range;
use wasm_bindgen::{JsCast, JsValue};

/// A file that is being downloaded.
#[derive(Default)]
pub struct Arriving {
    parts: RefCell<Parts>,
    is_whole: Cell<bool>,
    /// Readers that wait until the first so many bytes are there: that number, and how to wake the reader.
    waiting: RefCell<Vec<(usize, oneshot::Sender<()>)>>,
}

impl Arriving {
    /// Appends the next chunk; `None` where the file becomes larger than an address can count.
    pub fn push(&self, part: Uint8Array) -> Option<()> {
        self.parts.borrow_mut().push(part)?;
        self.wake();
        Some(())
    }

    /// Marks the file as complete.
    pub fn end(&self) {
        self.is_whole.set(true);
        self.wake();
    }

    fn wake(&self) {
        let (size, is_whole) = (self.size(), self.is_whole.get());
        let (here, not_here): (Vec<_>, Vec<_>) =
            self.waiting.take().into_iter().partition(|(end, _)| is_whole || *end <= size);
        self.waiting.replace(not_here);
        for (_, sender) in here {
            let _ = sender.send(());
        }
    }

    /// Bytes downloaded so far.
    pub fn size(&self) -> usize {
        self.parts.borrow().size
    }
}

impl Content for Arriving {
    fn arrived(&self, end: usize) -> LocalBoxFuture<'_, usize> {
        let wait = async move {
            if self.size() < end && !self.is_whole.get() {
                let (sender, receiver) = oneshot::channel();
                self.waiting.borrow_mut().push((end, sender));
                let _ = receiver.await;
            }
            self.size()
        };
        wait.boxed_local()
    }

    fn read(&self, range: Range<usize>) -> Cow<'_, [u8]> {
        Cow::Owned(self.parts.borrow().read(range))
    }

    fn take(&self, range: Range<usize>) -> Cow<'_, [u8]> {
        let bytes = self.parts.borrow().read(range.clone());
        self.parts.borrow_mut().release(range);
        Cow::Owned(bytes)
    }
}

/// The chunks of a file, as they came over the network.
#[derive(Default)]
struct Parts {
    parts: Vec<Part>,
    size: usize,
}

struct Part {
    start: usize,
    /// Bytes of it that are still needed.
    needed: usize,
    /// Empty once no byte is needed.
    bytes: Uint8Array,
}

impl Parts {
    /// See [`Arriving::push`].
    fn push(&mut self, part: Uint8Array) -> Option<()> {
        let start = self.size;
        let needed = part.length() as usize;
        self.size = start.checked_add(needed)?;
        self.parts.push(Part { start, needed, bytes: part });
        Some(())
    }

    /// The chunks that `range` overlaps (by index), and the bytes of each that it covers.
    fn touched(&self, range: Range<usize>) -> impl Iterator<Item = (usize, Range<usize>)> {
        let first = self.parts.partition_point(|part| part.start <= range.start).saturating_sub(1);
        let ends = self.parts[first..].iter().skip(1).map(|part| part.start).chain([self.size]);
        let places = self.parts[first..].iter().zip(ends).enumerate();
        places.take_while(move |(_, (part, _))| part.start < range.end).map(move |(n, (part, end))| {
            (first + n, range.start.max(part.start) - part.start..range.end.min(end) - part.start)
        })
    }

    /// Marks `range` as not needed any more; frees each chunk of which no byte is needed.
    fn release(&mut self, range: Range<usize>) {
        let touched: Vec<_> = self.touched(range).collect();
        for (n, bytes) in touched {
            let part = &mut self.parts[n];
            part.needed -= bytes.len();
            if part.needed == 0 {
                free(&part.bytes);
                part.bytes = Uint8Array::default();
            }
        }
    }

    /// A copy of the bytes in `range`, in WebAssembly memory.
    fn read(&self, range: Range<usize>) -> Vec<u8> {
        let mut read = vec![0; range.len()];
        let mut rest = read.as_mut_slice();
        for (n, bytes) in self.touched(range) {
            let (now, later) = rest.split_at_mut(bytes.len());
            self.parts[n].bytes.subarray(bytes.start as u32, bytes.end as u32).copy_to(now);
            rest = later;
        }
        read
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        for part in &self.parts {
            free(&part.bytes);
        }
    }
}

/// Frees the memory of `bytes` at once. The browser's garbage collector does not run in an idle worker, so a whole
/// model would stay in memory. Browsers without `ArrayBuffer.prototype.transfer` (before 2024) free it when they
/// collect garbage.
fn free(bytes: &Uint8Array) {
    let buffer = bytes.buffer();
    if bytes.byte_length() < buffer.byte_length() {
        // The rest of the buffer may belong to other chunks.
        return;
    }
    let transfer = Reflect::get(&buffer, &JsValue::from_str("transfer"));
    if let Ok(transfer) = transfer.and_then(JsCast::dyn_into::<Function>) {
        // It fails only for memory that the buffer does not own.
        let _ = transfer.call1(&buffer, &JsValue::from(0));
    }
}
