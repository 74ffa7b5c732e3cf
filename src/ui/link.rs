//! The line to the engine's worker: commands go in, events come out. Answers to `window.moescope` find the
//! promise that waits for them here; all else goes to the page.

use crate::model::ModelInfo;
use crate::worker::EngineWorker;
use crate::worker::protocol::{BackendChoice, Command, Event, Source};
use futures::channel::oneshot;
use gloo_worker::{Spawnable, WorkerBridge};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

const ENDED: &str = "the engine's worker ended; load the page again";

/// An answer: what was asked for, or one clear sentence.
pub type Answer<T> = Result<T, String>;

type Waiting = oneshot::Sender<Answer<String>>;
type WaitingForModel = oneshot::Sender<Answer<ModelInfo>>;

/// The line.
pub struct Link {
    bridge: WorkerBridge<EngineWorker>,
    desk: Rc<Desk>,
    last_request: Cell<u64>,
}

/// Who waits for what.
#[derive(Default)]
struct Desk {
    model: RefCell<Option<ModelInfo>>,
    /// Everyone who waits for the first model.
    first: RefCell<Vec<WaitingForModel>>,
    /// Whether the first attempt to load a model failed, and why.
    failed: RefCell<Option<String>>,
    /// One entry a `Load` command, in order: loads are answered in order.
    loads: RefCell<VecDeque<Option<WaitingForModel>>>,
    requests: RefCell<HashMap<u64, Waiting>>,
}

impl Link {
    /// Starts the worker; `hear` gets every event.
    pub fn new(hear: impl Fn(Event) + 'static) -> Self {
        let desk = Rc::new(Desk::default());
        let bridge = {
            let desk = desk.clone();
            EngineWorker::spawner()
                .as_module(true)
                .with_loader(true)
                .callback(move |event| {
                    desk.sort(&event);
                    hear(event);
                })
                .spawn("./worker.js")
        };
        Self { bridge, desk, last_request: Cell::new(0) }
    }

    /// Tells the worker.
    pub fn send(&self, command: Command) {
        if matches!(command, Command::Load { .. }) {
            self.desk.loads.borrow_mut().push_back(None);
        }
        self.bridge.send(command);
    }

    /// Loads a model and waits for it.
    pub async fn load(&self, source: Source, backend: BackendChoice) -> Answer<ModelInfo> {
        let (sender, receiver) = oneshot::channel();
        self.desk.loads.borrow_mut().push_back(Some(sender));
        self.bridge.send(Command::Load { source, backend });
        receiver.await.unwrap_or_else(|_| Err(ENDED.into()))
    }

    /// Asks the worker; `command` gets the request's number.
    pub async fn ask(&self, command: impl FnOnce(u64) -> Command) -> Answer<String> {
        self.ready().await?;
        let request = self.last_request.get() + 1;
        self.last_request.set(request);
        let (sender, receiver) = oneshot::channel();
        self.desk.requests.borrow_mut().insert(request, sender);
        self.bridge.send(command(request));
        receiver.await.unwrap_or_else(|_| Err(ENDED.into()))
    }

    /// Waits until a model is loaded.
    pub async fn ready(&self) -> Answer<ModelInfo> {
        if let Some(model) = self.model() {
            return Ok(model);
        }
        if let Some(message) = self.desk.failed.borrow().clone() {
            return Err(message);
        }
        let (sender, receiver) = oneshot::channel();
        self.desk.first.borrow_mut().push(sender);
        receiver.await.unwrap_or_else(|_| Err(ENDED.into()))
    }

    /// The model in use.
    pub fn model(&self) -> Option<ModelInfo> {
        self.desk.model.borrow().clone()
    }
}

impl Desk {
    fn sort(&self, event: &Event) {
        match event {
            Event::Loaded(info) => self.load_ended(Ok((**info).clone())),
            Event::LoadFailed { message } => self.load_ended(Err(message.clone())),
            Event::BackendChanged(info) => *self.model.borrow_mut() = Some((**info).clone()),
            Event::Traced { request, json } | Event::Generated { request, json } => {
                self.answer(*request, Ok(json.clone()));
            }
            Event::RequestFailed { request, message } => self.answer(*request, Err(message.clone())),
            Event::Progress { .. } | Event::Routed { .. } | Event::RunFailed { .. } | Event::Inspected { .. } => {}
        }
    }

    fn load_ended(&self, answer: Answer<ModelInfo>) {
        let waiting = self.loads.borrow_mut().pop_front().flatten();
        match &answer {
            Ok(info) => {
                *self.model.borrow_mut() = Some(info.clone());
                *self.failed.borrow_mut() = None;
            }
            Err(message) if self.model.borrow().is_none() => *self.failed.borrow_mut() = Some(message.clone()),
            Err(_) => {}
        }
        // Who stopped waiting needs no answer.
        let first = self.first.take();
        for waiting in waiting.into_iter().chain(first) {
            let _ = waiting.send(answer.clone());
        }
    }

    fn answer(&self, request: u64, answer: Answer<String>) {
        if let Some(waiting) = self.requests.borrow_mut().remove(&request) {
            let _ = waiting.send(answer);
        }
    }
}
