//! Continuations: tokens drawn with several steps in flight equal those drawn one after the other, on both engines.

use super::engines::Kind;
use super::{case, model, shipped};
use libtest_mimic::Trial;
use moescope::engine::Engine;
use moescope::engine::gpu::AHEAD;
use moescope::model::Model;
use moescope::routing::{Policy, Trace};
use moescope::session::{Sampling, Session};

/// The tests of this file on a GPU engine.
pub fn tests(kind: Kind) -> Vec<Trial> {
    vec![
        kind.test(
            "the_shipped_model_goes_on_the_same_way_on_every_engine",
            the_shipped_model_goes_on_the_same_way_on_every_engine,
        ),
        kind.test(
            "steps_in_flight_count_what_experts_took_and_end_with_the_context",
            steps_in_flight_count_what_experts_took_and_end_with_the_context,
        ),
        kind.test(
            "another_text_or_another_seed_leaves_the_steps_in_flight",
            another_text_or_another_seed_leaves_the_steps_in_flight,
        ),
        kind.test("states_go_back_with_the_text", states_go_back_with_the_text),
    ]
}

const SAMPLINGS: [Sampling; 4] = [
    Sampling { temperature: 0.0, top_p: 1.0, seed: 1 },
    Sampling { temperature: 0.8, top_p: 1.0, seed: 1 },
    Sampling { temperature: 1.2, top_p: 1.0, seed: 3 << 40 },
    Sampling { temperature: 1.2, top_p: 0.6, seed: 5 },
];

/// The prompt and up to `tokens` more tokens. `ahead(n)` is the number of steps in flight when the token after `n`
/// others is drawn.
fn continued(
    session: &mut Session,
    prompt: &[u32],
    tokens: usize,
    sampling: &Sampling,
    ahead: impl Fn(usize) -> usize,
) -> Trace {
    pollster::block_on(async {
        let mut trace = session.run(prompt, None, |_| {}).await.unwrap();
        for n in 0..tokens {
            if session.has_room() {
                trace.extend(&session.draw(sampling, ahead(n), None).await.unwrap());
            }
        }
        assert_eq!(session.ids(), ids(&trace));
        trace
    })
}

fn cpu(model: &Model) -> Session {
    Session::new(Engine::cpu(model).unwrap())
}

fn ids(trace: &Trace) -> Vec<u32> {
    trace.tokens.iter().map(|token| token.id).collect()
}

fn the_shipped_model_goes_on_the_same_way_on_every_engine(kind: Kind) {
    let (model, texts) = shipped();
    let (mut cpu, mut gpu) = (cpu(&model), Session::new(kind.open(&model)));
    for (n, (_, text)) in texts.iter().enumerate().take(4) {
        let prompt = &text[..text.len().min(20)];
        let sampling = &SAMPLINGS[n];
        let expected = continued(&mut cpu, prompt, 30, sampling, |_| 1);
        let one = continued(&mut gpu, prompt, 30, sampling, |_| 1);
        assert_eq!(ids(&one), ids(&expected), "{sampling:?}");
        for ahead in [2, AHEAD, usize::MAX] {
            // All parts of the trace are equal, bit for bit.
            let trace = continued(&mut gpu, prompt, 30, sampling, |_| ahead);
            assert!(trace == one, "{ahead} in flight, {sampling:?}");
        }
        let trace = continued(&mut gpu, prompt, 30, sampling, |n| 1 + n * 5 % 7);
        assert!(trace == one, "more and fewer in flight, {sampling:?}");
    }
}

/// Models with capacities that are reached, a policy with a random gate, and a text that fills the context.
fn steps_in_flight_count_what_experts_took_and_end_with_the_context(kind: Kind) {
    let policy = Policy::parse(r#"{"noise": 0.5, "seed": 3, "capacity_factor": 0.8}"#).unwrap();
    for (name, policy) in [("switch", Policy::default()), ("capacity-top2", Policy::default()), ("basic", policy)] {
        let model = model(&case(name));
        let settings = policy.settings_or_own(&model.architecture).unwrap();
        let own = kind.open(&model);
        let mut session = Session::new(pollster::block_on(own.fork(settings)).unwrap());
        let prompt = [5, 9, 2, 7, 11];
        let one = continued(&mut session, &prompt, 1000, &SAMPLINGS[2], |_| 1);
        assert_eq!(one.len(), model.architecture.context, "{name}");
        let trace = continued(&mut session, &prompt, 1000, &SAMPLINGS[2], |_| AHEAD);
        assert!(trace == one, "{name}");
        assert!(one.layers.iter().any(|layer| layer.dropped.contains(&true)), "{name}: no expert was full");
    }
}

/// A model whose layers keep states goes on from any earlier place as the CPU does, also after drawn tokens.
fn states_go_back_with_the_text(kind: Kind) {
    let model = model(&case("granitehybrid"));
    let (mut cpu, mut gpu) = (cpu(&model), Session::new(kind.open(&model)));
    let text: Vec<u32> = (0..200u32).map(|n| n * n % 96).collect();
    // Longer than the tokens between two kept states, and shorter; with steps in flight that are given up.
    for (prompt, ahead) in [(&text[..150], 1), (&text[..148], AHEAD), (&text[..20], AHEAD), (&text[..200], 1)] {
        for kept in [prompt.len(), prompt.len() - 3] {
            let [expected, found] = [(&mut cpu, 1), (&mut gpu, ahead)]
                .map(|(session, ahead)| continued(session, &prompt[..kept], 6, &SAMPLINGS[0], |_| ahead));
            assert_eq!(ids(&found), ids(&expected), "{} tokens, {ahead} in flight", kept);
            for (found, expected) in found.layers.iter().zip(&expected.layers) {
                assert_eq!(found.selected, expected.selected, "{kept} tokens, {ahead} in flight");
            }
        }
    }
}

/// Another request while steps are in flight discards them without a trace.
fn another_text_or_another_seed_leaves_the_steps_in_flight(kind: Kind) {
    let (model, texts) = shipped();
    let mut session = Session::new(kind.open(&model));
    let (prompt, other) = (&texts[0].1[..10], &texts[1].1[..70]);
    let expected = continued(&mut session, prompt, 12, &SAMPLINGS[1], |_| 1);
    let run = |session: &mut Session, ids: &[u32]| pollster::block_on(session.run(ids, None, |_| {})).unwrap();
    let text = run(&mut session, other);

    continued(&mut session, prompt, 5, &SAMPLINGS[1], |_| AHEAD);
    assert!(run(&mut session, other) == text, "another text in the middle");

    let mut trace = continued(&mut session, prompt, 5, &SAMPLINGS[1], |_| AHEAD);
    let Engine::Gpu(engine) = session.engine_mut() else { panic!("asked for the GPU") };
    pollster::block_on(engine.profile(prompt, 0)).unwrap();
    for _ in 0..7 {
        trace.extend(&pollster::block_on(session.draw(&SAMPLINGS[1], AHEAD, None)).unwrap());
    }
    assert!(trace == expected, "kernels timed in the middle");

    continued(&mut session, prompt, 5, &SAMPLINGS[2], |_| AHEAD);
    session.set(prompt.to_vec());
    let mut trace = run(&mut session, prompt);
    for n in 0..12 {
        // One step at a time in between, too.
        let ahead = if n == 6 { 1 } else { AHEAD };
        trace.extend(&pollster::block_on(session.draw(&SAMPLINGS[1], ahead, None)).unwrap());
    }
    assert!(trace == expected, "another seed in the middle");
}
