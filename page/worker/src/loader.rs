//! Loads models while the main loop keeps answering with the model in use. It loads one model at a time: a newer load
//! ends the one in progress. Every load is answered once, in the order of the commands.

use super::desk::Desk;
use super::fetch::model_files;
use super::inbox::Inbox;
use super::protocol::{BackendChoice, Event, Source};
use futures::channel::oneshot;
use futures::future::{Either, select, try_join};
use moescope::error::Result;
use std::pin::pin;
use std::rc::Rc;
use wasm_bindgen_futures::spawn_local;

/// The answer to a load that a newer one ended.
const SUPERSEDED: &str = "another model was asked for before this one was loaded";

/// Sends an event to the page.
pub type Send = Rc<dyn Fn(Event)>;

/// Starts and ends loads.
pub struct Loader {
    inbox: Rc<Inbox>,
    send: Send,
    /// Dropping it ends the load in progress. Its receiver is gone once that load is over.
    under_way: Option<oneshot::Sender<()>>,
}

impl Loader {
    /// A loader that puts models into `inbox` and answers through `send`.
    pub fn new(inbox: Rc<Inbox>, send: Send) -> Self {
        Self { inbox, send, under_way: None }
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
        spawn_local(async move {
            let load = pin!(load(&source, backend, &send));
            match select(load, ended).await {
                Either::Left((Ok(desk), _)) => inbox.install(desk),
                Either::Left((Err(error), _)) => send(Event::LoadFailed { message: error.to_string() }),
                // The load that ended this one has answered for it.
                Either::Right(_) => {}
            }
        });
    }
}

async fn load(source: &Source, backend: BackendChoice, send: &Send) -> Result<Desk> {
    let progress = |what: &str, done, total| send(Event::Progress { what: what.to_owned(), done, total });
    let (files, fetching) = model_files(source, &progress).await?;
    let (desk, ()) = try_join(Desk::new(&files, backend), fetching).await?;
    Ok(desk)
}
