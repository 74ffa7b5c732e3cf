//! Loads models beside the worker's loop, so that the model in use goes on answering. One model at a time: a newer load
//! ends the one under way. Every load is answered once, in the order of the commands.

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
const SUPERSEDED: &str = "another model was asked for meanwhile, so this one was not loaded";

/// Sends an event to the page.
pub type Send = Rc<dyn Fn(Event)>;

/// Starts loads, and ends them.
pub struct Loader {
    inbox: Rc<Inbox>,
    send: Send,
    /// Ends the load under way when it is dropped. Its receiver is gone once that load is over.
    under_way: Option<oneshot::Sender<()>>,
}

impl Loader {
    /// Puts what it loads into `inbox`; answers go to `send`.
    pub fn new(inbox: Rc<Inbox>, send: Send) -> Self {
        Self { inbox, send, under_way: None }
    }

    /// Loads a model in place of the one under way. Answers `Progress`*, then `LoadFailed`; or hands the model to the
    /// loop, which answers `Loaded`.
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
                // Answered by whoever ended it.
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
