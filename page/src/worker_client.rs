//! The connection to the engine's worker: sends commands and receives events. Answers to `window.moescope` resolve
//! their promises; all other events go to the page.

use crate::i18n::messages::{say, t};
use crate::model::ModelInfo;
use crate::state::death::Death;
use crate::version;
use crate::worker::EngineWorker;
use crate::worker::protocol::{BackendChoice, Command, Event, Opening, Request, Source};
use futures::channel::oneshot;
use gloo::events::EventListener;
use gloo_worker::{Spawnable, WorkerBridge};
use js_sys::Reflect;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{BroadcastChannel, MessageEvent};

const ENDED: &str = "the engine stopped in the middle of its work; try again, or load the page again";

/// Reads a message of worker.js or boot.js about the end of the worker.
fn read_death(message: &JsValue) -> Death {
    let unloadable = Reflect::get(message, &"unloadable".into()).ok().and_then(|reason| reason.as_string());
    unloadable.map_or_else(|| Death::BrokeOff(message.as_string().unwrap_or_default()), Death::NotLoaded)
}

/// An answer: the result, or an error message.
pub type Answer<T> = Result<T, String>;

type Waiting = oneshot::Sender<Answer<String>>;
type WaitingForModel = oneshot::Sender<Answer<ModelInfo>>;

/// The connection.
pub struct WorkerClient {
    connection: RefCell<Connection>,
    hear: Rc<dyn Fn(Event)>,
    died: Rc<dyn Fn(Death)>,
    pending: Rc<PendingRequests>,
    last_request: Cell<u64>,
}

/// Promises that wait for an answer.
#[derive(Default)]
struct PendingRequests {
    model: RefCell<Option<ModelInfo>>,
    /// Those that wait for the first model.
    first: RefCell<Vec<WaitingForModel>>,
    /// Why the first attempt to load a model failed; `None` if it did not.
    failed: RefCell<Option<String>>,
    /// One entry for each `Load` command, in order, because loads are answered in order.
    loads: RefCell<VecDeque<Option<WaitingForModel>>>,
    /// Whether the worker could not be loaded.
    not_loaded: Cell<bool>,
    requests: RefCell<HashMap<Request, Waiting>>,
    /// Who waits to hear that the routing changed.
    policies: RefCell<Vec<oneshot::Sender<Answer<()>>>>,
}

impl WorkerClient {
    /// Starts the worker. `hear` gets every event; `died` gets the reason if the worker ends. The files at the address
    /// `model`, which will be loaded first, are fetched at once.
    pub fn new(hear: impl Fn(Event) + 'static, died: impl Fn(Death) + 'static, model: Option<&str>) -> Self {
        let hear: Rc<dyn Fn(Event)> = Rc::new(hear);
        let died: Rc<dyn Fn(Death)> = Rc::new(died);
        let pending = Rc::<PendingRequests>::default();
        let connection = RefCell::new(Connection::new(&hear, &died, &pending, model));
        Self { connection, hear, died, pending, last_request: Cell::new(0) }
    }

    /// Starts another worker after one that ended.
    pub fn restart(&self) {
        *self.connection.borrow_mut() = Connection::new(&self.hear, &self.died, &self.pending, None);
    }

    /// Starts another worker if the last one could not be loaded. This happens only when something has to be loaded,
    /// because it might fail repeatedly.
    fn try_again(&self) {
        if self.pending.not_loaded.take() {
            self.restart();
        }
    }

    /// Sends a command to the worker.
    pub fn send(&self, command: Command) {
        if matches!(command, Command::Load { .. }) {
            self.try_again();
            self.pending.loads.borrow_mut().push_back(None);
        }
        self.connection.borrow().bridge.send(command);
    }

    /// Loads a model, and waits until it is loaded.
    pub async fn load(&self, source: Source, backend: BackendChoice, opening: Opening) -> Answer<ModelInfo> {
        self.try_again();
        let (sender, receiver) = oneshot::channel();
        self.pending.loads.borrow_mut().push_back(Some(sender));
        self.connection.borrow().bridge.send(Command::Load { source, backend, opening });
        receiver.await.unwrap_or_else(|_| Err(ENDED.into()))
    }

    /// Asks the worker; `command` gets the request's number.
    pub async fn ask(&self, command: impl FnOnce(Request) -> Command) -> Answer<String> {
        self.ready().await?;
        self.last_request.set(self.last_request.get() + 1);
        let request = Request::Api(self.last_request.get());
        let (sender, receiver) = oneshot::channel();
        self.pending.requests.borrow_mut().insert(request, sender);
        self.connection.borrow().bridge.send(command(request));
        receiver.await.unwrap_or_else(|_| Err(ENDED.into()))
    }

    /// Waits until the worker has set the last policy, or has rejected it.
    pub async fn policy_answer(&self) -> Answer<()> {
        let (sender, receiver) = oneshot::channel();
        self.pending.policies.borrow_mut().push(sender);
        receiver.await.unwrap_or_else(|_| Err(ENDED.into()))
    }

    /// Waits until a model is loaded.
    pub async fn ready(&self) -> Answer<ModelInfo> {
        if let Some(model) = self.model() {
            return Ok(model);
        }
        if let Some(message) = self.pending.failed.borrow().clone() {
            return Err(message);
        }
        let (sender, receiver) = oneshot::channel();
        self.pending.first.borrow_mut().push(sender);
        receiver.await.unwrap_or_else(|_| Err(ENDED.into()))
    }

    /// The model in use.
    pub fn model(&self) -> Option<ModelInfo> {
        self.pending.model.borrow().clone()
    }
}

/// One worker, and the channel on which it reports a crash.
struct Connection {
    bridge: WorkerBridge<EngineWorker>,
    _channel: Option<(BroadcastChannel, EventListener)>,
}

impl Connection {
    fn new(
        hear: &Rc<dyn Fn(Event)>,
        died: &Rc<dyn Fn(Death)>,
        pending: &Rc<PendingRequests>,
        model: Option<&str>,
    ) -> Self {
        // A name that no other worker has, in this page or another page of this site.
        let name = format!("moescope-{}", js_sys::Math::random());
        let channel = BroadcastChannel::new(&name).ok().map(|channel| {
            let (died, pending) = (died.clone(), pending.clone());
            let listener = EventListener::new(&channel, "message", move |event| {
                let message = event.dyn_ref::<MessageEvent>().map_or(JsValue::UNDEFINED, MessageEvent::data);
                let death = read_death(&message);
                pending.end(&death);
                died(death);
            });
            (channel, listener)
        });
        let (hear, pending) = (hear.clone(), pending.clone());
        let model = model.map(|model| format!("&model={}", js_sys::encode_uri_component(model))).unwrap_or_default();
        let bridge = EngineWorker::spawner()
            .as_module(true)
            .with_loader(true)
            .callback(move |event| {
                pending.sort(&event);
                hear(event);
            })
            .spawn(&format!("{}?channel={name}{model}", version::file("worker.js")));
        Self { bridge, _channel: channel }
    }
}

impl PendingRequests {
    /// Rejects all waiting promises, because the worker has ended.
    fn end(&self, death: &Death) {
        self.not_loaded.set(matches!(death, Death::NotLoaded(_)));
        let had_model = self.model.borrow_mut().take().is_some();
        if !had_model {
            // If a model was in use, it is loaded again.
            let why = say(&death.in_words());
            *self.failed.borrow_mut() = Some(why.clone());
            self.first.take().into_iter().for_each(|waiting| drop(waiting.send(Err(why.clone()))));
        }
        self.policy_answered(&Err(ENDED.into()));
        self.requests.take().into_values().for_each(|waiting| drop(waiting.send(Err(ENDED.into()))));
        self.loads.take().into_iter().flatten().for_each(|waiting| drop(waiting.send(Err(ENDED.into()))));
    }

    fn sort(&self, event: &Event) {
        match event {
            Event::Loaded(info) => self.load_ended(Ok((**info).clone())),
            Event::LoadFailed { message } => self.load_ended(Err(message.clone())),
            Event::BackendChanged(info) => *self.model.borrow_mut() = Some((**info).clone()),
            Event::Traced { request, json } | Event::Generated { request, json } => {
                self.answer(*request, Ok(json.clone()));
            }
            Event::RequestFailed { request, message } => self.answer(*request, Err(message.clone())),
            Event::PolicySet { .. } => self.policy_answered(&Ok(())),
            Event::PolicyRefused { message, .. } => self.policy_answered(&Err(message.clone())),
            Event::LoadCancelled => self.load_ended(Err(t!("load.cancelled"))),
            // A request waits for the model that was asked for.
            Event::StandsIn(_)
            | Event::Progress { .. }
            | Event::Previewed(_)
            | Event::Kept(_)
            | Event::NotKept { .. }
            | Event::Pool(_)
            | Event::Timed(_)
            | Event::Routed { .. }
            | Event::Baseline { .. }
            | Event::Swept { .. }
            | Event::RunFailed { .. }
            | Event::Profiled { .. }
            | Event::Tried { .. }
            | Event::Inspected { .. } => {}
        }
    }

    /// A policy that a newer one replaced gets the newer one's answer.
    fn policy_answered(&self, answer: &Answer<()>) {
        for waiting in self.policies.take() {
            let _ = waiting.send(answer.clone());
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
        // A promise that is not waited for any more needs no answer.
        let first = self.first.take();
        for waiting in waiting.into_iter().chain(first) {
            let _ = waiting.send(answer.clone());
        }
    }

    fn answer(&self, request: Request, answer: Answer<String>) {
        if let Some(waiting) = self.requests.borrow_mut().remove(&request) {
            let _ = waiting.send(answer);
        }
    }
}
