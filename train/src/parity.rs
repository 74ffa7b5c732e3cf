//! Tests that Moescope's CPU engine computes the same as the trainer, with an exported model of every kind of router.

use half::f16;
use moescope::engine::Engine;
use moescope::model::{Model, files};
use moescope::session::Session;

use crate::config::{Config, tests::tiny};
use crate::export::write_model;
use crate::gate::GateKind;
use crate::model::{Kind, Layout};
use crate::random::{hash, normal};
use crate::replica::Replica;

/// A small configuration for each kind of router, with every parameter that the kind has.
fn configs() -> Vec<Config> {
    let with = |experts, top_k, shared_experts, router| {
        let mut config = tiny();
        let m = &mut config.model;
        (m.experts, m.top_k, m.shared_experts, m.router) = (experts, top_k, shared_experts, router);
        config
    };
    vec![
        with(1, 1, 0, GateKind::SoftmaxTopK),
        with(4, 2, 0, GateKind::SoftmaxTopK),
        with(4, 1, 0, GateKind::TopKOfSoftmax { capacity_factor: None }),
        with(4, 1, 0, GateKind::TopKOfSoftmax { capacity_factor: Some(1.1) }),
        with(5, 2, 0, GateKind::NoisyTopK { importance_loss: 0.1, load_loss: 0.1 }),
        with(8, 4, 0, GateKind::Hierarchical { groups: 4, groups_per_token: 2 }),
        with(6, 3, 1, GateKind::SigmoidBias { bias_rate: 0.01 }),
    ]
}

/// Parameters that are large enough to make every path change the result, rounded to f16 as in the file.
fn parameters(layout: &Layout) -> Vec<f32> {
    let mut values: Vec<f32> = (0..layout.total).map(|i| (0.3 * normal(8, i as u64)) as f32).collect();
    for p in layout.parameters.iter().filter(|p| p.kind == Kind::Gain) {
        values[p.range.clone()].iter_mut().for_each(|g| *g += 1.0);
    }
    values.iter().map(|&v| f16::from_f32(v).to_f32()).collect()
}

/// `-log softmax(row)[target]`.
fn loss(row: &[f32], target: u16) -> f32 {
    let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    most + row.iter().map(|x| (x - most).exp()).sum::<f32>().ln() - row[usize::from(target)]
}

#[test]
fn an_exported_model_computes_the_same_in_the_engine() {
    for config in configs() {
        let m = &config.model;
        config.model.check().unwrap();
        let values = parameters(&Layout::new(m));
        let ids: Vec<u16> = (0..=m.context).map(|t| (hash(4, t as u64) % m.vocabulary as u64) as u16).collect();
        let (inputs, targets) = (&ids[..m.context], &ids[1..]);
        let mut replica = Replica::new(m, 1, m.context);
        let mut losses = vec![0.0; m.context];
        replica.evaluate(&values, inputs, targets, &mut losses);

        let folder = tempfile::tempdir().unwrap();
        let tokenizer = folder.path().join("tokenizer.json");
        std::fs::write(&tokenizer, "{}").unwrap();
        let target = folder.path().join("model");
        std::fs::create_dir(&target).unwrap();
        write_model(&target, &config, &values, &tokenizer).unwrap();
        let model = Model::new(&files::read_dir(&target).unwrap()).unwrap();
        let mut session = Session::new(Engine::cpu(&model).unwrap());
        let mut rows = Vec::new();
        let ids: Vec<u32> = inputs.iter().map(|&id| id.into()).collect();
        let run = session.run(&ids, None, |logits| rows.extend_from_slice(logits));
        let trace = pollster::block_on(run).unwrap();

        for (t, (ours, row)) in losses.iter().zip(rows.chunks_exact(m.vocabulary)).enumerate() {
            let theirs = loss(row, targets[t]);
            assert!((ours - theirs).abs() < 1e-3, "{:?}, token {t}: {ours} here, {theirs} there", m.router);
        }
        let (choices, k) = (m.gate().choices(), m.top_k);
        for (ours, theirs) in replica.routing().zip(&trace.layers) {
            let chosen = ours.selected.chunks_exact(choices).flat_map(|row| &row[..k]).map(|&e| u32::from(e));
            assert_eq!(chosen.collect::<Vec<_>>(), theirs.selected, "{:?}", m.router);
            assert_eq!(ours.dropped, theirs.dropped, "{:?}", m.router);
        }
        assert_eq!(trace.layers.len(), if m.experts == 1 { 0 } else { m.layers });
    }
}
