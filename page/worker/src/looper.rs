//! The worker's main loop: it runs one command after the other and answers each with events. Between two chunks it
//! reads the page's messages, so that a newer text replaces an older one. Models are loaded beside it (loader.rs).

use super::clock::now;
use super::desk::{Advance, Desk};
use super::inbox::{Inbox, Load, Work};
use super::loader::{Loader, Send};
use super::protocol::{
    Command, Event, Logits, Overflow, Profile, Prompt, Request, Sampling, Speed, Sweep, Swept, Timed,
};
use gloo_timers::future::TimeoutFuture;
use gloo_worker::{HandlerId, Worker, WorkerScope};
use moescope::engine::Engine;
use moescope::error::{Error, Result};
use moescope::model::Backend;
use moescope::routing::{Policy, Trace};
use std::rc::Rc;
use wasm_bindgen_futures::spawn_local;

/// After a policy changes, the text is routed again and sent in pieces that take this long to compute.
const HOLD_MS: f64 = 1000.0;

/// Delay before a GPU engine is made, so that the first answer is painted first: compiling shaders keeps the GPU busy.
const PAINTED_MS: u32 = 300;

/// Up to this much work is in flight on a GPU; a stop or a newer text has to wait for it.
const AHEAD_MS: f64 = 50.0;

/// Tokens of a chunk: small, so that the first tokens appear soon and a newer text never waits long.
const CHUNK: usize = 32;

/// The worker as `gloo-worker` runs it: it passes each command to the main loop or to the loader.
pub struct EngineWorker {
    inbox: Rc<Inbox>,
    loader: Option<Loader>,
}

impl Worker for EngineWorker {
    type Message = ();
    type Input = Command;
    type Output = Event;

    fn create(_: &WorkerScope<Self>) -> Self {
        Self { inbox: Rc::default(), loader: None }
    }

    fn update(&mut self, _: &WorkerScope<Self>, (): ()) {}

    fn received(&mut self, scope: &WorkerScope<Self>, command: Command, page: HandlerId) {
        let inbox = &self.inbox;
        let loader = self.loader.get_or_insert_with(|| {
            let scope = scope.clone();
            let send: Send = Rc::new(move |event| scope.respond(page, event));
            let looper = Looper { inbox: inbox.clone(), send: send.clone(), desk: None, loads: 0, rate: None };
            spawn_local(looper.run());
            Loader::new(inbox.clone(), send)
        });
        match command {
            Command::Load { source, backend, opening } => loader.load(source, backend, opening),
            Command::Open { backend, extent } => loader.decide(backend, extent),
            Command::CancelLoad => loader.cancel(),
            Command::Keep { source, token } => loader.keep(source, token),
            Command::StandIn { source } => loader.stand_in(source),
            command => self.inbox.push(command),
        }
    }
}

struct Looper {
    inbox: Rc<Inbox>,
    send: Send,
    desk: Option<Desk>,
    /// Number of models loaded so far, which is also the number of the current one.
    loads: Load,
    /// Tokens a second of the CPU engine on the model's first text, once that has run.
    rate: Option<f64>,
}

impl Looper {
    async fn run(mut self) {
        loop {
            match self.inbox.next().await {
                Work::Install(desk) => self.install(*desk),
                Work::Superseded(command) => self.answer_superseded(&command),
                Work::Command(command) => {
                    let request = matches!(command, Command::Trace { .. } | Command::Complete { .. });
                    let backend = self.backend();
                    self.obey(command).await;
                    self.tell_pool();
                    // The GPU failed during an API request. (A run of the page's text reports that itself.)
                    if request && backend != self.backend() {
                        self.tell_backend();
                    }
                    // Only after the new model's first answer, because making the GPU engine blocks the worker.
                    if self.inbox.is_idle() {
                        self.prepare_gpu();
                    }
                }
                Work::TakeOver(load, engine) => self.take_over(load, engine).await,
            }
        }
    }

    async fn obey(&mut self, command: Command) {
        match command {
            // Handled by the loader.
            Command::Load { .. }
            | Command::Open { .. }
            | Command::CancelLoad
            | Command::Keep { .. }
            | Command::StandIn { .. } => {}
            Command::Route { generation, text } => {
                let done = self.route(generation, &text).await;
                self.report(generation, done);
            }
            Command::SetPolicy { generation, policy } => self.set_policy(generation, policy).await,
            Command::Sweep { request, sweep } => {
                if let Err(error) = self.sweep(request, sweep).await {
                    (self.send)(Event::RequestFailed { request, message: error.to_string() });
                }
            }
            Command::Generate { generation, tokens, sampling } => {
                let done = self.generate(generation, tokens, sampling).await;
                self.report(generation, done);
            }
            // Nothing is running when a command starts.
            Command::Stop => {}
            Command::Trace { request, prompt, logits } => {
                let answer = self.traced(&prompt, logits).await;
                self.answer(request, answer, |request, json| Event::Traced { request, json });
            }
            Command::Inspect { request, position } => {
                let answer = self.desk().and_then(|desk| desk.inspect(position));
                self.answer(request, answer, |request, layers| Event::Inspected { request, position, layers });
            }
            Command::TrySets { request, layer, position } => {
                let answer = self.desk().and_then(|desk| desk.try_sets(layer, position));
                self.answer(request, answer, |request, tried| Event::Tried { request, tried });
            }
            Command::Profile { request } => {
                let answer = self.profiled().await;
                self.answer(request, answer, |request, profile| Event::Profiled { request, profile });
            }
            Command::Complete { request, prompt, tokens, sampling, plain } => {
                let answer = self.completed(&prompt, tokens, sampling, plain).await;
                self.answer(request, answer, |request, json| Event::Generated { request, json });
            }
        }
    }

    async fn traced(&mut self, prompt: &Prompt, logits: Logits) -> Result<String> {
        let desk = self.desk()?;
        desk.trace(&desk.ids(prompt)?, logits).await
    }

    async fn profiled(&mut self) -> Result<Profile> {
        self.desk()?.profile().await
    }

    async fn completed(&mut self, prompt: &Prompt, tokens: usize, sampling: Sampling, plain: bool) -> Result<String> {
        let desk = self.desk()?;
        let ids = desk.ids(prompt)?;
        if plain {
            desk.complete_plainly(&ids, tokens, sampling).await
        } else {
            desk.complete(&ids, tokens, sampling).await
        }
    }

    /// Starts to make the GPU engine in the background, where there is a GPU.
    fn prepare_gpu(&mut self) {
        let Some(making) = self.desk.as_mut().and_then(Desk::prepare_gpu) else { return };
        let (inbox, load) = (self.inbox.clone(), self.loads);
        spawn_local(async move {
            TimeoutFuture::new(PAINTED_MS).await;
            inbox.hand_over(load, making.await);
        });
    }

    /// Times both engines on the text and switches to the GPU engine if that is the faster one. Fills its KV cache with
    /// the text, until the page sends a command.
    async fn take_over(&mut self, load: Load, engine: Result<Engine>) {
        let Some(desk) = self.desk.as_mut().filter(|_| load == self.loads) else { return };
        let engine = match engine {
            Ok(mut gpu) => match desk.time(&mut gpu, self.rate, &|| self.inbox.is_idle()).await {
                // Later: the page comes first.
                Ok(None) => return self.inbox.hand_over(load, Ok(gpu)),
                Ok(Some(timed)) => {
                    (self.send)(Event::Timed(timed));
                    if timed.gpu_is_faster() { Ok(gpu) } else { Err(slower(&gpu, timed)) }
                }
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        desk.take_over(engine);
        (self.send)(Event::BackendChanged(Box::new(desk.info.clone())));
        while self.inbox.is_idle() && desk.session().pending() > 0 {
            // A failure is reported when the text runs next.
            if desk.advance(CHUNK).await.is_err() || self.inbox.interrupts_run().await {
                return;
            }
        }
    }

    /// Replaces the model in use.
    fn install(&mut self, desk: Desk) {
        let info = Box::new(desk.info.clone());
        (self.send)(if desk.stands_in { Event::StandsIn(info) } else { Event::Loaded(info) });
        self.desk = Some(desk);
        self.rate = None;
        self.loads += 1;
    }

    /// Sends the last answer to a command that never started.
    fn answer_superseded(&mut self, command: &Command) {
        if let &Command::Generate { generation, .. } = command {
            let from = self.desk.as_mut().map_or(0, |desk| desk.session().given());
            self.finish(&Run { generation, from, overflow: None, speed: Speed::default() });
        }
    }

    async fn route(&mut self, generation: u64, text: &str) -> Result<()> {
        let (keep, overflow) = self.desk()?.set_text(text)?;
        let mut run = Run { generation, from: keep, overflow, speed: Speed::default() };
        let ended = self.run_pending(&mut run, true).await?;
        if self.rate.is_none() && run.speed.tokens > 0 {
            self.rate = Some(1000.0 * run.speed.tokens as f64 / run.speed.ms.max(0.1));
        }
        if !ended {
            self.run_baseline(generation).await?;
        }
        Ok(())
    }

    /// Sets the policy, and runs the text under it.
    async fn set_policy(&mut self, generation: u64, policy: Policy) {
        let set = match self.desk() {
            Ok(desk) => desk.set_policy(&policy).await,
            Err(error) => Err(error),
        };
        if let Err(error) = set {
            return (self.send)(Event::PolicyRefused { generation, message: error.to_string() });
        }
        let Some(desk) = &mut self.desk else { return };
        let (policy, from) = (desk.policy().clone(), desk.session().given());
        let limits = desk.limits();
        (self.send)(Event::PolicySet { generation, policy, limits });
        let mut run = Run { generation, from, overflow: None, speed: Speed::default() };
        let done = match self.run_holding(&mut run, true, usize::MAX, HOLD_MS).await {
            Ok(false) => self.run_baseline(generation).await,
            done => done.map(|_| ()),
        };
        self.report(generation, done);
    }

    /// Runs the baseline (the model's own routing) while a policy is in use, until a newer command ends the run.
    async fn run_baseline(&mut self, generation: u64) -> Result<()> {
        let mut speed = Speed::default();
        loop {
            let desk = self.desk()?;
            let Some(baseline) = desk.baseline() else { return Ok(()) };
            let from = baseline.given();
            if baseline.pending() == 0 {
                let (more, done) = (Trace::default(), true);
                (self.send)(Event::Baseline { generation, from, more, speed, done });
                return Ok(());
            }
            let start = now();
            let more = desk.advance_baseline(CHUNK).await?;
            speed = Speed { tokens: speed.tokens + more.len(), ms: speed.ms + now() - start };
            (self.send)(Event::Baseline { generation, from, more, speed, done: false });
            if self.inbox.interrupts_run().await {
                return Ok(());
            }
        }
    }

    /// Runs the text in every case of a sweep, and sends each result.
    async fn sweep(&mut self, request: Request, sweep: Sweep) -> Result<()> {
        match sweep {
            Sweep::Ablation => {
                let mut ablation = self.desk()?.ablation()?;
                let cases = ablation.cases();
                for (n, &(layer, expert)) in cases.iter().enumerate() {
                    let found = Swept::Ablation(vec![ablation.without(layer, expert)]);
                    if self.tell_swept(request, found, (n + 1, cases.len())).await {
                        return Ok(());
                    }
                }
            }
            Sweep::Choices => {
                let (cases, ids) = self.desk()?.choices()?;
                let mut session = None;
                for (n, (k, policy)) in cases.iter().enumerate() {
                    let point = self.desk()?.choices_point(&mut session, *k, policy, &ids).await?;
                    if self.tell_swept(request, Swept::Choices(vec![point]), (n + 1, cases.len())).await {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// Sends a result of a sweep. Returns true where it is the last one: all cases are done, or a newer command ends
    /// the sweep.
    async fn tell_swept(&self, request: Request, found: Swept, progress: (usize, usize)) -> bool {
        let done = self.inbox.interrupts_run().await || progress.0 == progress.1;
        (self.send)(Event::Swept { request, found, progress, done });
        done
    }

    /// Draws and runs one token after the other; the last answer has `done`.
    async fn generate(&mut self, generation: u64, tokens: usize, sampling: Sampling) -> Result<()> {
        let session = self.desk()?.session();
        session.check_causal("generation")?;
        if session.ids().is_empty() {
            return Err(Error::Input("there is no text to continue; type a few words first".into()));
        }
        let mut run = Run { generation, from: session.given(), overflow: None, speed: Speed::default() };
        let end = session.ids().len().saturating_add(tokens).min(session.engine().architecture().context);
        loop {
            // First the rest of the text, where its run was stopped or another engine has to run it again.
            let session = self.desk()?.session();
            if session.pending() > 0 && self.run_pending(&mut run, false).await? {
                return Ok(());
            }
            let session = self.desk()?.session();
            let left = end - session.ids().len();
            if left == 0 || session.last_logits().is_empty() {
                self.finish(&run);
                return Ok(());
            }
            if self.generate_one(&mut run, left, &sampling).await? {
                return Ok(());
            }
        }
    }

    /// Draws the next of `left` tokens and sends it, unless another engine has to run the text first. Returns true,
    /// and sends `done`, after the last token or where a newer command ends the run.
    async fn generate_one(&mut self, run: &mut Run, left: usize, sampling: &Sampling) -> Result<bool> {
        let start = now();
        let ahead = run.speed.tokens_in(AHEAD_MS).clamp(1, left);
        let desk = self.desk.as_mut().expect("a run has a model");
        let more = match desk.draw(sampling, ahead).await? {
            Advance::Routed(more) => more,
            Advance::EngineChanged => {
                run.from = 0;
                self.tell_backend();
                return Ok(false);
            }
        };
        run.speed = Speed { tokens: run.speed.tokens + 1, ms: run.speed.ms + now() - start };
        let total = desk.session().ids().len();
        let ended = desk.text_ended();
        let last = self.inbox.interrupts_run().await || left == 1 || ended;
        let from = run.from;
        run.from += more.len();
        (self.send)(run.routed(from, more, total, last));
        Ok(last)
    }

    /// Runs the pending tokens chunk by chunk and sends each chunk. The last one has `done` if `finish` is set or if a
    /// newer command ended the run. Returns whether a newer command did.
    async fn run_pending(&mut self, run: &mut Run, finish: bool) -> Result<bool> {
        self.run_holding(run, finish, CHUNK, 0.0).await
    }

    /// As [`Self::run_pending`], with chunks of at most `most` tokens. Chunks that are done within `hold` milliseconds
    /// are sent together, so that the page does not redraw a whole text piece by piece.
    async fn run_holding(&mut self, run: &mut Run, finish: bool, most: usize, hold: f64) -> Result<bool> {
        let (mut held, mut sent_at) = (Trace::default(), now());
        loop {
            let start = now();
            let desk = self.desk.as_mut().expect("a run has a model");
            let more = match desk.advance(most).await? {
                Advance::Routed(trace) => trace,
                Advance::EngineChanged => {
                    run.from = 0;
                    held = Trace::default();
                    (self.send)(Event::BackendChanged(Box::new(desk.info.clone())));
                    continue;
                }
            };
            run.speed.ms += now() - start;
            run.speed.tokens += more.len();
            held.extend(&more);
            let left = desk.session().pending();
            let total = desk.session().ids().len();
            let ended = self.inbox.interrupts_run().await;
            let last = ended || left == 0;
            if last || now() - sent_at >= hold {
                let from = run.from;
                run.from += held.len();
                (self.send)(run.routed(from, std::mem::take(&mut held), total, ended || (left == 0 && finish)));
                sent_at = now();
            }
            if last {
                return Ok(ended);
            }
        }
    }

    fn finish(&mut self, run: &Run) {
        let total = self.desk.as_mut().map_or(0, |desk| desk.session().ids().len());
        (self.send)(run.routed(run.from, Trace::default(), total, true));
    }

    fn tell_pool(&self) {
        if let Some(figures) = self.desk.as_ref().and_then(Desk::pool) {
            (self.send)(Event::Pool(figures));
        }
    }

    fn backend(&self) -> Option<Backend> {
        self.desk.as_ref().map(|desk| desk.info.backend.clone())
    }

    fn tell_backend(&self) {
        if let Some(desk) = &self.desk {
            (self.send)(Event::BackendChanged(Box::new(desk.info.clone())));
        }
    }

    fn desk(&mut self) -> Result<&mut Desk> {
        self.desk.as_mut().ok_or_else(|| Error::Input("no model is loaded yet".into()))
    }

    fn report(&self, generation: u64, done: Result<()>) {
        if let Err(error) = done {
            (self.send)(Event::RunFailed { generation, message: error.to_string() });
        }
    }

    fn answer<T>(&self, request: Request, answer: Result<T>, event: impl Fn(Request, T) -> Event) {
        (self.send)(match answer {
            Ok(content) => event(request, content),
            Err(error) => Event::RequestFailed { request, message: error.to_string() },
        });
    }
}

/// Why a GPU engine is not used that was slower than the CPU engine.
fn slower(gpu: &Engine, timed: Timed) -> Error {
    let adapter = match gpu.backend() {
        Backend::Gpu { adapter } => adapter,
        _ => String::new(),
    };
    let Timed { prefill, decoded, cpu_ms, gpu_ms } = timed;
    Error::Device(format!(
        "it was faster: {cpu_ms:.0} ms for {prefill} tokens at once and {decoded} one by one, and {gpu_ms:.0} ms on \
         {adapter}"
    ))
}

/// A run in progress.
struct Run {
    generation: u64,
    /// The length of the page's trace: where the next answer continues it.
    from: usize,
    overflow: Option<Overflow>,
    speed: Speed,
}

impl Run {
    fn routed(&self, from: usize, more: moescope::routing::Trace, total: usize, done: bool) -> Event {
        Event::Routed {
            generation: self.generation,
            from,
            more,
            total,
            overflow: self.overflow.clone(),
            speed: self.speed,
            done,
        }
    }
}
