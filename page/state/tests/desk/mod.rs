//! A page without a browser: the state, and a worker that answers its commands with a real model on the CPU engine.

use moescope::engine::Engine;
use moescope::model::files::read_dir;
use moescope::model::{Backend, Model};
use moescope::routing::{Policy, Trace};
use moescope::session::{Lens, Session};
use moescope::tokenizer::Tokenizer;
use moescope_state::address::Address;
use moescope_state::example::Example;
use moescope_state::{Action, Effect, Offered, State};
use moescope_worker::protocol::{Command, Event, Prompt, Sampling, Source, Speed};
use std::collections::VecDeque;
use std::path::Path;

/// The text of the first example.
pub const FIRST: &str = "The house stood by the water.";

/// A page, and what it asked of the browser.
pub struct Page {
    /// What the page knows.
    pub state: State,
    /// What the browser has still to do, oldest first.
    pub effects: Vec<Effect>,
    /// Commands that the worker has not answered. They wait while `holds` is set.
    pub waiting: VecDeque<Command>,
    /// Whether the worker answers nothing.
    pub holds: bool,
    worker: Worker,
}

impl Page {
    /// The page at this address, with its first model loaded and its text routed.
    pub fn open(link: &str) -> Self {
        let mut page = Self::empty(link);
        page.act(Action::Load { source: source("tiny"), asked: Some("tiny".into()) });
        page
    }

    /// The page before its first model is loaded.
    pub fn empty(link: &str) -> Self {
        let state = State::new(&Address::parse("", link), false, Some("kept".into()));
        let (effects, waiting) = (Vec::new(), VecDeque::new());
        let mut page = Self { state, effects, waiting, holds: false, worker: Worker::new() };
        page.act(Action::Examples(vec![Example { id: "one".into(), label: "One".into(), text: FIRST.into() }]));
        let files = ["experts.json", "curves.json", "recording.json"].map(str::to_owned).to_vec();
        let offered = |name: &str, opening: Option<&str>| Offered {
            name: name.into(),
            files: files.clone(),
            opening: opening.map(str::to_owned),
            ..Offered::default()
        };
        page.act(Action::Models(vec![offered("tiny", None), offered("switch", Some("the the the"))]));
        page
    }

    /// Does `action`, and lets the worker answer until nothing is left to answer.
    pub fn act(&mut self, action: Action) {
        let effects = self.state.apply(action);
        self.sort(effects);
        while let Some(command) = self.waiting.pop_front().filter(|_| !self.holds) {
            for event in self.worker.answer(as_a_message(&command)) {
                let effects = self.state.apply(Action::Worker(Box::new(as_a_message(&event))));
                self.sort(effects);
            }
        }
    }

    /// Does `action` while the worker answers nothing; returns the commands.
    pub fn held(&mut self, action: Action) -> Vec<Command> {
        let effects = self.state.apply(action);
        self.sort(effects);
        self.waiting.drain(..).collect()
    }

    /// The worker says something by itself.
    pub fn hear(&mut self, event: Event) {
        self.act(Action::Worker(Box::new(event)));
    }

    fn sort(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send(command) => self.waiting.push_back(command),
                other => self.effects.push(other),
            }
        }
    }

    /// The trace of the page's text by a new session, under the policy of the page.
    pub fn fresh(&self) -> Trace {
        let ids = self.worker.ids(&self.state.text);
        let mut session = self.worker.session(&self.state.changes.in_use).expect("the policy is in use");
        pollster::block_on(session.run(&ids, Some(&self.worker.tokenizer), |_| {})).expect("a trace")
    }
}

/// A command or an event as it comes out of a message between page and worker, whose form has no names of fields.
fn as_a_message<T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug>(sent: &T) -> T {
    let message = bincode::serialize(sent).expect("it can be sent");
    let read = bincode::deserialize(&message).expect("it can be read");
    assert_eq!(&read, sent);
    read
}

/// The source of a model of the site.
pub fn source(name: &str) -> Source {
    Source::Url(format!("https://host.example/models/{name}/"))
}

struct Worker {
    model: Model,
    tokenizer: Tokenizer,
    own: Session,
    changed: Option<Session>,
}

impl Worker {
    fn new() -> Self {
        let files = read_dir(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../www/models/tiny")).expect("a model");
        let model = Model::new(&files).expect("a model");
        let json = files.tokenizer.as_ref().expect("a tokenizer");
        let tokenizer = Tokenizer::new(json, model.architecture.vocabulary).expect("a tokenizer");
        let own = Session::new(Engine::cpu(&model).expect("an engine"));
        Self { model, tokenizer, own, changed: None }
    }

    fn ids(&self, text: &str) -> Vec<u32> {
        self.tokenizer.encode(text).expect("ids").0
    }

    fn session(&self, policy: &Policy) -> moescope::error::Result<Session> {
        let engine = Engine::cpu(&self.model)?;
        match policy.settings(&self.model.architecture)? {
            Some(settings) => Ok(Session::new(pollster::block_on(engine.fork(settings))?)),
            None => Ok(Session::new(engine)),
        }
    }

    /// The events that answer `command`.
    fn answer(&mut self, command: Command) -> Vec<Event> {
        match command {
            Command::Load { source, .. } => {
                let Source::Url(url) = source else { panic!("the tests load addresses") };
                let mut info = self.model.info(Backend::Cpu, None);
                info.name = url.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
                *self = Self::new();
                vec![Event::Loaded(Box::new(info))]
            }
            Command::Route { generation, text } => self.route(generation, &self.ids(&text)),
            Command::Generate { generation, tokens, sampling } => self.generate(generation, tokens, sampling),
            Command::SetPolicy { generation, policy } => self.set_policy(generation, policy),
            Command::Inspect { request, position } => {
                let mut lens = Lens::new(&self.model, self.own.engine()).expect("a lens");
                let layers = lens.inspect(&self.own.ids()[..=position], Some(&self.tokenizer)).expect("finite numbers");
                vec![Event::Inspected { request, position, layers }]
            }
            Command::TrySets { request, layer, position } => {
                let mut lens = Lens::new(&self.model, self.own.engine()).expect("a lens");
                let tried = lens.try_sets(layer, &self.own.ids()[..=position + 1]).expect("a small layer");
                vec![Event::Tried { request, tried }]
            }
            Command::Complete { request, prompt: Prompt::Text(text), plain, .. } => {
                let json =
                    serde_json::json!({"text": format!("{text} and on{}", if plain { "" } else { " otherwise" })});
                vec![Event::Generated { request, json: json.to_string() }]
            }
            Command::Profile { request } => {
                vec![Event::RequestFailed { request, message: "the model runs on the CPU".into() }]
            }
            Command::Stop | Command::Sweep { .. } => Vec::new(),
            other => panic!("the page does not send {other:?}"),
        }
    }

    fn route(&mut self, generation: u64, ids: &[u32]) -> Vec<Event> {
        let tokenizer = &self.tokenizer;
        let run = |session: &mut Session| {
            let from = session.set(ids.to_vec());
            let mut more = Trace::default();
            while session.pending() > 0 {
                more.extend(&pollster::block_on(session.advance(Some(tokenizer), usize::MAX, |_| {})).expect("a step"));
            }
            (from, more)
        };
        let speed = Speed::default();
        let (own_from, own) = run(&mut self.own);
        let Some(changed) = &mut self.changed else {
            return vec![routed(generation, own_from, own, ids.len(), true)];
        };
        let (from, more) = run(changed);
        vec![
            routed(generation, from, more, ids.len(), true),
            Event::Baseline { generation, from: own_from, more: own, speed, done: true },
        ]
    }

    /// One answer for each token, as the worker gives them, and a last one.
    fn generate(&mut self, generation: u64, tokens: usize, sampling: Sampling) -> Vec<Event> {
        let session = self.changed.as_mut().unwrap_or(&mut self.own);
        let mut events = Vec::new();
        for _ in 0..tokens {
            let from = session.ids().len();
            let more = pollster::block_on(session.draw(&sampling, 1, Some(&self.tokenizer))).expect("a token");
            events.push(routed(generation, from, more, from + 1, false));
        }
        let total = session.ids().len();
        events.push(routed(generation, total, Trace::default(), total, true));
        events
    }

    fn set_policy(&mut self, generation: u64, policy: Policy) -> Vec<Event> {
        match self.session(&policy) {
            Err(error) => vec![Event::PolicyRefused { generation, message: error.to_string() }],
            Ok(session) => {
                let limits = vec![None; self.model.architecture.layers.len()];
                self.changed = (policy != Policy::default()).then_some(session);
                let mut events = vec![Event::PolicySet { generation, policy, limits }];
                let ids = self.own.ids().to_vec();
                events.extend(self.route(generation, &ids));
                events
            }
        }
    }
}

fn routed(generation: u64, from: usize, more: Trace, total: usize, done: bool) -> Event {
    Event::Routed { generation, from, more, total, overflow: None, speed: Speed::default(), done }
}
