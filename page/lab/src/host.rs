//! The worker: trains, and answers the page's commands in between.

use crate::archive::archive;
use crate::assets::{Assets, needed};
use crate::json::parse;
use crate::keep;
use crate::protocol::{Command, LabName, Plan, Report, Request, Saved};
use crate::runs::{Runs, fine_tune};
use moescope_learn::local_experts::vowels;
use std::cell::RefCell;
use std::collections::VecDeque;
use wasm_bindgen::JsCast;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{
    DedicatedWorkerGlobalScope, MessageChannel, MessageEvent, MessagePort, ReadableStreamDefaultReader, Response, Url,
};

/// How long the worker trains before it checks for a command, in ms.
const TURN_MS: f64 = 8.0;

/// The steps a second are measured over so long, in ms.
const MEASURED_MS: f64 = 400.0;

/// The page hears so often how far a large file has come, in ms.
const FETCH_HEARD_MS: f64 = 200.0;

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
    /// The files of the labs.
    assets: Assets,
    /// Commands that wait until the lab's files are here.
    queue: VecDeque<Request>,
    is_fetching: bool,
    /// The runs were looked at since they last moved.
    is_rested: bool,
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
        let request = event.data().as_string().and_then(|json| parse::<Request>(&json).ok());
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
    /// Takes a command. While a lab's files are fetched, what comes waits.
    fn hear(&mut self, request: Request) {
        self.queue.push_back(request);
        while !self.is_fetching
            && let Some(request) = self.queue.pop_front()
        {
            self.obey(request);
        }
    }

    fn obey(&mut self, Request { id, command }: Request) {
        match command {
            Command::Start { lab, plan } => {
                let missing = self.assets.missing(needed(lab, &plan));
                if missing.is_empty() {
                    self.begin(id, lab, plan);
                } else {
                    // A model in training leaves no room for another.
                    self.runs = self.runs.take().filter(|_| lab != LabName::FineTune);
                    self.is_fetching = true;
                    spawn_local(fetch_all(id, lab, plan, missing));
                }
            }
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
                self.rate.begin();
                self.rest();
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
            Command::Save { run, name } => self.save(id, run, &keep::legal(&name)),
            Command::Keep { run, name } => self.keep(id, run, keep::legal(&name)),
        }
    }

    fn clear_error(&mut self) {
        if self.runs.is_some() {
            (self.error, self.diverged) = (None, false);
        }
    }

    fn directory(&self, run: usize) -> Result<Vec<(String, Vec<u8>)>, String> {
        self.runs.as_ref().map_or_else(|| Err("there is no run to save".into()), |runs| runs.directory(run))
    }

    fn save(&mut self, id: u32, run: usize, name: &str) {
        let file = self.directory(run).and_then(|files| {
            let below = |(file, bytes): (String, Vec<u8>)| (format!("{name}/{file}"), bytes);
            let bytes = archive(&files.into_iter().map(below).collect::<Vec<_>>());
            Ok((keep::file(&bytes)?, bytes.len() as u64))
        });
        let saved = file.map(|(file, bytes)| Saved { name: name.to_owned(), file: Some(file), bytes });
        answer_saved(id, saved);
    }

    fn keep(&mut self, id: u32, run: usize, name: String) {
        match self.directory(run) {
            Ok(files) => spawn_local(async move {
                let kept = keep::keep(&site(), &name, files).await;
                answer_saved(id, kept.map(|bytes| Saved { name, file: None, bytes }));
            }),
            Err(error) => answer_saved(id, Err(error)),
        }
    }

    /// Looks at what takes too long for every step, where training pauses.
    fn rest(&mut self) {
        if self.running || self.is_on_its_way() || std::mem::replace(&mut self.is_rested, true) {
            return;
        }
        if let Some(Err(error)) = self.runs.as_mut().map(Runs::rest) {
            self.error = Some(error);
        }
    }

    /// The lab's files are here, or one cannot be fetched.
    fn fetched(&mut self, id: u32, lab: LabName, plan: Plan, fetched: Result<(), String>) {
        self.is_fetching = false;
        match fetched {
            Ok(()) => self.begin(id, lab, plan),
            Err(error) => {
                self.runs = None;
                self.error = Some(error);
                self.answer(id, None);
            }
        }
        while !self.is_fetching
            && let Some(request) = self.queue.pop_front()
        {
            self.obey(request);
        }
    }

    fn begin(&mut self, id: u32, lab: LabName, plan: Plan) {
        if lab == LabName::FineTune {
            // As above.
            self.runs = None;
        }
        let files = needed(lab, &plan);
        let runs = Runs::new(lab, plan, &self.assets);
        files.iter().filter(|name| fine_tune::is_large(name)).for_each(|name| self.assets.forget(name));
        match runs {
            Ok(runs) => {
                self.runs = Some(runs);
                self.running = false;
                self.is_rested = true;
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
        self.rest();
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
            self.is_rested = false;
            if let Err(error) = runs.step(1, self.running) {
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
            ..Report::default()
        };
        send(&report, &drawn);
    }
}

/// The address of the site, of which this worker's script is a part.
fn site() -> String {
    absolute("../../../")
}

/// An address seen from this worker's script.
fn absolute(path: &str) -> String {
    let here = scope().location().href();
    Url::new_with_base(path, &here).map_or_else(|_| path.to_owned(), |url| url.href())
}

fn answer_saved(id: u32, saved: Result<Saved, String>) {
    let (saved, error) = match saved {
        Ok(saved) => (Some(saved), None),
        Err(error) => (None, Some(error)),
    };
    send(&Report { id, saved, error, ..Report::default() }, &[]);
}

/// Fetches a lab's files, and lets it begin.
async fn fetch_all(id: u32, lab: LabName, plan: Plan, names: Vec<String>) {
    let mut done = Ok(());
    for name in names {
        let path = if name.starts_with("models/") { format!("../../../{name}") } else { name.clone() };
        match fetch(&absolute(&path)).await {
            Ok(bytes) => HOST.with_borrow_mut(|host| host.assets.insert(&name, bytes)),
            Err(error) => {
                done = Err(error);
                break;
            }
        }
    }
    HOST.with_borrow_mut(|host| host.fetched(id, lab, plan, done));
}

/// The bytes at an address. The page hears how many have come of a large file.
async fn fetch(address: &str) -> Result<Vec<u8>, String> {
    let broken = |_| format!("{address} cannot be fetched; check the connection and start the lab again");
    let response: Response = JsFuture::from(scope().fetch_with_str(address)).await.map_err(broken)?.unchecked_into();
    if !response.ok() {
        return Err(format!("{address} cannot be fetched: the server answered {}", response.status()));
    }
    let length = response.headers().get("content-length").ok().flatten();
    let all: u64 = length.and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut bytes = Vec::with_capacity(all as usize);
    let Some(body) = response.body() else { return Ok(bytes) };
    let reader: ReadableStreamDefaultReader = body.get_reader().unchecked_into();
    let mut heard = now();
    loop {
        let part = JsFuture::from(reader.read()).await.map_err(broken)?;
        let field = |key: &str| js_sys::Reflect::get(&part, &key.into()).unwrap_or(JsValue::UNDEFINED);
        if field("done").is_truthy() {
            return Ok(bytes);
        }
        let chunk: js_sys::Uint8Array = field("value").unchecked_into();
        let start = bytes.len();
        bytes.resize(start + chunk.length() as usize, 0);
        chunk.copy_to(&mut bytes[start..]);
        if all > 0 && now() - heard > FETCH_HEARD_MS {
            heard = now();
            send(&Report { fetched: Some((bytes.len() as u64, all)), ..Report::default() }, &[]);
        }
    }
}

impl Rate {
    /// Training begins.
    fn begin(&mut self) {
        *self = Self { since: now(), ..Self::default() };
    }

    fn count(&mut self, steps: u64) {
        self.steps += steps;
        let passed = now() - self.since;
        if passed > MEASURED_MS && self.steps > 0 {
            self.value = self.steps as f64 * 1000.0 / passed;
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
