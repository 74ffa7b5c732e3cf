//! Loads models while the main loop keeps answering with the model in use. It loads one model at a time: a newer load
//! ends the one in progress. Every load is answered once, in the order of the commands.
//!
//! The header comes first: config and the description of the tensors. What the model is and needs is then told, and a
//! large model's weights are fetched only once the visitor has decided how.

use super::address::without_password;
use super::desk::{Desk, has_webgpu};
use super::fetch::{Valve, model_files};
use super::inbox::Inbox;
use super::keep::keep;
use super::protocol::{BackendChoice, Event, Extent, Opening, Preview, Room, Source};
use super::{gpu, room};
use futures::channel::oneshot;
use futures::future::{Either, LocalBoxFuture, join, pending, select, try_join};
use gloo_timers::future::TimeoutFuture;
use moescope::engine::Needs;
use moescope::error::{Error, Result};
use moescope::model::{Backend, Model, ModelFiles};
use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::{Rc, Weak};
use wasm_bindgen_futures::spawn_local;

/// The answer to a load that a newer one ended.
const SUPERSEDED: &str = "another model was asked for before this one was loaded";

/// The answer to a `Keep` that was ended.
const KEEPING_ENDED: &str = "the model is kept in part; keep it again to go on where it stopped";

/// A load takes long if less than half of it is here after this time.
const LONG_MS: u32 = 1000;

/// How often a load is asked again whether its weights have begun to arrive.
const AGAIN_MS: u32 = 200;

/// Sends an event to the page.
pub type Send = Rc<dyn Fn(Event)>;

/// A decision of the visitor.
type Decision = (BackendChoice, Extent);

/// Starts and ends loads.
pub struct Loader {
    inbox: Rc<Inbox>,
    send: Send,
    /// Dropping it ends the load in progress. Its receiver is gone once that load is over.
    under_way: Option<oneshot::Sender<()>>,
    /// Where the load in progress waits for a decision.
    decision: Rc<RefCell<Option<oneshot::Sender<Decision>>>>,
    /// Dropping it ends the download of a model that is to be kept.
    keeping: Option<oneshot::Sender<()>>,
    /// How much of the load in progress is here, from 0 to 1. That load owns it, so it is gone once the load is over.
    share: Weak<Cell<f64>>,
}

impl Loader {
    /// A loader that puts models into `inbox` and answers through `send`.
    pub fn new(inbox: Rc<Inbox>, send: Send) -> Self {
        Self { inbox, send, under_way: None, decision: Rc::default(), keeping: None, share: Weak::new() }
    }

    /// Starts a load and ends the one in progress. The load answers `Progress`* and `Previewed`*, then `LoadFailed`; or
    /// it hands the model to the main loop, which answers `Loaded`.
    pub fn load(&mut self, source: Source, backend: BackendChoice, opening: Opening) {
        if self.end() {
            (self.send)(Event::LoadFailed { message: SUPERSEDED.into() });
        }
        let (sender, ended) = oneshot::channel::<()>();
        self.under_way = Some(sender);
        let (inbox, decision, share) = (self.inbox.clone(), self.decision.clone(), Rc::new(Cell::new(0.0)));
        self.share = Rc::downgrade(&share);
        let page = self.send.clone();
        let send: Send = Rc::new(move |event| {
            if let Event::Progress { done, total, .. } = &event {
                // Where the size is not known, the load counts as one that has just begun.
                share.set(total.map_or(f64::MIN_POSITIVE, |total| *done as f64 / total as f64));
            }
            page(event);
        });
        spawn_local(async move {
            let load = Load { source: &source, backend, opening, decision, send: &send };
            match select(pin!(load.run()), ended).await {
                Either::Left((Ok(desk), _)) => inbox.install(desk),
                Either::Left((Err(error), _)) => send(Event::LoadFailed { message: error.to_string() }),
                // Whatever ended this load has answered for it.
                Either::Right(_) => {}
            }
        });
    }

    /// Loads a small model beside the load in progress, if that takes long. It hands the model to the main loop, which
    /// answers `StandsIn`, unless the other load has ended.
    pub fn stand_in(&self, source: Source) {
        let (inbox, share) = (self.inbox.clone(), self.share.clone());
        spawn_local(async move {
            if !takes_long(&share).await {
                return;
            }
            // The page can do without it, so its events are dropped.
            let send: Send = Rc::new(|_| ());
            let (backend, opening) = (BackendChoice::Cpu, Opening::default());
            let load = Load { source: &source, backend, opening, decision: Rc::default(), send: &send };
            let Ok(mut desk) = load.run().await else { return };
            if share.strong_count() > 0 {
                desk.stands_in = true;
                inbox.install(desk);
            }
        });
    }

    /// Lets the load in progress go on, if it waits for a decision.
    pub fn decide(&mut self, backend: BackendChoice, extent: Extent) {
        if let Some(decision) = self.decision.take() {
            let _ = decision.send((backend, extent));
        }
    }

    /// Keeps a model in the browser's storage.
    pub fn keep(&mut self, source: Source, token: Option<String>) {
        let (sender, ended) = oneshot::channel::<()>();
        self.keeping = Some(sender);
        let send = self.send.clone();
        spawn_local(async move {
            let what = match &source {
                Source::Url(url) => without_password(url),
                Source::Files { name, .. } => name.clone(),
            };
            let tell = |done, total| send(Event::Progress { what: what.clone(), done, total });
            let answer = match select(pin!(keep(&source, token, &tell)), ended).await {
                Either::Left((Ok(kept), _)) => Event::Kept(kept),
                Either::Left((Err(error), _)) => Event::NotKept { message: error.to_string() },
                Either::Right(_) => Event::NotKept { message: KEEPING_ENDED.into() },
            };
            send(answer);
        });
    }

    /// Ends the load in progress, and what is being kept.
    pub fn cancel(&mut self) {
        self.keeping = None;
        if self.end() {
            (self.send)(Event::LoadCancelled);
        }
    }

    /// Ends the load in progress, if there is one that was not answered.
    fn end(&mut self) -> bool {
        self.decision.take();
        let is_under_way = self.under_way.take().is_some_and(|sender| !sender.is_canceled());
        is_under_way || self.inbox.discard_loaded()
    }
}

/// Waits, then returns whether less than half of a load is here. Weights must have begun to arrive: before that, a
/// second model would ask for the same tokenizer again.
async fn takes_long(share: &Weak<Cell<f64>>) -> bool {
    let mut wait = LONG_MS;
    loop {
        TimeoutFuture::new(wait).await;
        match share.upgrade().map(|share| share.get()) {
            Some(0.0) => wait = AGAIN_MS,
            Some(share) => return share < 0.5,
            None => return false,
        }
    }
}

/// One load.
struct Load<'a> {
    source: &'a Source,
    backend: BackendChoice,
    opening: Opening,
    decision: Rc<RefCell<Option<oneshot::Sender<Decision>>>>,
    send: &'a Send,
}

impl Load<'_> {
    async fn run(self) -> Result<Desk> {
        let progress = |what: &str, done, total| (self.send)(Event::Progress { what: what.to_owned(), done, total });
        let (files, weights) = model_files(self.source, self.opening.token.clone(), &progress).await?;
        let (valve, coming, by_ranges) = weights.parts();
        let (desk, ()) = try_join(self.open(&files, valve, by_ranges), coming).await?;
        Ok(desk)
    }

    /// Makes the model once its header is known and the visitor has decided.
    async fn open(&self, files: &ModelFiles, valve: Valve, by_ranges: LocalBoxFuture<'_, bool>) -> Result<Desk> {
        let mut model = Model::arriving(files, false).await?;
        let room = Room { memory: room::memory(), ..Room::default() };
        let preview = Preview {
            info: model.info(Backend::Cpu, None),
            needs: Needs::of(&model)?,
            download: model.tensors().file_bytes(),
            has_tokenizer: files.tokenizer.is_some(),
            room,
            asks: self.opening.asks,
        };
        let is_small = preview.is_small();
        let preview = Preview { asks: preview.asks && !is_small, ..preview };
        (self.send)(Event::Previewed(Box::new(preview.clone())));
        let (backend, extent) = match preview.asks {
            true => self.decided(&preview).await?,
            false => (self.backend, self.opening.extent),
        };
        if backend != BackendChoice::WebGpu && !preview.fits_cpu(extent) {
            return Err(no_room(&preview, extent));
        }
        let is_part = extent != Extent::default();
        // A large file that the visitor opened need not come as a whole.
        let is_opened = matches!(self.source, Source::Files { .. });
        let is_by_ranges = (is_part || (!is_small && (is_opened || preview.is_sparse()))) && by_ranges.await;
        if is_part && !is_by_ranges {
            return Err(Error::Input(
                "a part of a model needs a server that answers with ranges of a file, and this one does not; open the \
                 whole model, or download it and open its files"
                    .into(),
            ));
        }
        if !is_by_ranges {
            valve.open();
            // The GPU engine of a small model may be made later, or fail.
            let may_be_read_again = match backend {
                BackendChoice::Auto => has_webgpu(),
                BackendChoice::WebGpu => is_small,
                BackendChoice::Cpu | BackendChoice::CpuInt8 => false,
            };
            model.read_once(!may_be_read_again);
        }
        if let Some(count) = extent.layers {
            model.keep_layers(count)?;
        }
        let desk = Desk::new(files, model, backend, extent.resident).await?;
        valve.read_exactly();
        Ok(desk)
    }

    /// Waits for the visitor's decision; tells meanwhile what the GPU and the storage allow.
    async fn decided(&self, preview: &Preview) -> Result<Decision> {
        let (sender, decision) = oneshot::channel();
        *self.decision.borrow_mut() = Some(sender);
        let tell = async {
            let (gpu, storage) = join(gpu::room(), room::storage()).await;
            let room = Room { gpu: Some(gpu), storage, ..preview.room.clone() };
            (self.send)(Event::Previewed(Box::new(Preview { room, ..preview.clone() })));
        };
        let decision = match select(decision, pin!(tell)).await {
            Either::Left((decision, _)) => decision,
            Either::Right(((), decision)) => decision.await,
        };
        match decision {
            Ok(decision) => Ok(decision),
            // Whoever took the question away ends this load, and has answered for it.
            Err(_) => pending().await,
        }
    }
}

/// The error for a model that the program has no room for, with what fits instead.
fn no_room(preview: &Preview, extent: Extent) -> Error {
    let needs = extent.layers.map_or_else(|| preview.needs.clone(), |count| preview.needs.first(count));
    let needed = needs.on_cpu(extent.resident.unwrap_or(1.0));
    let layers = match preview.most_layers() {
        0 => String::new(),
        most => format!(", its first {most} layers"),
    };
    let why = format!(
        "needs {} MB of memory, and this 32-bit program has room for {} MB; open it on a GPU{layers}, or with a part \
         of its experts in memory",
        needed >> 20,
        preview.room.memory >> 20
    );
    Error::model(format!("the model {}", preview.info.name), why)
}
