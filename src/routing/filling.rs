//! How the experts of a layer fill up under a capacity: when each is full, and which tokens it drops.

use crate::engine::LayerTrace;
use crate::shape::Limit;

/// How one expert fills up over the text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filling {
    /// Assignments of the expert in the current window, after each token, `[T]`.
    pub taken: Vec<usize>,
    /// Positions of the tokens that were dropped because the expert was full.
    pub dropped: Vec<usize>,
}

impl Filling {
    /// The first position after which the expert is full in its window; `None` where it is never full.
    pub fn full_at(&self, limit: &Limit) -> Option<usize> {
        self.taken.iter().position(|&taken| taken >= limit.most)
    }
}

/// The filling of each expert of a layer, `[E]`. Counting starts again every `limit.group` tokens; dropped assignments
/// do not count.
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
