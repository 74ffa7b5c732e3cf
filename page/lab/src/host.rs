//! The worker: trains, and answers the page's commands in between.

use crate::protocol::{Command, Plan, Report, Request};
use crate::runs::Runs;
use moescope_learn::local_experts::vowels;
use std::cell::RefCell;
use wasm_bindgen::JsCast;
use wasm_bindgen::prelude::*;
use web_sys::{DedicatedWorkerGlobalScope, MessageChannel, MessageEvent, MessagePort};

/// How long the worker trains before it checks for a command, in ms.
const TURN_MS: f64 = 8.0;

/// The steps a second are measured over so long, in ms.
const MEASURED_MS: f64 = 400.0;

/// While it trains, so many times as long goes into training as into looks.
const LOOK_REST: f64 = 4.0;

#[derive(Default)]
struct Host {
    runs: Option<Runs>,
    running: bool,
    /// The command that is answered when the runs are where they are to go.
    waiting: Option<u32>,
    error: Option<String>,
    diverged: bool,
    rate: Rate,
    /// What the last look took, in ms, and when it was.
    looked_ms: f64,
    looked_at: f64,
    /// A look that waits for its turn.
    looking: Option<(u32, Option<(usize, usize)>)>,
    turn: Option<MessagePort>,
    is_turning: bool,
}

#[derive(Default)]
struct Rate {
    steps: u64,
    since: f64,
    value: f64,
}

thread_local! {
    static HOST: RefCell<Host> = RefCell::default();
}

fn scope() -> DedicatedWorkerGlobalScope {
    js_sys::global().unchecked_into()
}

fn now() -> f64 {
    js_sys::Date::now()
}

/// Listens to the page.
pub fn start() {
    // Messages to itself let the page's commands in between, without the rest that timers take.
    let channel = MessageChannel::new().expect("workers have message channels");
    let turned = Closure::<dyn FnMut(MessageEvent)>::new(|_| HOST.with_borrow_mut(Host::turn));
    channel.port1().set_onmessage(Some(turned.as_ref().unchecked_ref()));
    turned.forget();
    HOST.with_borrow_mut(|host| host.turn = Some(channel.port2()));
    let heard = Closure::<dyn FnMut(MessageEvent)>::new(|event: MessageEvent| {
        let request = event.data().as_string().and_then(|json| serde_json::from_str::<Request>(&json).ok());
        if let Some(request) = request {
            HOST.with_borrow_mut(|host| host.hear(request));
        }
    });
    scope().set_onmessage(Some(heard.as_ref().unchecked_ref()));
    heard.forget();
    post(&"ready".into());
}

fn post(message: &JsValue) {
    // Fails only for what cannot be copied.
    let _ = scope().post_message(message);
}

impl Host {
    fn hear(&mut self, Request { id, command }: Request) {
        match command {
            Command::Start { lab, plan } => self.begin(id, lab, plan),
            Command::Set(settings) => {
                let done = self.runs.as_mut().map_or(Ok(()), |runs| runs.set(&settings));
                self.answer_to(id, done);
            }
            Command::Points(points) => {
                let done = self.runs.as_mut().map_or(Ok(()), |runs| runs.set_points(&points));
                self.answer_to(id, done);
            }
            Command::Run(running) => {
                self.running = running;
                self.clear_error();
                self.answer(id, None);
                self.go_on();
            }
            Command::Step(steps) => {
                self.clear_error();
                self.running = false;
                if let Some(runs) = &mut self.runs {
                    runs.aim(steps);
                }
                self.wait(id);
            }
            Command::Look(cells) => {
                self.looking = Some((id, cells));
                self.look();
            }
            Command::Compare => compare(id),
        }
    }

    fn clear_error(&mut self) {
        if self.runs.is_some() {
            (self.error, self.diverged) = (None, false);
        }
    }

    fn begin(&mut self, id: u32, lab: crate::protocol::LabName, plan: Plan) {
        match Runs::new(lab, plan) {
            Ok(runs) => {
                self.runs = Some(runs);
                self.running = false;
                self.clear_error();
                self.wait(id);
            }
            // Where there is no other run, every later command meets it.
            Err(error) if self.runs.is_none() => {
                self.error = Some(error);
                self.answer(id, None);
            }
            Err(error) => self.answer_to(id, Err(error)),
        }
    }

    /// Answers when the runs are where they are to go.
    fn wait(&mut self, id: u32) {
        if let Some(earlier) = self.waiting.replace(id) {
            self.answer(earlier, None);
        }
        self.settle();
        self.go_on();
    }

    fn is_on_its_way(&self) -> bool {
        self.runs.as_ref().is_some_and(Runs::is_on_its_way)
    }

    fn settle(&mut self) {
        if !self.is_on_its_way()
            && let Some(id) = self.waiting.take()
        {
            self.answer(id, None);
        }
    }

    fn go_on(&mut self) {
        let wants = self.running || self.is_on_its_way();
        if wants && !self.is_turning {
            self.is_turning = true;
            if let Some(turn) = &self.turn {
                // As above.
                let _ = turn.post_message(&JsValue::NULL);
            }
        }
    }

    fn turn(&mut self) {
        self.is_turning = false;
        let start = now();
        let Some(runs) = &mut self.runs else { return };
        let mut done = 0;
        while (self.running || runs.is_on_its_way()) && now() - start < TURN_MS {
            let before = runs.steps();
            if let Err(error) = runs.step(4, self.running) {
                (self.error, self.diverged, self.running) = (Some(error), true, false);
                break;
            }
            done += runs.steps() - before;
        }
        self.rate.count(done);
        self.settle();
        self.look();
        self.go_on();
    }

    /// Answers the look that waits, if it is its turn.
    fn look(&mut self) {
        let is_rested = now() - self.looked_at >= LOOK_REST * self.looked_ms;
        if (is_rested || !self.running)
            && let Some((id, cells)) = self.looking.take()
        {
            self.answer(id, cells);
        }
    }

    fn answer_to(&mut self, id: u32, done: Result<(), String>) {
        let earlier = self.error.take();
        self.error = done.err();
        self.answer(id, None);
        self.error = earlier;
    }

    fn answer(&mut self, id: u32, cells: Option<(usize, usize)>) {
        let start = now();
        let (reports, drawn) = self.runs.as_ref().map_or_else(Default::default, |runs| runs.reports(cells));
        (self.looked_ms, self.looked_at) = (now() - start, now());
        let report = Report {
            id,
            running: self.running,
            busy: self.is_on_its_way(),
            rate: if self.running { self.rate.value } else { 0.0 },
            cells: cells.unwrap_or_default(),
            runs: reports,
            error: self.error.clone(),
            diverged: self.diverged,
            compared: None,
        };
        send(&report, &drawn);
    }
}

impl Rate {
    fn count(&mut self, steps: u64) {
        self.steps += steps;
        let passed = now() - self.since;
        if passed > MEASURED_MS {
            // What began long ago was not measured in one piece.
            self.value = if passed < 3.0 * MEASURED_MS { self.steps as f64 * 1000.0 / passed } else { self.value };
            (self.steps, self.since) = (0, now());
        }
    }
}

/// `[json, cells of the first run, of the second, ...]`
fn send(report: &Report, drawn: &[Vec<u8>]) {
    let message = js_sys::Array::new();
    message.push(&serde_json::to_string(report).unwrap_or_default().into());
    for cells in drawn {
        message.push(&js_sys::Uint8Array::from(&cells[..]));
    }
    post(&message);
}

/// Answers after each system. It holds the worker up: the page has one of its own for it.
fn compare(id: u32) {
    let mut rows = Vec::new();
    for system in vowels::SYSTEMS {
        let mut report = Report { id, busy: true, ..Report::default() };
        match vowels::compare(system, &vowels::Comparison::default()) {
            Ok(row) => rows.push(row),
            Err(error) => report.error = Some(error.to_string()),
        }
        report.busy = rows.len() < vowels::SYSTEMS.len() && report.error.is_none();
        report.compared = serde_json::to_value(&rows).ok();
        send(&report, &[]);
        if report.error.is_some() {
            return;
        }
    }
}
