//! Policies: properties of the gate under them, rejected policies, and sweeps.

use moescope::engine::Engine;
use moescope::engine::cpu::CpuEngine;
use moescope::engine::cpu::ablation::Ablation;
use moescope::kernels::choose::{GateVectors, Room, RoutedToken, Scores, route};
use moescope::kernels::softmax::softmax;
use moescope::model::{Model, files};
use moescope::routing::Policy;
use moescope::routing::effect::mean_bits;
use moescope::session::{Session, choices_sweep, sweep_point};
use moescope::shape::{
    Architecture, AttentionShape, GateKind, LayerShape, MoeShape, NONE, Setting, own_settings, setting_at,
};
use proptest::prelude::*;
use std::path::Path;

/// A model of one Mixtral layer.
fn one_layer(experts: usize, top_k: usize) -> Architecture {
    let layers = vec![LayerShape::new(AttentionShape::new(1, 1, 2, 1e4), MoeShape::mixtral(experts, top_k, 1))];
    Architecture { vocabulary: 9, hidden: 1, context: 512, tied: true, layers, ..Architecture::default() }
}

fn settings(policy: &str, experts: usize, top_k: usize) -> Vec<Setting> {
    let architecture = one_layer(experts, top_k);
    let settings = Policy::parse(policy).unwrap().settings(&architecture).unwrap();
    settings.unwrap_or_else(|| own_settings(&architecture)).remove(0)
}

/// The choice for one token: (expert, weight) by falling weight.
fn choose(settings: &[Setting], place: RoutedToken, logits: &[f32]) -> Vec<(u32, f32)> {
    let setting = setting_at(settings, place.position as usize);
    let (mut selected, mut weights) = (vec![9; setting.experts], vec![9.0; setting.experts]);
    let scores = Scores { router_logits: logits, vectors: &GateVectors::default(), full: &[] };
    route(setting, place, &scores, &mut Room::default(), &mut selected, &mut weights);
    selected.into_iter().zip(weights).filter(|(expert, _)| *expert != NONE).collect()
}

fn any_place() -> impl Strategy<Value = RoutedToken> {
    (0u32..8, 0u32..500, 0u32..2000).prop_map(|(layer, position, id)| RoutedToken { layer, position, id })
}

const E: usize = 8;

fn any_logits() -> impl Strategy<Value = Vec<f32>> {
    proptest::collection::vec(-6.0f32..6.0, E)
}

/// Gates where tokens choose, and how many experts they use.
fn any_token_choice() -> impl Strategy<Value = (String, usize)> {
    let by_token = |kind: &GateKind| !matches!(kind, GateKind::Soft | GateKind::ExpertChoice);
    let names: Vec<String> = GateKind::OF_POLICIES.into_iter().filter(by_token).map(GateKind::name).collect();
    (proptest::sample::select(names), 1usize..=5)
}

proptest! {
    /// Weights fall, sum to 1 where they are renormalised, and belong to k different experts, none of which is off.
    #[test]
    fn nobody_is_routed_to_an_expert_that_is_off(
        (gate, k) in any_token_choice(), place in any_place(), logits in any_logits(), a in 0u32..8, b in 0u32..8,
    ) {
        let no_shares = ["hash", "random", "round-robin"].contains(&gate.as_str());
        let share = if no_shares { "" } else { r#", "renormalise": true"# };
        let fields = format!(r#""top_k": {k}, "off": [{a}, {b}], "temperature": 1.7, "noise": 0.3{share}"#);
        let policy = format!(r#"{{"gate": "{gate}", {fields}}}"#);
        let chosen = choose(&settings(&policy, E, 2), place, &logits);
        prop_assert_eq!(chosen.len(), k);
        prop_assert!((chosen.iter().map(|(_, weight)| weight).sum::<f32>() - 1.0).abs() < 1e-5);
        prop_assert!(chosen.windows(2).all(|pair| pair[0].1 >= pair[1].1));
        prop_assert!(chosen.iter().all(|(expert, _)| *expert != a && *expert != b));
        let different: std::collections::BTreeSet<u32> = chosen.iter().map(|(expert, _)| *expert).collect();
        prop_assert_eq!(different.len(), k);
    }

    /// A policy that restates the model's own settings counts as no policy, and gives the same bits.
    #[test]
    fn a_policy_that_changes_nothing_changes_no_bit(place in any_place(), logits in any_logits()) {
        let same = r#"{"temperature": 1, "bias": [0,0,0,0,0,0,0,0], "noise": 0, "seed": 9, "top_k": 2,
            "renormalise": true,
            "gate": "softmax-top-k", "swap": [[1, 2], [2, 1]]}"#;
        prop_assert!(Policy::parse(same).unwrap().settings(&one_layer(E, 2)).unwrap().is_none());
        let elsewhere = settings(r#"{"off": [1], "tokens": [500, 501]}"#, E, 2);
        prop_assert_eq!(choose(&elsewhere, place, &logits), choose(&settings("{}", E, 2), place, &logits));
    }

    /// Forcing what the gate would choose changes no bit.
    #[test]
    fn forced_equals_natural_where_they_coincide(place in any_place(), logits in any_logits()) {
        let natural = choose(&settings("{}", E, 2), place, &logits);
        let (a, b) = (natural[1].0, natural[0].0);
        let forced = choose(&settings(&format!(r#"{{"force": [{a}, {b}]}}"#), E, 2), place, &logits);
        // The softmax sums the two experts in the other order.
        let experts = |chosen: &[(u32, f32)]| chosen.iter().map(|c| c.0).collect::<Vec<_>>();
        prop_assert_eq!(experts(&forced), experts(&natural));
        prop_assert!(forced.iter().zip(&natural).all(|(f, n)| (f.1 - n.1).abs() < 1e-6));
    }

    /// Permuting the experts permutes the result and changes nothing else.
    #[test]
    fn permuting_experts_permutes_the_result(place in any_place(), logits in any_logits(), a in 0u32..8, b in 0u32..8) {
        let natural = choose(&settings("{}", E, 3), place, &logits);
        let swapped = choose(&settings(&format!(r#"{{"swap": [[{a}, {b}]]}}"#), E, 3), place, &logits);
        let renamed = natural.iter().map(|&(e, w)| (if e == a { b } else if e == b { a } else { e }, w));
        let mut renamed: Vec<(u32, f32)> = renamed.collect();
        renamed.sort_by(|x, y| y.1.total_cmp(&x.1).then(x.0.cmp(&y.0)));
        prop_assert_eq!(swapped, renamed);
    }

    /// The dense mixture gives every expert a weight, and the weights are the softmax.
    #[test]
    fn soft_is_the_softmax_over_all(place in any_place(), logits in any_logits()) {
        let chosen = choose(&settings(r#"{"gate": "soft"}"#, E, 2), place, &logits);
        let mut shares = logits.clone();
        softmax(&mut shares);
        prop_assert_eq!(chosen.len(), E);
        prop_assert!(chosen.iter().all(|&(expert, weight)| (weight - shares[expert as usize]).abs() < 1e-6));
    }
}

/// Every kind of invalid policy, and its error message.
#[test]
fn impossible_policies_are_refused_with_a_sentence() {
    let cases = [
        (r#"{"off": [0,1,2,3,4,5,6,7]}"#, "all experts of layer 0 are off"),
        (r#"{"off": [0,1,2,3,4,5,6]}"#, "only 1 that are not off; set top_k"),
        (r#"{"top_k": 9}"#, "top_k is 9, and layer 0 has 8 experts"),
        (r#"{"top_k": 0}"#, "at least one expert"),
        (r#"{"off": [1], "top_k": 8}"#, "take at most 7"),
        (r#"{"force": [3], "off": [3]}"#, "expert 3 of layer 0 is forced and off"),
        (r#"{"force": [1, 1]}"#, "names expert 1 twice"),
        (r#"{"force": [1, 2, 3]}"#, "force names 3 experts, and a token uses 2"),
        (r#"{"force": [8]}"#, "force names expert 8; layer 0 has experts 0 to 7"),
        (r#"{"gate": "soft", "force": [1]}"#, "force does not work with this gate"),
        (r#"{"gate": "soft", "top_k": 2}"#, "leave top_k out"),
        (r#"{"gate": "hash", "renormalise": true}"#, "renormalise means nothing"),
        (r#"{"temperature": -1}"#, "temperature is -1; it must be a number above 0"),
        (r#"{"temperature": 0}"#, "temperature is 0"),
        (r#"{"noise": -0.5}"#, "noise is -0.5; it must be a number from 0"),
        (r#"{"capacity_factor": 0}"#, "capacity_factor is 0; it must be a number above 0"),
        (r#"{"overflow": "drop"}"#, "overflow needs a capacity_factor"),
        (r#"{"bias": [1, 2]}"#, "bias has 2 numbers, and layer 0 has 8 experts"),
        (r#"{"layers": [4]}"#, "layer 4 does not exist; the model has layers 0 to 0"),
        (r#"{"tokens": [5, 5]}"#, "tokens is [5, 5]"),
        (r#"{"swap": [[0, 1]], "off": [0]}"#, "expert 0 of layer 0 is off and in swap"),
        (r#"{"swap": [[0, 1]], "force": [0]}"#, "forced and in swap"),
        (r#"{"swap": [[0, 12]]}"#, "swap names expert 12"),
    ];
    for (policy, sentence) in cases {
        let error = Policy::parse(policy).unwrap().settings(&one_layer(E, 2)).unwrap_err().to_string();
        assert!(error.contains(sentence), "{policy}: {error}");
    }
    let unread = [
        ("{", "it is not JSON"),
        ("3", "a rule is an object"),
        (r#"{"of": [1]}"#, "unknown field `of`"),
        (r#"[{"off": [1]}, {"gate": "best"}]"#, "rule 2: unknown variant `best`"),
        (r#"{"off": [-1]}"#, "invalid value: integer `-1`"),
    ];
    for (policy, sentence) in unread {
        let error = Policy::parse(policy).unwrap_err().to_string();
        assert!(error.contains(sentence), "{policy}: {error}");
    }
    let dense = Architecture {
        layers: vec![LayerShape { moe: MoeShape::dense(4), ..one_layer(1, 1).layers[0].clone() }],
        ..one_layer(1, 1)
    };
    let error = Policy::parse(r#"{"top_k": 1}"#).unwrap().settings(&dense).unwrap_err().to_string();
    assert!(error.contains("the model has no experts"), "{error}");
}

#[test]
fn a_policy_reads_back_what_it_writes() {
    for json in [
        r#"{"off":[3]}"#,
        r#"{"gate":"noisy-top-k","layers":[1],"noise":0.1,"overflow":"next-best","tokens":[1,5],"top_k":2}"#,
        r#"[{"swap":[[0,1]]},{"bias":[0.5,-0.25],"renormalise":false}]"#,
        "null",
    ] {
        let policy = Policy::parse(json).unwrap();
        assert_eq!(policy.to_json(), serde_json::from_str::<serde_json::Value>(json).unwrap());
        assert_eq!(Policy::parse(&policy.to_json().to_string()).unwrap(), policy);
    }
}

fn fixture(name: &str) -> Model {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/fixtures").join(name);
    Model::new(&files::read_dir(&dir).unwrap()).unwrap()
}

fn whole_run(model: &Model, policy: &Policy, ids: &[u32]) -> moescope::routing::Trace {
    let engine = Engine::cpu(model).unwrap();
    let settings = policy.settings(&model.architecture).unwrap();
    let settings = settings.unwrap_or_else(|| own_settings(&model.architecture));
    pollster::block_on(async {
        Session::new(engine.fork(settings).await.unwrap()).run(ids, None, |_| {}).await.unwrap()
    })
}

/// The sweep over experts, which reuses unchanged results, agrees with running every case from scratch: with a
/// model's own gate, with a capacity, with groups, under policies of every kind.
#[test]
fn the_ablation_equals_whole_runs() {
    let cases = [
        ("basic", "{}"),
        ("many-experts", "{}"),
        ("capacity-top2", "{}"),
        ("hierarchical", "{}"),
        ("sigmoid-bias", "{}"),
        ("basic", r#"{"noise": 0.5, "seed": 4}"#),
        ("basic", r#"[{"off": [2]}, {"tokens": [5, 20], "top_k": 3}]"#),
        ("basic", r#"{"capacity_factor": 0.5, "overflow": "next-best"}"#),
        ("basic", r#"{"gate": "hash"}"#),
        // Tokens that the expert did not serve change too.
        ("basic", r#"{"gate": "top-k-of-softmax"}"#),
        ("grouped", "{}"),
        ("grouped-softmax", "{}"),
        ("softmax-bias", "{}"),
        ("sigmoid-top-k", "{}"),
        ("sparse-mixer", "{}"),
        ("scaled-experts", r#"{"renormalise": false}"#),
        // Layers that keep states, convolutions, a narrow row; experts whose output is normed.
        ("granitehybrid", "{}"),
        ("lfm2-moe", "{}"),
        ("deepseek-v3", "{}"),
        ("afmoe", "{}"),
    ];
    for (name, policy) in cases {
        let model = fixture(name);
        let ids: Vec<u32> = (0..90).map(|n| (n * n + 3 * n + 1) % model.architecture.vocabulary as u32).collect();
        let ids = &ids[..ids.len().min(model.architecture.context)];
        let policy = Policy::parse(policy).unwrap();
        let base = whole_run(&model, &policy, ids);
        let own = own_settings(&model.architecture);
        let settings = policy.settings(&model.architecture).unwrap().unwrap_or(own);
        let mut ablation = Ablation::new(&CpuEngine::new(&model).unwrap(), settings, ids, 1000);
        assert!((ablation.bits_per_token() - mean_bits(&base).per_token).abs() < 1e-4, "{name}");
        let mut changed = 0;
        for (layer, expert) in ablation.cases().into_iter().step_by(3) {
            let got = ablation.without(layer, expert);
            let without = policy.without(layer, expert);
            if without.settings(&model.architecture).is_err() {
                continue;
            }
            let expected = mean_bits(&whole_run(&model, &without, ids)).per_token - mean_bits(&base).per_token;
            assert!((got.bits_per_token - expected).abs() < 1e-4, "{name} {layer}.{expert}: {got:?}, {expected}");
            assert!((got.bits_per_byte * 1000.0 - got.bits_per_token * (ids.len() - 1) as f64).abs() < 1e-6);
            changed += usize::from(expected.abs() > 1e-3);
        }
        assert!(changed > 0, "{name}: no expert changes anything");
    }
}

/// In a sweep over k, each point equals a complete run with that k.
#[test]
fn the_sweep_over_k_runs_every_k() {
    let model = fixture("basic");
    let ids: Vec<u32> = (0..40).map(|n| (n * 7 + 1) % model.architecture.vocabulary as u32).collect();
    let sweep = choices_sweep(&Policy::default(), &model.architecture).unwrap();
    assert_eq!(sweep.iter().map(|(k, _)| *k).collect::<Vec<_>>(), (1..=8).collect::<Vec<_>>());
    let mut session = Session::new(Engine::cpu(&model).unwrap());
    let mut last = 0;
    for (k, policy) in sweep {
        let settings = policy.settings(&model.architecture).unwrap();
        session.set_settings(settings.unwrap_or_else(|| own_settings(&model.architecture)));
        let point = pollster::block_on(sweep_point(&mut session, &model.architecture, &ids, None, k, || 0.0)).unwrap();
        let expected = mean_bits(&whole_run(&model, &policy, &ids)).per_token;
        assert!((point.bits_per_token - expected).abs() < 1e-6, "k = {k}");
        assert!(point.active_parameters > last, "k = {k} touches no more than k = {}", k - 1);
        last = point.active_parameters;
    }
    let hierarchical = fixture("hierarchical");
    let refused = choices_sweep(&Policy::default(), &hierarchical.architecture);
    assert!(refused.is_ok_and(|points| points.len() == 1), "only its own k");
}

/// No expert takes more than its share of any 64 tokens.
#[test]
fn capacity_is_never_exceeded() {
    let model = fixture("basic");
    let ids: Vec<u32> = (0..model.architecture.context.min(200) as u32).map(|n| (n * n) % 50).collect();
    for overflow in ["drop", "next-best"] {
        for factor in [0.3, 0.8, 1.0] {
            let policy = format!(r#"{{"capacity_factor": {factor}, "overflow": "{overflow}"}}"#);
            let trace = whole_run(&model, &Policy::parse(&policy).unwrap(), &ids);
            for layer in &trace.layers {
                let most = (factor * (64 * 2) as f64 / layer.experts as f64).ceil() as usize;
                for group in (0..ids.len()).collect::<Vec<_>>().chunks(64) {
                    for expert in 0..layer.experts as u32 {
                        let takes = |&&t: &&usize| {
                            let at = layer.selected_of(t).iter().position(|&e| e == expert);
                            at.is_some_and(|at| !layer.dropped_of(t)[at])
                        };
                        assert!(group.iter().filter(takes).count() <= most, "{policy}");
                    }
                }
            }
        }
    }
}

/// Under expert choice an edit gives what a fresh session gives, and there is no generation.
#[test]
fn expert_choice_runs_whole_groups() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/policies/wide");
    let model = Model::new(&files::read_dir(&dir).unwrap()).unwrap();
    let policy = Policy::parse(r#"{"gate": "expert-choice"}"#).unwrap();
    let settings = policy.settings(&model.architecture).unwrap().unwrap();
    let ids: Vec<u32> = (0..200).map(|n| (n * n + n) % model.architecture.vocabulary as u32).collect();
    let mut changed = ids.clone();
    changed[150] += 1;
    let engine = Engine::cpu(&model).unwrap();
    let mut session = Session::new(pollster::block_on(engine.fork(settings)).unwrap());
    let mut trace = moescope::routing::Trace::default();
    for edit in [&ids[..100], &ids[..101], &ids, &changed, &changed[..130], &ids[..63], &ids] {
        trace.truncate(session.set(edit.to_vec()));
        while session.pending() > 0 {
            trace.extend(&pollster::block_on(session.advance(None, 32, |_| {})).unwrap());
        }
        let fresh = whole_run(&model, &policy, edit);
        assert_eq!(trace.layers, fresh.layers, "{} tokens", edit.len());
        assert_eq!(trace.surprise, fresh.surprise, "{} tokens", edit.len());
    }
    assert!(session.check_causal("generation").unwrap_err().to_string().contains("no generation"));
}
