//! The page's side of the worker: sends commands and receives reports. A worker that fails is replaced by another,
//! which trains to the same step.

use crate::json::parse;
use crate::protocol::{Change, Command, LabName, Plan, Report, Request, Settings};
use crate::runs::over;
use js_sys::{Array, Uint8Array};
use std::cell::RefCell;
use std::rc::Rc;
use wasm_bindgen::JsCast;
use wasm_bindgen::prelude::*;
use web_sys::{MessageEvent, Worker, WorkerOptions, WorkerType};
use yew::Callback;

/// A worker that fails again within this time is not replaced once more, in ms.
const AGAIN_MS: f64 = 10_000.0;

/// An event from the worker.
#[derive(Clone, Debug)]
pub enum Heard {
    /// A report, with the cells of each run.
    Report(Box<Report>, Vec<Vec<u8>>),
    /// The worker failed, and another one continues from this step.
    Restarted(u64),
    /// The worker cannot be started, or fails repeatedly; the reason.
    Dead(String),
}

/// The connection to a worker.
#[derive(Clone)]
pub struct Client(Rc<Inner>);

/// A listener of the worker, kept as long as it listens.
type Listener = Closure<dyn FnMut(MessageEvent)>;

struct Inner {
    lab: LabName,
    worker: RefCell<Option<Worker>>,
    state: RefCell<State>,
    heard: Callback<Heard>,
    /// The listeners of the worker.
    closures: RefCell<Vec<Listener>>,
}

#[derive(Default)]
struct State {
    next: u32,
    is_ready: bool,
    /// Commands to send when the worker is ready.
    queue: Vec<String>,
    /// The settings and changes since the last start, to repeat them in a new worker.
    plan: Plan,
    step: u64,
    running: bool,
    died_at: f64,
}

impl Client {
    /// A worker for `lab`.
    pub fn new(lab: LabName, heard: Callback<Heard>) -> Self {
        let inner =
            Inner { lab, worker: RefCell::default(), state: RefCell::default(), heard, closures: RefCell::default() };
        let client = Self(Rc::new(inner));
        client.spawn();
        client
    }

    fn spawn(&self) {
        let options = WorkerOptions::new();
        options.set_type(WorkerType::Module);
        let address = crate::site::file("lab/worker.js");
        let worker = match Worker::new_with_options(&address, &options) {
            Ok(worker) => worker,
            Err(error) => return self.0.heard.emit(Heard::Dead(format!("{address} cannot be started: {error:?}"))),
        };
        let weak = Rc::downgrade(&self.0);
        let heard = Closure::<dyn FnMut(MessageEvent)>::new(move |event: MessageEvent| {
            if let Some(inner) = weak.upgrade() {
                Client(inner).hear(&event.data());
            }
        });
        let weak = Rc::downgrade(&self.0);
        let failed = Closure::<dyn FnMut(MessageEvent)>::new(move |_| {
            if let Some(inner) = weak.upgrade() {
                Client(inner).died("its script is missing or is no script");
            }
        });
        worker.set_onmessage(Some(heard.as_ref().unchecked_ref()));
        worker.set_onerror(Some(failed.as_ref().unchecked_ref()));
        self.0.closures.borrow_mut().extend([heard, failed]);
        self.0.worker.replace(Some(worker));
    }

    fn hear(&self, message: &JsValue) {
        if let Some(text) = message.as_string() {
            match text.strip_prefix("died: ") {
                Some(why) => self.died(why),
                None => self.ready(),
            }
            return;
        }
        let parts = Array::from(message);
        let Some(report) = parts.get(0).as_string().and_then(|json| parse::<Report>(&json).ok()) else {
            return;
        };
        let cells = (1..parts.length()).map(|at| Uint8Array::new(&parts.get(at)).to_vec()).collect();
        if report.fetched.is_none() && report.saved.is_none() {
            let mut state = self.0.state.borrow_mut();
            state.step = report.runs.first().map_or(state.step, |run| run.step);
            state.running &= !report.diverged;
        }
        self.0.heard.emit(Heard::Report(Box::new(report), cells));
    }

    fn ready(&self) {
        let queue = {
            let mut state = self.0.state.borrow_mut();
            state.is_ready = true;
            std::mem::take(&mut state.queue)
        };
        queue.iter().for_each(|json| self.post(json));
    }

    fn died(&self, why: &str) {
        self.end();
        let (step, is_again) = {
            let mut state = self.0.state.borrow_mut();
            let is_again = js_sys::Date::now() - state.died_at < AGAIN_MS;
            state.died_at = js_sys::Date::now();
            state.is_ready = false;
            state.queue.clear();
            (state.step, is_again)
        };
        if is_again {
            return self.0.heard.emit(Heard::Dead(why.to_owned()));
        }
        self.spawn();
        let (plan, running) = {
            let state = self.0.state.borrow();
            (Plan { at: step, ..state.plan.clone() }, state.running)
        };
        self.send(Command::Start { lab: self.0.lab, plan });
        if running {
            self.send(Command::Run(true));
        }
        self.0.heard.emit(Heard::Restarted(step));
    }

    fn post(&self, json: &str) {
        if let Some(worker) = &*self.0.worker.borrow() {
            // A text can always be copied.
            let _ = worker.post_message(&json.into());
        }
    }

    fn send(&self, command: Command) -> u32 {
        let (id, json) = {
            let mut state = self.0.state.borrow_mut();
            state.next += 1;
            let request = Request { id: state.next, command };
            let json = serde_json::to_string(&request).unwrap_or_default();
            if !state.is_ready {
                state.queue.push(json);
                return state.next;
            }
            (state.next, json)
        };
        self.post(&json);
        id
    }

    /// Restarts the runs.
    pub fn begin(&self, plan: Plan) -> u32 {
        {
            let mut state = self.0.state.borrow_mut();
            (state.step, state.running) = (0, false);
            state.plan = Plan { at: 0, ..plan.clone() };
        }
        self.send(Command::Start { lab: self.0.lab, plan })
    }

    /// Changes settings while it runs.
    pub fn set(&self, settings: Settings) -> u32 {
        self.note(Change { settings: settings.clone(), ..Change::default() });
        self.send(Command::Set(settings))
    }

    /// Replaces the points during the run.
    pub fn set_points(&self, points: Vec<[f32; 3]>) -> u32 {
        self.note(Change { points: Some(points.clone()), ..Change::default() });
        self.send(Command::Points(points))
    }

    /// Changes at one step are one change.
    fn note(&self, change: Change) {
        let mut state = self.0.state.borrow_mut();
        let step = state.step;
        match state.plan.changes.last_mut().filter(|last| last.step == step) {
            Some(last) => {
                last.settings = over(&last.settings, &change.settings);
                last.points = change.points.or(last.points.take());
            }
            None => state.plan.changes.push(Change { step, ..change }),
        }
    }

    /// Starts or pauses training.
    pub fn run(&self, on: bool) -> u32 {
        self.0.state.borrow_mut().running = on;
        self.send(Command::Run(on))
    }

    /// Trains this many steps.
    pub fn step(&self, steps: u64) -> u32 {
        self.0.state.borrow_mut().running = false;
        self.send(Command::Step(steps))
    }

    /// Requests a report.
    pub fn look(&self, cells: Option<(usize, usize)>) -> u32 {
        self.send(Command::Look(cells))
    }

    /// Asks for the comparison of 1991.
    pub fn compare(&self) -> u32 {
        self.send(Command::Compare)
    }

    /// Makes a file of a run's model.
    pub fn save(&self, run: usize, name: String) -> u32 {
        self.send(Command::Save { run, name })
    }

    /// Keeps a run's model in the browser's storage.
    pub fn keep(&self, run: usize, name: String) -> u32 {
        self.send(Command::Keep { run, name })
    }

    /// The plan that leads to the current state.
    pub fn plan(&self) -> Plan {
        let state = self.0.state.borrow();
        Plan { at: state.step, ..state.plan.clone() }
    }

    /// Ends the worker.
    pub fn end(&self) {
        if let Some(worker) = self.0.worker.take() {
            worker.set_onmessage(None);
            worker.set_onerror(None);
            worker.terminate();
        }
    }
}
