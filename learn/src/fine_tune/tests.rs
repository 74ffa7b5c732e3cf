use super::*;
use crate::transformer::data::made_up;
use crate::transformer::gate::GateKind;
use crate::transformer::model::Layout;
use safetensors::SafeTensors;

fn model(experts: usize, router: GateKind) -> Stored {
    let shape = ModelShape {
        vocabulary: 60,
        width: 16,
        layers: 2,
        heads: 2,
        kv_heads: 1,
        ff: 12,
        experts,
        top_k: 1,
        shared_experts: 0,
        context: 512,
        rope_theta: 10_000.0,
        norm_eps: 1e-5,
        router,
    };
    Stored { values: Layout::new(&shape).initial(3), shape }
}

fn texts() -> Texts {
    let mut kinds = made_up(3, 400, 60);
    let own = kinds.remove(0);
    Texts::split(&own.ids, kinds)
}

fn settings() -> Settings {
    Settings { context: 16, learning_rate: 6e-3, ..Settings::default() }
}

#[test]
fn each_part_is_trained_and_the_rest_stays() {
    let switch = GateKind::TopKOfSoftmax { capacity_factor: None };
    for trained in [Trained::All, Trained::WithoutExperts, Trained::Routers, Trained::WithoutRouters] {
        let start = model(4, switch);
        let mut lab = Lab::new(Settings { trained, ..settings() }, start.clone(), texts()).unwrap();
        lab.step(20).unwrap();
        let (state, now) = (lab.state(), lab.model());
        assert_eq!(now.shape, start.shape, "the context is the model's own");
        for p in Layout::new(&start.shape).parameters {
            let same = start.values[p.range.clone()] == now.values[p.range.clone()];
            assert_eq!(same, !trained.covers(&p), "{trained:?} {}", p.name);
        }
        assert_eq!(state.curve.iter().map(|m| m.step).collect::<Vec<_>>(), [0, 5, 10, 15, 20]);
        let (first, last) = (state.curve[0], state.curve[4]);
        assert!(last.train < first.train, "{trained:?}: {first:?} {last:?}");
        assert!(last.same_kind.is_some() && last.all_kinds.is_some());
        assert!((state.shares.iter().sum::<f32>() - 1.0).abs() < 1e-4);
        assert!(state.trained <= state.parameters && (state.trained == state.parameters) == (trained == Trained::All));
        let file = lab.export().unwrap();
        let file = SafeTensors::deserialize(&file).unwrap();
        assert!(file.tensor("model.layers.1.block_sparse_moe.experts.3.w2.weight").is_ok());
    }
}

/// The lab's claim: it learns the text by heart, and other text the worse.
#[test]
fn a_long_run_overfits() {
    let mut lab = Lab::new(settings(), model(4, GateKind::SoftmaxTopK), texts()).unwrap();
    lab.step(300).unwrap();
    let state = lab.state();
    let last = state.curve.last().unwrap();
    let best = state.curve.iter().map(|m| m.same_kind.unwrap()).fold(f32::INFINITY, f32::min);
    assert!(last.train < best, "{last:?} {best}");
    assert!(last.same_kind.unwrap() > best + 0.1 && last.all_kinds.unwrap() > best, "{last:?} {best}");
    assert!(state.best_step.unwrap() < 300);
}

#[test]
fn dropout_in_the_experts_changes_training_alone() {
    let run = |expert_dropout| {
        let mut lab =
            Lab::new(Settings { expert_dropout, ..settings() }, model(4, GateKind::SoftmaxTopK), texts()).unwrap();
        let before = lab.state();
        lab.step(10).unwrap();
        (before, lab.state())
    };
    let ((a, c), (b, d)) = (run(0.0), run(0.5));
    assert_eq!(a.curve, b.curve);
    assert_ne!(c.curve, d.curve);
    assert_eq!(run(0.5).1, d);
}

#[test]
fn a_dense_twin_is_trained_too_and_bad_input_is_an_error() {
    let mut dense = Lab::new(settings(), model(1, GateKind::SoftmaxTopK), texts()).unwrap();
    dense.step(3).unwrap();
    let file = dense.export().unwrap();
    assert!(SafeTensors::deserialize(&file).unwrap().tensor("model.layers.0.mlp.gate_proj.weight").is_ok());
    let error = |settings: Settings, texts: Texts| {
        Lab::new(settings, model(1, GateKind::SoftmaxTopK), texts).err().map(|e| e.to_string()).unwrap_or_default()
    };
    assert!(error(Settings { trained: Trained::Routers, ..settings() }, texts()).contains("no routers"));
    assert!(error(settings(), Texts::default()).contains("the text has 0 tokens; fine-tuning needs 25 to 1000000"));
    assert!(error(settings(), Texts { train: vec![61; 200], ..texts() }).contains("holds the token 61"));
    assert!(error(settings(), Texts { same_kind: vec![99; 9], ..texts() }).contains("holds the token 99"));
    assert!(error(Settings { expert_dropout: 1.0, ..settings() }, texts()).contains("expert-dropout is 1"));
    assert!(error(Settings { measure_every: 0, ..settings() }, texts()).contains("measure-every is 0"));
    let short = Texts { train: texts().train[..25].to_vec(), ..Texts::default() };
    let mut lab = Lab::new(Settings { context: 512, ..settings() }, model(4, GateKind::SoftmaxTopK), short).unwrap();
    lab.step(6).unwrap();
    assert_eq!(lab.state().curve.last().unwrap().same_kind, None);
    assert_eq!(lab.set(Settings { seed: 9, ..lab.settings().clone() }), Err(Error::NeedsRestart("seed")));
}

#[test]
fn what_was_learnt_by_heart_is_written_on() {
    let mut lab = Lab::new(settings(), model(4, GateKind::SoftmaxTopK), texts()).unwrap();
    let (ids, before) = (texts().train, lab.continued(&texts().train[..12], 8).unwrap());
    lab.step(300).unwrap();
    let after = lab.continued(&ids[..12], 8).unwrap();
    let right = |written: &[u16]| written.iter().zip(&ids[12..]).filter(|(a, b)| a == b).count();
    assert!(right(&after) > right(&before), "{before:?} {after:?} {:?}", &ids[12..20]);
    let logits = lab.next_logits(&ids[..12]).unwrap();
    assert_eq!(logits.len(), 60);
    assert!(lab.next_logits(&[]).unwrap_err().to_string().contains("1 to 4096"));
}
