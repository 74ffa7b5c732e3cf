//! A model on a text, run by a worker of its own: the second side of a comparison.

use crate::growing::Growing;
use crate::phrase::Phrase;
use crate::shared::Shared;
use moescope::model::ModelInfo;
use moescope::routing::{Policy, Trace};
use moescope_worker::protocol::{BackendChoice, Command, Event, Opening, Source};

/// What was asked for and what has come of it. Its methods return the commands for the worker.
#[derive(Default)]
pub struct Run {
    /// The text.
    pub text: Shared<String>,
    /// Its trace so far.
    pub trace: Shared<Trace>,
    /// While a policy is in use, the trace under the model's own routing.
    baseline: Shared<Trace>,
    /// The model in use.
    pub model: Option<Shared<ModelInfo>>,
    /// The policy that the engine uses.
    pub policy: Policy,
    /// Why the engine rejected another one.
    pub refused: Option<String>,
    /// Why there is no model or no trace.
    pub problem: Option<Phrase>,
    /// The policy that is asked for.
    asked: Policy,
    /// Number of loads that have not been answered; only the last one counts.
    loads: usize,
    /// The number of the newest run.
    generation: u64,
    growing: [Growing; 2],
}

impl Run {
    /// Nothing has been asked for yet; the model will run under this policy.
    pub fn new(policy: Policy) -> Self {
        Self { asked: policy, ..Self::default() }
    }

    /// Loads a model; the text stays.
    pub fn load(&mut self, source: Source, backend: BackendChoice, opening: Opening) -> Vec<Command> {
        self.loads += 1;
        self.problem = None;
        vec![Command::Load { source, backend, opening }]
    }

    /// The text is another one.
    pub fn edit(&mut self, text: Shared<String>) -> Vec<Command> {
        self.text = text;
        self.route()
    }

    /// The model is to run under another policy.
    pub fn set_policy(&mut self, policy: Policy) -> Vec<Command> {
        self.asked = policy.clone();
        self.refused = None;
        if self.model.is_none() {
            return Vec::new();
        }
        self.generation += 1;
        vec![Command::SetPolicy { generation: self.generation, policy }]
    }

    /// The worker sent an event.
    pub fn hear(&mut self, event: Event) -> Vec<Command> {
        match event {
            Event::Loaded(info) => return self.loaded(*info),
            Event::LoadFailed { message } => {
                self.loads = self.loads.saturating_sub(1);
                if self.loads == 0 {
                    self.problem = Some(message.into());
                }
            }
            Event::Routed { from, more, .. } => self.growing[0].append(&mut self.trace, from, more),
            Event::Baseline { from, more, .. } => self.growing[1].append(&mut self.baseline, from, more),
            Event::PolicySet { policy, .. } => self.policy_set(policy),
            Event::PolicyRefused { generation, message } if generation == self.generation => {
                self.refused = Some(message);
            }
            Event::RunFailed { message, .. } => self.problem = Some(message.into()),
            Event::BackendChanged(info) => self.model = Some(Shared::new(*info)),
            // What a side without controls of its own never asks for.
            _ => {}
        }
        Vec::new()
    }

    /// The engine now uses `policy`. Back under the model's own routing it sends no trace again: that is the baseline.
    fn policy_set(&mut self, policy: Policy) {
        let own = Policy::default();
        let before = std::mem::replace(&mut self.policy, policy);
        match (before == own, self.policy == own) {
            (true, false) => self.baseline = self.trace.clone(),
            (false, true) => self.trace = std::mem::take(&mut self.baseline),
            _ => {}
        }
    }

    fn loaded(&mut self, info: ModelInfo) -> Vec<Command> {
        self.loads = self.loads.saturating_sub(1);
        self.problem = None;
        self.model = Some(Shared::new(info));
        self.trace = Shared::default();
        self.policy = Policy::default();
        let mut commands = self.route();
        if self.asked != Policy::default() {
            commands.extend(self.set_policy(self.asked.clone()));
        }
        commands
    }

    fn route(&mut self) -> Vec<Command> {
        if self.model.is_none() {
            return Vec::new();
        }
        self.generation += 1;
        vec![Command::Route { generation: self.generation, text: (*self.text).clone() }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use moescope::routing::Token;
    use moescope_worker::protocol::Speed;

    fn loaded() -> Event {
        let info = serde_json::json!({
            "name": "main", "family": "mixtral", "layers": 1, "experts": 2, "top_k": 1, "router": "softmax-of-top-k",
            "shared_experts": 0, "capacity": null, "each_layer": [], "vocabulary": 2, "context": 8, "hidden": 4,
            "cost": moescope::model::Cost::default(), "dtype": "f16", "weight_bytes": 1, "backend": "Cpu", "note": null,
        });
        Event::Loaded(serde_json::from_value(info).expect("a model"))
    }

    fn off() -> Policy {
        Policy::parse(r#"{"off":[1]}"#).expect("a policy")
    }

    fn trace(text: &str) -> Trace {
        Trace { tokens: vec![Token { id: 1, text: text.into(), ..Token::default() }], ..Trace::default() }
    }

    #[test]
    fn a_text_that_came_before_the_model_runs_with_it_and_then_under_the_policy() {
        let mut run = Run::new(off());
        assert!(run.edit(Shared::new("hello".into())).is_empty(), "there is no model yet");
        let load = run.load(Source::Url("x".into()), BackendChoice::Cpu, Opening::default());
        assert!(matches!(load[..], [Command::Load { backend: BackendChoice::Cpu, .. }]));
        let commands = run.hear(loaded());
        let [Command::Route { text, .. }, Command::SetPolicy { policy, .. }] = &commands[..] else {
            panic!("{} commands", commands.len());
        };
        assert_eq!((text.as_str(), policy), ("hello", &off()));
    }

    #[test]
    fn another_policy_that_is_refused_leaves_the_one_in_use() {
        let mut run = Run::new(Policy::default());
        run.hear(loaded());
        run.hear(Event::PolicySet { generation: 1, policy: off(), limits: Vec::new() });
        let asked = run.set_policy(Policy::default());
        let [Command::SetPolicy { generation, .. }] = asked[..] else { panic!("no command") };
        run.hear(Event::PolicyRefused { generation: generation - 1, message: "an older one".into() });
        assert_eq!(run.refused, None);
        run.hear(Event::PolicyRefused { generation, message: "no".into() });
        assert_eq!((run.policy, run.refused.as_deref()), (off(), Some("no")));
    }

    #[test]
    fn the_trace_grows_and_another_model_begins_anew() {
        let mut run = Run::new(Policy::default());
        run.hear(loaded());
        for (from, more) in [(0, trace("a")), (1, trace("b")), (1, trace("c"))] {
            let speed = Speed::default();
            run.hear(Event::Routed { generation: 1, from, more, total: 2, overflow: None, speed, done: true });
        }
        let text: String = run.trace.tokens.iter().map(|token| token.text.as_str()).collect();
        assert_eq!(text, "ac");
        run.hear(loaded());
        assert!(run.trace.is_empty());
    }

    #[test]
    fn the_models_own_routing_is_back_with_its_trace() {
        let mut run = Run::new(Policy::default());
        run.hear(loaded());
        let routed = |from, more| Event::Routed {
            generation: 1,
            from,
            more,
            total: 1,
            overflow: None,
            speed: Speed::default(),
            done: true,
        };
        let set = |policy| Event::PolicySet { generation: 2, policy, limits: Vec::new() };
        let shown = |run: &Run| -> String { run.trace.tokens.iter().map(|token| token.text.as_str()).collect() };
        run.hear(routed(0, trace("own")));
        run.hear(set(off()));
        run.hear(routed(0, trace("changed")));
        assert_eq!(shown(&run), "changed");
        let speed = Speed::default();
        run.hear(Event::Baseline { generation: 2, from: 1, more: trace(" more"), speed, done: true });
        run.hear(set(Policy::default()));
        assert_eq!(shown(&run), "own more");
    }

    #[test]
    fn only_the_last_load_counts() {
        let mut run = Run::new(Policy::default());
        for _ in 0..2 {
            run.load(Source::Url("x".into()), BackendChoice::Auto, Opening::default());
        }
        run.hear(Event::LoadFailed { message: "the first".into() });
        assert_eq!(run.problem, None);
        run.hear(Event::LoadFailed { message: "the last".into() });
        assert!(run.problem.is_some());
    }
}
