//! The attention of a layer's heads from the chosen token to each other token.

use moescope::routing::lens::LayerLens;
use std::collections::BTreeMap;

/// The attention of each head to a token, 0 to 1.
pub type Heads = Vec<f32>;

/// The tokens with attention from the heads of `layer`, by position; empty where it was not computed.
pub fn looked_at(look: &[LayerLens], layer: usize) -> BTreeMap<usize, Heads> {
    let mut tokens = BTreeMap::new();
    let Some(lens) = look.iter().find(|lens| lens.layer == layer) else { return tokens };
    for (head, seen) in lens.heads.iter().enumerate() {
        for looked in seen {
            let heads = tokens.entry(looked.position as usize).or_insert_with(|| vec![0.0; lens.heads.len()]);
            heads[head] = looked.weight;
        }
    }
    tokens
}

/// The token with the most attention from the heads of `layer`, and the mean over the heads, 0 to 1.
pub fn most_looked_at(look: &[LayerLens], layer: usize) -> Option<(usize, f32)> {
    let mean = |heads: Heads| heads.iter().sum::<f32>() / heads.len().max(1) as f32;
    let tokens = looked_at(look, layer).into_iter().map(|(position, heads)| (position, mean(heads)));
    tokens.max_by(|a, b| a.1.total_cmp(&b.1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use moescope::routing::lens::LookedAt;

    fn look() -> Vec<LayerLens> {
        let seen = |seen: &[(u32, f32)]| {
            seen.iter().map(|&(position, weight)| LookedAt { position, weight }).collect::<Vec<_>>()
        };
        let heads = vec![seen(&[(2, 0.75), (0, 0.25)]), seen(&[(0, 0.5), (1, 0.5)])];
        let nothing =
            LayerLens { layer: 0, attention: 1.0, heads: vec![], experts: vec![], residual: 1.0, guesses: vec![] };
        vec![nothing.clone(), LayerLens { layer: 1, heads, ..nothing }]
    }

    #[test]
    fn each_token_has_a_weight_a_head() {
        let tokens = looked_at(&look(), 1);
        assert_eq!(
            tokens.into_iter().collect::<Vec<_>>(),
            [(0, vec![0.25, 0.5]), (1, vec![0.0, 0.5]), (2, vec![0.75, 0.0]),]
        );
        assert!(looked_at(&look(), 0).is_empty() && looked_at(&look(), 7).is_empty());
    }

    #[test]
    fn the_token_with_the_largest_mean_is_named() {
        let (position, mean) = most_looked_at(&look(), 1).expect("two heads look");
        assert!((position == 0 || position == 2) && (mean - 0.375).abs() < 1e-6);
        assert_eq!(most_looked_at(&look(), 0), None);
    }
}
