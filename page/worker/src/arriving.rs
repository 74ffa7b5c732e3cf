//! A file that is being downloaded, or read range by range. Chunks of a download stay in JavaScript buffers, outside of
//! WebAssembly memory (which can only grow). It can be read before the download is complete.
//!
//! A download goes on only as far as its readers need ([`Flow::Wanted`]) until it is clear that the whole file is
//! wanted ([`Flow::Whole`]): so a model's header is known before its weights are fetched.

use super::ranges::Ranges;
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::LocalBoxFuture;
use js_sys::{Function, Reflect, Uint8Array};
use moescope::error::Result;
use moescope::model::files::Content;
use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;
use wasm_bindgen::{JsCast, JsValue};

/// How far a file is downloaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flow {
    /// As far as its readers need.
    #[default]
    Wanted,
    /// To its end.
    Whole,
    /// No further.
    Ended,
}

/// A file that is being downloaded, or read range by range.
#[derive(Default)]
pub struct Arriving {
    parts: RefCell<Parts>,
    is_whole: Cell<bool>,
    flow: Cell<Flow>,
    /// Reads the file range by range instead, once that is set.
    ranges: RefCell<Option<Rc<Ranges>>>,
    /// Readers that wait until the first so many bytes are there: that number, and how to wake the reader.
    waiting: RefCell<Vec<(u64, oneshot::Sender<()>)>>,
    /// The download, where it waits until more is wanted.
    paused: RefCell<Option<oneshot::Sender<()>>>,
}

impl Arriving {
    /// Reads the file range by range from now on; the download ends.
    pub fn read_by_ranges(&self, ranges: Ranges) {
        *self.ranges.borrow_mut() = Some(Rc::new(ranges));
        self.is_whole.set(true);
        self.set_flow(Flow::Ended);
        self.wake();
    }

    /// Reads no more than is asked for, where the file is read range by range.
    pub fn read_exactly(&self) {
        self.ranges().into_iter().for_each(|ranges| ranges.read_exactly());
    }

    /// Sets how far the file is downloaded.
    pub fn set_flow(&self, flow: Flow) {
        self.flow.set(flow);
        self.go_on();
    }

    /// Waits until more of the file is wanted; false where no more ever will be. Calls `rest` before it waits.
    pub async fn wants_more(&self, rest: impl FnOnce()) -> bool {
        let mut rest = Some(rest);
        loop {
            let is_wanted = || self.waiting.borrow().iter().any(|(end, _)| *end > self.size());
            match self.flow.get() {
                Flow::Ended => return false,
                Flow::Whole => return true,
                Flow::Wanted if is_wanted() => return true,
                Flow::Wanted => {}
            }
            let (sender, receiver) = oneshot::channel();
            *self.paused.borrow_mut() = Some(sender);
            if let Some(rest) = rest.take() {
                rest();
            }
            let _ = receiver.await;
        }
    }

    fn go_on(&self) {
        if let Some(paused) = self.paused.borrow_mut().take() {
            let _ = paused.send(());
        }
    }

    /// Appends the next chunk.
    pub fn push(&self, part: Uint8Array) {
        self.parts.borrow_mut().push(part);
        self.wake();
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
    pub fn size(&self) -> u64 {
        self.parts.borrow().size
    }

    fn ranges(&self) -> Option<Rc<Ranges>> {
        self.ranges.borrow().clone()
    }
}

impl Content for Arriving {
    fn arrived(&self, end: u64) -> LocalBoxFuture<'_, u64> {
        let wait = async move {
            if self.size() < end && !self.is_whole.get() {
                let (sender, receiver) = oneshot::channel();
                self.waiting.borrow_mut().push((end, sender));
                self.go_on();
                let _ = receiver.await;
            }
            self.ranges().map_or_else(|| self.size(), |ranges| ranges.size())
        };
        wait.boxed_local()
    }

    fn read(&self, range: Range<u64>) -> LocalBoxFuture<'_, Result<Cow<'_, [u8]>>> {
        let read = async move {
            match self.ranges() {
                Some(ranges) => Ok(Cow::Owned(ranges.read(range).await?)),
                None => Ok(Cow::Owned(self.parts.borrow().read(range))),
            }
        };
        read.boxed_local()
    }

    fn take(&self, range: Range<u64>) -> LocalBoxFuture<'_, Result<Cow<'_, [u8]>>> {
        let take = async move {
            let bytes = self.read(range.clone()).await?;
            if self.ranges.borrow().is_none() {
                self.parts.borrow_mut().release(range);
            }
            Ok(bytes)
        };
        take.boxed_local()
    }
}

/// The chunks of a file, as they came over the network.
#[derive(Default)]
struct Parts {
    parts: Vec<Part>,
    size: u64,
}

struct Part {
    start: u64,
    /// Bytes of it that are still needed.
    needed: u64,
    /// Empty once no byte is needed.
    bytes: Uint8Array,
}

impl Parts {
    /// See [`Arriving::push`].
    fn push(&mut self, part: Uint8Array) {
        let (start, needed) = (self.size, u64::from(part.length()));
        self.size += needed;
        self.parts.push(Part { start, needed, bytes: part });
    }

    /// The chunks that `range` overlaps (by index), and the bytes of each that it covers.
    fn touched(&self, range: Range<u64>) -> impl Iterator<Item = (usize, Range<u64>)> {
        let first = self.parts.partition_point(|part| part.start <= range.start).saturating_sub(1);
        let ends = self.parts[first..].iter().skip(1).map(|part| part.start).chain([self.size]);
        let places = self.parts[first..].iter().zip(ends).enumerate();
        places.take_while(move |(_, (part, _))| part.start < range.end).map(move |(n, (part, end))| {
            (first + n, range.start.max(part.start) - part.start..range.end.min(end) - part.start)
        })
    }

    /// Marks `range` as not needed any more; frees each chunk of which no byte is needed.
    fn release(&mut self, range: Range<u64>) {
        let touched: Vec<_> = self.touched(range).collect();
        for (n, bytes) in touched {
            let part = &mut self.parts[n];
            part.needed -= bytes.end - bytes.start;
            if part.needed == 0 {
                free(&part.bytes);
                part.bytes = Uint8Array::default();
            }
        }
    }

    /// A copy of the bytes in `range`, in WebAssembly memory.
    fn read(&self, range: Range<u64>) -> Vec<u8> {
        // What is read fits the program's memory, and a chunk's length 32 bits.
        let mut read = vec![0; (range.end - range.start) as usize];
        let mut rest = read.as_mut_slice();
        for (n, bytes) in self.touched(range) {
            let (now, later) = rest.split_at_mut((bytes.end - bytes.start) as usize);
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
