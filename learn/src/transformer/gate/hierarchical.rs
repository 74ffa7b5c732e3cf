//! A hierarchical gate (Shazeer et al. 2017, appendix B): a gate over groups of experts, and a gate in each group. The
//! router's first rows are the experts' logits `l`, the others the groups' logits `g`. The largest groups are chosen,
//! and in each the same number of largest experts. A weight is the softmax over the chosen groups times the softmax
//! over the chosen experts of the group.
//!
//! An expert's probability is `p = P_G(group) P(expert in group)`, both plain softmaxes; the balancing loss is the mean
//! of the one over experts, `E sum f p`, and of the one over groups, `G sum F P_G`.

use super::{GateKind, GateLosses, GateShape, Routing, select, softmax_in_place, sort_by_weight};

/// Computes choice, weights and the probabilities of both levels.
pub fn forward(shape: GateShape, routing: &mut Routing) {
    let GateKind::Hierarchical { groups, groups_per_token } = shape.kind else { return };
    let (experts, top_k, choices) = (shape.experts, shape.top_k, shape.choices());
    let (size, each) = (experts / groups, top_k / groups_per_token);
    let mut chosen = vec![0u16; groups_per_token];
    for (t, scores) in routing.scores.chunks_exact(experts + groups).enumerate() {
        let (logits, group_logits) = scores.split_at(experts);
        routing.logits[t * experts..][..experts].copy_from_slice(logits);
        let mut all = logits.to_vec();
        routing.log_sum[t] = softmax_in_place(&mut all);
        let mut of_groups = group_logits.to_vec();
        softmax_in_place(&mut of_groups);
        let p = &mut routing.probabilities[t * experts..][..experts];
        p.copy_from_slice(logits);
        for (p, of_group) in p.chunks_exact_mut(size).zip(&of_groups) {
            softmax_in_place(p);
            p.iter_mut().for_each(|p| *p *= of_group);
        }
        select(group_logits, 0, &mut chosen);
        let mut of_chosen: Vec<f32> = chosen.iter().map(|&g| group_logits[usize::from(g)]).collect();
        softmax_in_place(&mut of_chosen);
        let selected = &mut routing.selected[t * choices..][..top_k];
        let weights = &mut routing.weights[t * choices..][..top_k];
        for (n, (&group, of_group)) in chosen.iter().zip(&of_chosen).enumerate() {
            let (selected, weights) = (&mut selected[n * each..][..each], &mut weights[n * each..][..each]);
            let first = usize::from(group) * size;
            select(&logits[first..first + size], first, selected);
            weights.iter_mut().zip(selected.iter()).for_each(|(w, &e)| *w = logits[usize::from(e)]);
            softmax_in_place(weights);
            weights.iter_mut().for_each(|w| *w *= of_group);
        }
        sort_by_weight(selected, weights);
    }
}

/// `P_G` of one token: the sums of its experts' probabilities.
fn of_groups(p: &[f32], size: usize) -> Vec<f32> {
    p.chunks_exact(size).map(|p| p.iter().sum()).collect()
}

/// Each group's share of the assignments, `F`.
fn shares(shape: GateShape, size: usize, routing: &Routing) -> Vec<f32> {
    let total = (routing.log_sum.len() * shape.top_k) as f32;
    routing.counts.chunks_exact(size).map(|counts| counts.iter().sum::<usize>() as f32 / total).collect()
}

/// Log-sum-exp of the groups' logits of one token.
fn group_log_sum(shape: GateShape, groups: usize, routing: &Routing, t: usize) -> f32 {
    let mut row = routing.scores[t * (shape.experts + groups) + shape.experts..][..groups].to_vec();
    softmax_in_place(&mut row)
}

/// The balancing loss over experts (`balance`) and groups, and the z-loss of both levels' logits.
pub fn losses(shape: GateShape, groups: usize, routing: &Routing, factors: GateLosses, balance: f32) -> f32 {
    let (size, tokens) = (shape.experts / groups, routing.log_sum.len());
    let shares = shares(shape, size, routing);
    let (mut even, mut z) = (0.0, 0.0);
    for (t, p) in routing.probabilities.chunks_exact(shape.experts).enumerate() {
        even += of_groups(p, size).iter().zip(&shares).map(|(p, f)| p * f).sum::<f32>();
        z += routing.log_sum[t].powi(2) + group_log_sum(shape, groups, routing, t).powi(2);
    }
    let even = groups as f32 * even / tokens as f32;
    factors.balance * 0.5 * (balance + even) + factors.z * z / tokens as f32
}

/// The weights are `W = u v`, `u` a softmax over the chosen groups and `v` one over the chosen experts of a group, and
/// since the `v` of a group sum to 1, `u` is the sum of its `W`: `du = sum_e v_e dW_e`, `dg = u (du - sum u du)`,
/// `dl = W (dW - sum_e v_e dW_e)`. The balancing loss sends `a` to each `p` and `b` to each `P_G`: with
/// `m = sum over the group of p a / P_G`, `dl = p (a - m)` and `dg = P_G (b + m - sum P_G (b + m))`.
pub fn backward(
    shape: GateShape,
    groups: usize,
    routing: &Routing,
    d_weights: &[f32],
    factors: GateLosses,
    share: f32,
    d_scores: &mut [f32],
) {
    let (experts, top_k, choices) = (shape.experts, shape.top_k, shape.choices());
    let (size, tokens) = (experts / groups, routing.log_sum.len() as f32);
    let half = share * factors.balance * 0.5 / tokens;
    let assignments = tokens * top_k as f32;
    let to_experts: Vec<f32> = routing.counts.iter().map(|&c| half * experts as f32 * c as f32 / assignments).collect();
    let to_groups: Vec<f32> = shares(shape, size, routing).iter().map(|f| half * groups as f32 * f).collect();
    let z = share * factors.z * 2.0 / tokens;
    for (t, d_scores) in d_scores.chunks_exact_mut(experts + groups).enumerate() {
        let (dl, dg) = d_scores.split_at_mut(experts);
        let p = &routing.probabilities[t * experts..][..experts];
        let logits = &routing.logits[t * experts..][..experts];
        let of_groups = of_groups(p, size);
        let mut push = to_groups.clone();
        for (g, push) in push.iter_mut().enumerate() {
            let at = g * size..(g + 1) * size;
            let mean = p[at.clone()].iter().zip(&to_experts[at.clone()]).map(|(p, a)| p * a).sum::<f32>()
                / of_groups[g].max(f32::MIN_POSITIVE);
            *push += mean;
            for e in at {
                let z = z * routing.log_sum[t] * (logits[e] - routing.log_sum[t]).exp();
                dl[e] = p[e] * (to_experts[e] - mean) + z;
            }
        }
        let mean: f32 = of_groups.iter().zip(&push).map(|(p, a)| p * a).sum();
        let z = z * group_log_sum(shape, groups, routing, t);
        dg.iter_mut().zip(&of_groups).zip(&push).for_each(|((dg, p), a)| *dg = p * (a - mean + z));

        let row = t * choices..t * choices + top_k;
        let chosen = routing.selected[row.clone()].iter().zip(&routing.weights[row.clone()]).zip(&d_weights[row]);
        let mut of_chosen = vec![0.0f32; groups];
        let mut d_chosen = vec![0.0f32; groups];
        for ((&e, w), d) in chosen.clone() {
            of_chosen[usize::from(e) / size] += w;
            d_chosen[usize::from(e) / size] += w * d;
        }
        let mean: f32 = d_chosen.iter().sum();
        for g in 0..groups {
            dg[g] += d_chosen[g] - of_chosen[g] * mean;
            d_chosen[g] /= of_chosen[g].max(f32::MIN_POSITIVE);
        }
        for ((&e, w), d) in chosen {
            dl[usize::from(e)] += w * (d - d_chosen[usize::from(e) / size]);
        }
    }
}
