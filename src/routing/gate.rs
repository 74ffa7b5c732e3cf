//! The gate: from router logits to selected experts and their weights.
//!
//! Mixtral's gate (Jiang et al. 2024, "Mixtral of Experts", section 2.1; `MixtralSparseMoeBlock` in
//! Hugging Face transformers): softmax over all experts, the `top_k` largest, renormalised to sum to 1.

use std::cmp::Ordering;

/// Softmax of one row, in place: `x[i] = exp(x[i] - max) / sum`.
///
/// # Examples
/// ```
/// let mut row = [0.0, 0.0];
/// moescope::routing::softmax(&mut row);
/// assert_eq!(row, [0.5, 0.5]);
/// ```
pub fn softmax(row: &mut [f32]) {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for x in row.iter_mut() {
        *x = (*x - max).exp();
        sum += *x;
    }
    for x in row.iter_mut() {
        *x /= sum;
    }
}

/// Routes one token: picks the `k = selected.len()` experts with the largest router logits and
/// writes their ids by falling weight (ties by lower id) and their weights, which sum to 1.
///
/// Softmax over all experts, then renormalising over the selected ones, is the softmax over the
/// selected logits alone: `exp(l_i - max) / sum_selected exp(l_j - max)`. That form needs no
/// scratch and loses no precision to experts that are not selected.
///
/// `router_logits` has one entry an expert; `selected` and `weights` one a choice, at most as many.
pub fn route(router_logits: &[f32], selected: &mut [u32], weights: &mut [f32]) {
    debug_assert!(selected.len() <= router_logits.len());
    for choice in 0..selected.len() {
        let (taken, rest) = selected.split_at_mut(choice);
        rest[0] = best_of_rest(router_logits, taken);
    }
    for (weight, &expert) in weights.iter_mut().zip(selected.iter()) {
        *weight = router_logits[expert as usize];
    }
    softmax(weights);
}

/// The expert with the largest logit that is not in `taken`; the lower id on a tie.
fn best_of_rest(router_logits: &[f32], taken: &[u32]) -> u32 {
    (0..router_logits.len() as u32)
        .filter(|expert| !taken.contains(expert))
        .max_by(|&a, &b| {
            let (x, y) = (router_logits[a as usize], router_logits[b as usize]);
            x.partial_cmp(&y).unwrap_or(Ordering::Equal).then(b.cmp(&a))
        })
        .expect("top_k is at most the number of experts")
}
