//! How an engine goes back in a text where layers keep a state, which cannot be cut to a shorter text: it keeps the
//! states at a few positions, and runs what came after the last of them again.

/// The states that are kept at the same time.
pub const KEPT: usize = 2;

/// Tokens between two kept states, at least.
const EVERY: usize = 64;

/// Which text the states are of.
#[derive(Default)]
pub struct Rewind {
    ids: Vec<u32>,
    /// The number of tokens that the states have seen.
    at: usize,
    /// The same of each kept state; none where none is kept.
    kept: [Option<usize>; KEPT],
}

impl Rewind {
    /// For a text of `len` tokens: none where the states are of this text; otherwise the kept states to go back to
    /// (none for the beginning), their position, and the tokens to run again.
    pub fn back(&mut self, len: usize) -> Option<(Option<usize>, usize, Vec<u32>)> {
        if self.at == len {
            return None;
        }
        let older = (0..KEPT).filter(|&slot| self.kept[slot].is_some_and(|at| at <= len));
        let slot = older.max_by_key(|&slot| self.kept[slot]);
        let from = slot.and_then(|slot| self.kept[slot]).unwrap_or(0);
        self.at = from;
        Some((slot, from, self.ids[from..len].to_vec()))
    }

    /// Says before a step at `start` whether its states are to be kept, and in the place of which ones.
    pub fn keep(&mut self, start: usize) -> Option<usize> {
        // Those of a text that does not hold any more.
        self.kept.iter_mut().filter(|kept| kept.is_some_and(|at| at > start)).for_each(|kept| *kept = None);
        let newest = self.kept.iter().flatten().max().copied().unwrap_or(0);
        if start < newest + EVERY {
            return None;
        }
        let slot = (0..KEPT).min_by_key(|&slot| self.kept[slot]).expect("there are slots");
        self.kept[slot] = Some(start);
        Some(slot)
    }

    /// Notes that the states have seen `ids` from `start` on.
    pub fn ran(&mut self, start: usize, ids: &[u32]) {
        self.ids.truncate(start);
        self.ids.extend_from_slice(ids);
        self.at = start + ids.len();
    }

    /// Notes that the states have seen `at` tokens; those that are not known yet follow with [`Self::drew`].
    pub fn advance_to(&mut self, at: usize) {
        self.at = at;
    }

    /// Notes the token at position `at`, which the states have seen already.
    pub fn drew(&mut self, at: usize, id: u32) {
        self.ids.truncate(at);
        self.ids.push(id);
    }

    /// Notes that the states are of no known text.
    pub fn lost(&mut self) {
        self.at = usize::MAX;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_back_to_the_newest_states_that_fit() {
        let mut rewind = Rewind::default();
        let ids: Vec<u32> = (0..300).collect();
        for start in (0..300).step_by(50) {
            assert_eq!(
                rewind.keep(start),
                match start {
                    100 => Some(0),
                    200 => Some(1),
                    _ => None,
                }
            );
            rewind.ran(start, &ids[start..start + 50]);
        }
        assert_eq!(rewind.back(300), None);
        assert_eq!(rewind.back(298), Some((Some(1), 200, ids[200..298].to_vec())));
        assert_eq!(rewind.back(120), Some((Some(0), 100, ids[100..120].to_vec())));
        rewind.ran(100, &ids[100..120]);
        // The states at 200 are of another text now.
        assert_eq!(rewind.keep(120), None);
        rewind.ran(120, &[7; 100]);
        assert_eq!(rewind.back(210), Some((Some(0), 100, [&ids[100..120], &[7; 90]].concat())));
        assert_eq!(rewind.back(3), Some((None, 0, ids[..3].to_vec())));
    }
}
