//! Loads models while the main loop keeps answering with the model in use. It loads one model at a time: a newer load
//! ends the one in progress. Every load is answered once, in the order of the commands.

use super::desk::Desk;
use super::fetch::{Progress, model_files};
use super::inbox::Inbox;
use super::protocol::{BackendChoice, Event, Source};
use futures::channel::oneshot;
use futures::future::{Either, select, try_join};
use gloo_timers::future::TimeoutFuture;
use moescope::error::Result;
use std::cell::Cell;
use std::pin::pin;
use std::rc::{Rc, Weak};
use wasm_bindgen_futures::spawn_local;

/// The answer to a load that a newer one ended.
const SUPERSEDED: &str = "another model was asked for before this one was loaded";

/// A load takes long if less than half of it is here after this time.
const LONG_MS: u32 = 1000;

/// How often a load is asked again whether its weights have begun to arrive.
const AGAIN_MS: u32 = 200;

/// Sends an event to the page.
pub type Send = Rc<dyn Fn(Event)>;

/// Starts and ends loads.
pub struct Loader {
    inbox: Rc<Inbox>,
    send: Send,
    /// Dropping it ends the load in progress. Its receiver is gone once that load is over.
    under_way: Option<oneshot::Sender<()>>,
    /// How much of the load in progress is here, from 0 to 1. That load owns it, so it is gone once the load is over.
    share: Weak<Cell<f64>>,
}

impl Loader {
    /// A loader that puts models into `inbox` and answers through `send`.
    pub fn new(inbox: Rc<Inbox>, send: Send) -> Self {
        Self { inbox, send, under_way: None, share: Weak::new() }
    }

    /// Starts a load and ends the one in progress. The load answers `Progress`*, then `LoadFailed`; or it hands the
    /// model to the main loop, which answers `Loaded`.
    pub fn load(&mut self, source: Source, backend: BackendChoice) {
        let is_under_way = self.under_way.take().is_some_and(|sender| !sender.is_canceled());
        if is_under_way || self.inbox.discard_loaded() {
            (self.send)(Event::LoadFailed { message: SUPERSEDED.into() });
        }
        let (sender, ended) = oneshot::channel::<()>();
        self.under_way = Some(sender);
        let (inbox, send) = (self.inbox.clone(), self.send.clone());
        let share = Rc::new(Cell::new(0.0));
        self.share = Rc::downgrade(&share);
        spawn_local(async move {
            let progress = |what: &str, done: u64, total: Option<u64>| {
                // Where the size is not known, the load counts as one that has just begun.
                share.set(total.map_or(f64::MIN_POSITIVE, |total| done as f64 / total as f64));
                send(Event::Progress { what: what.to_owned(), done, total });
            };
            let load = pin!(load(&source, backend, &progress));
            match select(load, ended).await {
                Either::Left((Ok(desk), _)) => inbox.install(desk),
                Either::Left((Err(error), _)) => send(Event::LoadFailed { message: error.to_string() }),
                // The load that ended this one has answered for it.
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
            // The page can do without it, so an error is not reported.
            let Ok(mut desk) = load(&source, BackendChoice::Cpu, &|_, _, _| ()).await else { return };
            if share.strong_count() > 0 {
                desk.stands_in = true;
                inbox.install(desk);
            }
        });
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

async fn load(source: &Source, backend: BackendChoice, progress: Progress<'_>) -> Result<Desk> {
    let (files, fetching) = model_files(source, progress).await?;
    let (desk, ()) = try_join(Desk::new(&files, backend), fetching).await?;
    Ok(desk)
}
