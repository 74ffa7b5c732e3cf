//! How the experts of a layer fill up under a capacity: which place each token took, and who came too late.

use crate::engine::LayerTrace;
use crate::shape::Limit;

/// One expert's places over the text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filling {
    /// Places taken in the group of tokens, after each token, `[T]`.
    pub taken: Vec<usize>,
    /// Positions of the tokens that were dropped because it was full.
    pub dropped: Vec<usize>,
}

impl Filling {
    /// The first token after which no place was left in its group.
    pub fn full_at(&self, limit: &Limit) -> Option<usize> {
        self.taken.iter().position(|&taken| taken >= limit.most)
    }
}

/// The experts of a layer, `[E]`. Every `limit.group` tokens the count begins anew; dropped assignments take no place.
pub fn fillings(layer: &LayerTrace, limit: &Limit) -> Vec<Filling> {
    let mut fillings = vec![Filling::default(); layer.experts];
    let mut taken = vec![0; layer.experts];
    for position in 0..layer.tokens() {
        if position % limit.group.max(1) == 0 {
            taken.fill(0);
        }
        let dropped = layer.dropped_of(position);
        for (rank, &expert) in layer.selected_of(position).iter().enumerate() {
            if dropped.get(rank) == Some(&true) {
                fillings[expert as usize].dropped.push(position);
            } else {
                taken[expert as usize] += 1;
            }
        }
        fillings.iter_mut().zip(&taken).for_each(|(filling, &taken)| filling.taken.push(taken));
    }
    fillings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_in_each_group_and_dropped_tokens_take_none() {
        let limit = Limit { most: 2, group: 4, next_best: false };
        let layer = LayerTrace {
            layer: 0,
            experts: 2,
            top_k: 1,
            selected: vec![0, 0, 0, 1, 0, 1],
            weights: vec![1.0, 1.0, 0.0, 1.0, 1.0, 1.0],
            dropped: vec![false, false, true, false, false, false],
            ..LayerTrace::default()
        };
        let [first, second] = fillings(&layer, &limit).try_into().unwrap();
        assert_eq!(first, Filling { taken: vec![1, 2, 2, 2, 1, 1], dropped: vec![2] });
        assert_eq!(second, Filling { taken: vec![0, 0, 0, 1, 0, 1], dropped: vec![] });
        assert_eq!((first.full_at(&limit), second.full_at(&limit)), (Some(1), None));
    }
}
