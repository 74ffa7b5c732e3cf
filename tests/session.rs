//! After any sequence of edits, drawn tokens, policies and forks, a session has the trace of a fresh run.

use moescope::engine::cpu::CpuEngine;
use moescope::engine::{Engine, Sampling};
use moescope::model::{Model, files};
use moescope::routing::{Policy, Trace};
use moescope::session::Session;
use moescope::shape::{GROUP, Settings, experts_choose, own_settings};
use pollster::block_on;
use proptest::prelude::*;
use std::path::Path;

/// An operation on a session.
#[derive(Clone, Debug)]
enum Operation {
    /// Replaces the tokens from a position on, given as a share of the text.
    Edit { from: f64, with: Vec<u32> },
    /// Keeps a share of the text.
    Truncate { to: f64 },
    /// Runs at most `most` pending tokens.
    Advance { most: usize },
    /// Runs the pending tokens, then draws tokens.
    Draw { tokens: usize, seed: u64 },
    /// Sets another policy, by its index in [`POLICIES`].
    Policy(usize),
    /// Makes another engine on the same weights, with the same policy.
    Fork,
}

/// Policies that are valid for every model here.
const POLICIES: [&str; 7] = [
    "{}",
    r#"{"off":[1]}"#,
    r#"{"top_k":1}"#,
    r#"{"layers":[0],"temperature":2.5,"noise":0.7}"#,
    r#"{"force":[0],"tokens":[3,6]}"#,
    r#"{"capacity_factor":0.6,"overflow":"next-best"}"#,
    r#"{"gate":"expert-choice"}"#,
];

/// Tokens from a small vocabulary, so that common prefixes are likely.
fn tokens(most: usize) -> impl Strategy<Value = Vec<u32>> {
    proptest::collection::vec(0u32..6, 0..most)
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => (0.0..1.0, tokens(GROUP + 30)).prop_map(|(from, with)| Operation::Edit { from, with }),
        1 => (0.0..1.0).prop_map(|to| Operation::Truncate { to }),
        3 => (1usize..40).prop_map(|most| Operation::Advance { most }),
        2 => (1usize..4, any::<u64>()).prop_map(|(tokens, seed)| Operation::Draw { tokens, seed }),
        1 => (0..POLICIES.len()).prop_map(Operation::Policy),
        1 => Just(Operation::Fork),
    ]
}

/// A session, and the trace that its caller has collected.
struct Machine {
    model: Model,
    session: Session,
    trace: Trace,
}

impl Machine {
    fn new(fixture: &str) -> Self {
        let directory = Path::new("tests/golden/fixtures").join(fixture);
        let model = Model::new(&files::read_dir(&directory).unwrap()).unwrap();
        let session = Session::new(engine(&model, own_settings(&model.architecture)));
        Self { model, session, trace: Trace::default() }
    }

    fn settings(&self) -> Settings {
        self.session.engine().settings().clone()
    }

    fn set(&mut self, ids: Vec<u32>) {
        let kept = self.session.set(ids);
        self.trace.truncate(kept);
    }

    fn advance(&mut self, most: usize) {
        let more = block_on(self.session.advance(None, most, |_| {})).unwrap();
        self.trace.extend(&more);
        assert_eq!(self.trace.len(), self.session.given(), "the caller has the trace of what the session gave");
    }

    fn finish(&mut self) {
        while self.session.pending() > 0 {
            self.advance(usize::MAX);
        }
    }

    fn perform(&mut self, operation: &Operation) {
        let ids = self.session.ids().to_vec();
        let place = |share: f64| (share * ids.len() as f64) as usize;
        match operation {
            Operation::Edit { from, with } => self.set([&ids[..place(*from)], with].concat()),
            Operation::Truncate { to } => self.set(ids[..place(*to)].to_vec()),
            Operation::Advance { most } => self.advance(*most),
            Operation::Draw { tokens, seed } => self.draw(*tokens, *seed),
            Operation::Policy(number) => {
                let policy = Policy::parse(POLICIES[*number]).unwrap().settings(&self.model.architecture).unwrap();
                self.session.set_settings(policy.unwrap_or_else(|| own_settings(&self.model.architecture)));
                self.trace = Trace::default();
            }
            Operation::Fork => {
                let fork = block_on(self.session.engine().fork(self.settings())).unwrap();
                self.session.replace_engine(fork);
                self.trace = Trace::default();
            }
        }
    }

    /// Draws tokens where that is allowed: some text was routed, the context has room, and routing is causal.
    fn draw(&mut self, tokens: usize, seed: u64) {
        self.finish();
        let sampling = Sampling { seed, ..Sampling::default() };
        for _ in 0..tokens {
            if self.session.last_logits().is_empty()
                || !self.session.has_room()
                || experts_choose(self.session.engine().settings())
            {
                return;
            }
            let more = block_on(self.session.draw(&sampling, 1, None)).unwrap();
            assert_eq!(more.len(), 1);
            self.trace.extend(&more);
        }
    }

    /// The trace of the session's text, from a new engine.
    fn fresh(&self) -> Trace {
        let mut session = Session::new(engine(&self.model, self.settings()));
        block_on(session.run(self.session.ids(), None, |_| {})).unwrap()
    }
}

fn engine(model: &Model, settings: Settings) -> Engine {
    Engine::Cpu(Box::new(CpuEngine::new(model).unwrap().fork(settings)))
}

/// The same decisions and surprise, bit for bit: on the CPU a sum has one order, for any size of chunks.
fn assert_same(held: &Trace, fresh: &Trace) {
    assert_eq!(held.len(), fresh.len());
    assert_eq!(held.tokens, fresh.tokens);
    if !fresh.is_empty() {
        assert_eq!(held.layers, fresh.layers);
    }
    let bits = |trace: &Trace| trace.surprise.iter().map(|bits| bits.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(held), bits(fresh));
    assert_eq!(held.guesses, fresh.guesses);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_operations_holds_the_trace_of_a_fresh_run(
        fixture in proptest::sample::select(vec![
            "basic", "window", "switch", "sigmoid-bias", "hierarchical", "granitehybrid"
        ]),
        operations in proptest::collection::vec(operation(), 1..14),
    ) {
        let mut machine = Machine::new(fixture);
        for operation in &operations {
            // Some models reject a policy with another gate than their own.
            if let Operation::Policy(number) = operation {
                let policy = Policy::parse(POLICIES[*number]).unwrap();
                if policy.settings(&machine.model.architecture).is_err() {
                    continue;
                }
            }
            machine.perform(operation);
            // The caller's trace must be right at every moment, also while tokens are pending. Under expert choice,
            // later tokens of a window can still change it.
            if !experts_choose(machine.session.engine().settings()) {
                let mut fresh = machine.fresh();
                fresh.truncate(machine.trace.len());
                assert_same(&machine.trace, &fresh);
            }
        }
        machine.finish();
        assert_same(&machine.trace, &machine.fresh());
    }
}
