use super::*;
use crate::transformer::data::made_up;

fn texts() -> Vec<Stream> {
    made_up(3, 1500, 90)
}

fn small() -> Settings {
    Settings { width: 16, units: 12, experts: 4, context: 16, ..Settings::default() }
}

#[test]
fn every_gate_trains_from_scratch_and_its_loads_are_shares() {
    for gate in [Gate::SoftmaxTopK, Gate::TopKOfSoftmax, Gate::NoisyTopK, Gate::SigmoidBias] {
        let settings = Settings { gate, capacity_factor: 1.0, ..small() };
        let mut lab = Lab::new(settings, texts()).unwrap();
        assert_eq!(lab.state().loss, None);
        lab.step(1).unwrap();
        let first = lab.state().loss.unwrap();
        lab.step(240).unwrap();
        let state = lab.state();
        assert!((first - 90f32.ln()).abs() < 0.3, "{first}");
        assert!(state.loss.unwrap() < first - 0.15, "{gate:?}: {first} to {:?}", state.loss);
        for load in state.loads.iter().chain([&state.shares]) {
            assert!((load.iter().sum::<f32>() - 1.0).abs() < 1e-4);
        }
        assert_eq!((state.loads.len(), state.loads_by_text[0].len(), state.tokens), (2, 12, 241 * 48));
        assert_eq!(state.dropped.iter().any(|&d| d > 0.0), gate == Gate::TopKOfSoftmax);
        let routed = lab.route(&texts()[0].ids[..10]).unwrap();
        assert_eq!((routed.losses.len(), routed.experts.len(), routed.experts[0].len()), (9, 2, 20));
    }
}

/// The lab's claim: without balancing a router collapses, with it the load stays even, and a collapsed one comes back.
#[test]
fn a_router_collapses_without_balancing_and_comes_back_with_it() {
    let start = Settings { top_k: 1, balance_loss: 0.0, learning_rate: 0.02, gate: Gate::TopKOfSoftmax, ..small() };
    let mut without = Lab::new(start.clone(), texts()).unwrap();
    let mut with = Lab::new(Settings { balance_loss: 0.05, ..start.clone() }, texts()).unwrap();
    without.step(200).unwrap();
    with.step(200).unwrap();
    let worst = |lab: &Lab| {
        let of = |load: &Vec<f32>| 4.0 * load.iter().copied().fold(0.0, f32::max);
        lab.state().loads.iter().map(of).fold(0.0, f32::max)
    };
    let (collapsed, even) = (worst(&without), worst(&with));
    assert!(collapsed > even + 0.5, "{collapsed} {even}");
    without.set(Settings { balance_loss: 0.2, ..start }).unwrap();
    without.step(200).unwrap();
    assert!(worst(&without) < 0.5 * (collapsed + even), "{collapsed} to {}, {even}", worst(&without));
}

#[test]
fn routers_alone_are_trained_on_a_model_and_nothing_else_moves() {
    let shape = small().shape(90);
    let values = Layout::new(&shape).initial(5);
    let model = Stored { shape: shape.clone(), values: values.clone() };
    for gate in [Gate::SoftmaxTopK, Gate::NoisyTopK, Gate::SigmoidBias] {
        let settings = Settings { gate, trained: Trained::Routers, ..small() };
        let mut lab = Lab::from_model(settings, model.clone(), texts()).unwrap();
        lab.step(5).unwrap();
        let layout = Layout::new(lab.shape());
        for p in Layout::new(&shape).parameters {
            let now = layout.parameters.iter().find(|o| o.name == p.name).unwrap();
            let same = values[p.range.clone()] == lab.trainee.values[now.range.clone()];
            assert_eq!(same, !Trained::Routers.covers(&p), "{gate:?} {}", p.name);
        }
    }
    let dense = ModelShape { experts: 1, top_k: 1, ..shape };
    let dense = Stored { values: Layout::new(&dense).initial(1), shape: dense };
    let error = Lab::from_model(small(), dense, texts()).err().unwrap().to_string();
    assert!(error.contains("no router to train"), "{error}");
}

#[test]
fn bad_input_is_an_error_and_divergence_keeps_the_step_before() {
    let refuse = |change: fn(&mut Settings), words: &str| {
        let mut settings = small();
        change(&mut settings);
        let error = Lab::new(settings, texts()).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains(words), "{error:?} does not say {words:?}");
    };
    refuse(|s| s.experts = 0, "experts is 0");
    refuse(|s| s.top_k = 5, "top_k is 5 but there are only 4 experts");
    refuse(|s| s.heads = 3, "heads is 3");
    refuse(|s| s.learning_rate = f32::NAN, "learning-rate is no number");
    refuse(|s| s.context = 512, "a context of 512 needs");
    refuse(|s| s.vocabulary = 10, "but the model has 10 tokens");
    let error = |texts: Vec<Stream>| Lab::new(small(), texts).err().map(|e| e.to_string()).unwrap_or_default();
    assert!(error(vec![]).contains("no domain to train on"));
    let lab = Lab::new(small(), texts()).unwrap();
    assert!(lab.route(&[1]).is_err() && lab.route(&[1, 90]).is_err());
    let mut lab =
        Lab::new(Settings { learning_rate: 1.0, warmup_tokens: 0, z_loss: 10.0, ..small() }, texts()).unwrap();
    match lab.step(60) {
        Ok(()) => {}
        Err(error) => assert_eq!(error, Error::Diverged { step: lab.state().step + 1 }),
    }
    lab.trainee.values[0] = f32::NAN;
    let step = lab.state().step;
    let kept = lab.trainee.values[1..].to_vec();
    assert_eq!(lab.step(1), Err(Error::Diverged { step: step + 1 }));
    assert_eq!((lab.state().step, &lab.trainee.values[1..]), (step, &kept[..]));
    assert_eq!(lab.set(Settings { experts: 8, ..small() }), Err(Error::NeedsRestart("experts")));
}
