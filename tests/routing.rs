//! Properties of the gate, the trace and the balance figures.

use moescope::kernels::choose::{self, GateVectors, Room, RoutedToken, Scores};
use moescope::kernels::dispatch::{dispatch, tiles};
use moescope::kernels::softmax::softmax;
use moescope::routing::{LayerTrace, balance};
use moescope::shape::{Gate, GateKind, MoeShape, Setting};
use proptest::prelude::*;

/// Routes one token through this gate, as a model does.
fn route(gate: Gate, router_logits: &[f32], bias: &[f32], selected: &mut [u32], weights: &mut [f32]) {
    let experts = router_logits.len() - gate.groups;
    let shape = MoeShape { gate: Some(gate), ..MoeShape::mixtral(experts, selected.len(), 1) };
    let vectors = GateVectors { bias: bias.to_vec(), ..GateVectors::default() };
    let scores = Scores { router_logits, vectors: &vectors, full: &[] };
    let (setting, place) = (Setting::own(&shape, 1), RoutedToken::default());
    choose::route(&setting, place, &scores, &mut Room::default(), selected, weights);
}

/// Router logits of `tokens` tokens over `experts` experts, and `k`, the experts per token.
fn routed() -> impl Strategy<Value = LayerTrace> {
    (1usize..20, 0usize..30).prop_flat_map(|(experts, tokens)| {
        let logits = proptest::collection::vec(-9.0f32..9.0, experts * tokens);
        (Just(experts), 1..=experts, logits).prop_map(|(experts, top_k, router_logits)| {
            let mut layer = LayerTrace::new(0, experts, top_k);
            for row in router_logits.chunks_exact(experts) {
                let (mut selected, mut weights) = (vec![0; top_k], vec![0.0; top_k]);
                route(Gate::new(GateKind::SoftmaxTopK), row, &[], &mut selected, &mut weights);
                layer.selected.extend(selected);
                layer.weights.extend(weights);
            }
            LayerTrace { router_logits, ..layer }
        })
    })
}

proptest! {
    #[test]
    fn weights_sum_to_one_and_fall(layer in routed()) {
        for position in 0..layer.tokens() {
            let weights = layer.weights_of(position);
            prop_assert!((weights.iter().sum::<f32>() - 1.0).abs() < 1e-5);
            prop_assert!(weights.windows(2).all(|pair| pair[0] >= pair[1]));
        }
    }

    /// Softmax over all experts, then top-k, then renormalising: this longer computation gives the same result.
    #[test]
    fn the_gate_is_softmax_top_k_renormalise(layer in routed()) {
        for position in 0..layer.tokens() {
            let probabilities = layer.probabilities_of(position);
            let mut order: Vec<u32> = (0..layer.experts as u32).collect();
            let logits = layer.router_logits_of(position);
            order.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b)));
            prop_assert_eq!(layer.selected_of(position), &order[..layer.top_k]);
            let sum: f32 = order[..layer.top_k].iter().map(|&e| probabilities[e as usize]).sum();
            for (&expert, &weight) in order.iter().zip(layer.weights_of(position)) {
                prop_assert!((weight - probabilities[expert as usize] / sum).abs() < 1e-5);
            }
        }
    }

    /// Permuting the experts permutes the choices and changes nothing else.
    #[test]
    fn permuting_experts_permutes_the_result(
        logits in proptest::collection::vec(-9.0f32..9.0, 2..16), shift in 0usize..16,
    ) {
        let experts = logits.len();
        let renamed: Vec<f32> = (0..experts).map(|e| logits[(e + shift) % experts]).collect();
        let choose = |row: &[f32]| {
            let (mut selected, mut weights) = ([0; 2], [0.0; 2]);
            route(Gate::new(GateKind::SoftmaxTopK), row, &[], &mut selected, &mut weights);
            (selected, weights)
        };
        let (a, b) = (choose(&logits), choose(&renamed));
        prop_assume!(a.1[0] != a.1[1] && logits.iter().enumerate().all(|(i, x)| logits[..i].iter().all(|y| x != y)));
        prop_assert_eq!(a.0.to_vec(), b.0.iter().map(|&e| ((e as usize + shift) % experts) as u32).collect::<Vec<_>>());
        prop_assert_eq!(a.1, b.1);
    }

    #[test]
    fn balance_figures_hold_together(layer in routed()) {
        let b = balance(&layer);
        let experts = layer.experts as f32;
        if layer.tokens() == 0 {
            prop_assert!(b.load.iter().all(|&f| f == 0.0) && b.cv == 0.0 && b.max_over_mean == 0.0);
            return Ok(());
        }
        prop_assert!((b.load.iter().sum::<f32>() - 1.0).abs() < 1e-4);
        prop_assert!((b.importance.iter().sum::<f32>() - 1.0).abs() < 1e-4);
        prop_assert!((0.0..=1.0001).contains(&b.entropy));
        prop_assert!(b.max_over_mean >= 0.999 && b.max_over_mean <= experts / layer.top_k as f32 + 1e-3);
        // The variance of the load and its largest share bound each other.
        prop_assert!(b.cv <= (experts - 1.0).sqrt() + 1e-3);
        prop_assert!(b.aux_loss >= 0.0 && b.aux_loss <= experts + 1e-3);
    }

    #[test]
    fn truncating_and_extending_is_the_whole(layer in routed(), cut in 0usize..30) {
        let cut = cut.min(layer.tokens());
        let (mut head, mut tail) = (layer.clone(), layer.clone());
        head.truncate(cut);
        tail.forget_first(cut);
        head.extend(&tail);
        prop_assert_eq!(head, layer);
    }

    #[test]
    fn dispatch_puts_every_assignment_once_with_its_expert(layer in routed()) {
        let mut assignments = vec![0; layer.selected.len()];
        let mut offsets = vec![0; layer.experts + 1];
        let weights = vec![0.5; layer.selected.len()];
        dispatch(&layer.selected, &weights, &mut assignments, &mut offsets);
        let mut seen = assignments.clone();
        seen.sort_unstable();
        prop_assert_eq!(seen, (0..layer.selected.len() as u32).collect::<Vec<_>>());
        for [expert, first, count] in tiles(&offsets, 8) {
            prop_assert!((1..=8).contains(&count));
            for slot in first..first + count {
                prop_assert_eq!(layer.selected[assignments[slot as usize] as usize], expert);
            }
        }
        prop_assert_eq!(tiles(&offsets, 8).iter().map(|tile| tile[2]).sum::<u32>(), layer.selected.len() as u32);
    }
}

/// Even load and even probabilities: every figure has its value for perfect balance.
#[test]
fn an_even_layer() {
    let mut layer = LayerTrace::new(0, 4, 1);
    layer.router_logits = vec![0.0; 16];
    layer.selected = vec![0, 1, 2, 3];
    layer.weights = vec![1.0; 4];
    let b = balance(&layer);
    assert_eq!((b.cv, b.max_over_mean, b.aux_loss), (0.0, 1.0, 1.0));
    assert!((b.entropy - 1.0).abs() < 1e-6);
}

/// All tokens go to one of four experts with probability 1: every figure has its value for the worst balance.
#[test]
fn a_collapsed_layer() {
    let mut layer = LayerTrace::new(0, 4, 1);
    layer.router_logits = [90.0, 0.0, 0.0, 0.0].repeat(3);
    layer.selected = vec![0; 3];
    layer.weights = vec![1.0; 3];
    let b = balance(&layer);
    assert_eq!((b.entropy, b.max_over_mean, b.aux_loss), (0.0, 4.0, 4.0));
    assert!((b.cv - 3.0f32.sqrt()).abs() < 1e-6);
}

#[test]
fn ties_go_to_the_lower_id() {
    let (mut selected, mut weights) = ([9; 3], [0.0; 3]);
    route(Gate::new(GateKind::SoftmaxTopK), &[1.0, 2.0, 2.0, 1.0, 1.0], &[], &mut selected, &mut weights);
    assert_eq!(selected, [1, 2, 0]);
    assert_eq!(weights[0], weights[1]);
}

#[test]
fn softmax_survives_large_scores() {
    let mut row = [1e30, 1e30, -1e30];
    softmax(&mut row);
    assert_eq!(row, [0.5, 0.5, 0.0]);
}

/// Every kind of gate over random logits.
fn any_gate() -> impl Strategy<Value = (Gate, usize, Vec<f32>, Vec<f32>)> {
    let gates = prop_oneof![
        Just(Gate::new(GateKind::SoftmaxTopK)),
        Just(Gate::new(GateKind::TopKOfSoftmax)),
        Just(Gate::sigmoid_bias(1.0)),
        Just(Gate::hierarchical(4, 2)),
    ];
    let numbers = |count| proptest::collection::vec(-9.0f32..9.0, count);
    (gates, 1usize..=3, numbers(16), numbers(12))
        .prop_map(|(gate, half_k, logits, bias)| (gate, 2 * half_k, logits[..12 + gate.groups].to_vec(), bias))
}

proptest! {
    /// Every gate gives distinct experts by falling weight, and weights that sum to 1 (or to their share of the
    /// softmax where they are not renormalised).
    #[test]
    fn every_gate_chooses_well((gate, k, logits, bias) in any_gate()) {
        let (mut selected, mut weights) = (vec![0; k], vec![0.0; k]);
        route(gate, &logits, &bias, &mut selected, &mut weights);
        let different: std::collections::BTreeSet<u32> = selected.iter().copied().collect();
        prop_assert_eq!(different.len(), k);
        prop_assert!(selected.iter().all(|&e| e < 12));
        prop_assert!(weights.windows(2).all(|pair| pair[0] >= pair[1]));
        let sum: f32 = weights.iter().sum();
        if gate == Gate::new(GateKind::TopKOfSoftmax) {
            let mut all = logits.clone();
            softmax(&mut all);
            let share: f32 = selected.iter().map(|&e| all[e as usize]).sum();
            prop_assert!((sum - share).abs() < 1e-5);
        } else {
            prop_assert!((sum - 1.0).abs() < 1e-5);
        }
        if gate.kind == GateKind::Hierarchical {
            let groups: std::collections::BTreeSet<u32> = selected.iter().map(|e| e / 3).collect();
            prop_assert_eq!(groups.len(), gate.groups_per_token);
        }
    }
}

/// The gate returns a choice even for NaN logits, which a model gives after an overflow.
#[test]
fn logits_that_are_not_numbers() {
    let (mut selected, mut weights) = ([9; 2], [0.0; 2]);
    route(Gate::new(GateKind::SoftmaxTopK), &[f32::NAN, 1.0, f32::NAN], &[], &mut selected, &mut weights);
    assert_eq!(selected, [1, 0]);
}

/// A trace truncated to 0 tokens accepts rows of another length, which another policy gives.
#[test]
fn an_emptied_trace_takes_other_rows() {
    use moescope::routing::{Token, Trace};
    let one = |top_k: usize| {
        let mut layer = LayerTrace::new(0, 4, top_k);
        layer.router_logits = vec![0.0; 4];
        layer.selected = (0..top_k as u32).collect();
        layer.weights = vec![1.0; top_k];
        Trace { tokens: vec![Token::default()], layers: vec![layer], ..Trace::default() }
    };
    let mut trace = one(2);
    trace.truncate(0);
    trace.extend(&one(1));
    trace.extend(&one(1));
    assert_eq!((trace.len(), trace.layers[0].top_k, trace.layers[0].tokens()), (2, 1, 2));
}
