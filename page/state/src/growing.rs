//! A trace that grows while views show it. An event costs what it brings: the trace is not copied for it.
//!
//! Views share the newest trace, so that it cannot be changed. An older one that no view shows any more is brought up
//! to date instead: it lacks only the pieces that came after it.

use crate::shared::Shared;
use moescope::routing::Trace;
use std::rc::Rc;

/// The most older traces that are kept. Views that are drawn later show older ones for some frames.
const MOST: usize = 4;

/// An older trace that lacks more pieces is given up.
const MOST_MISSED: usize = 64;

/// The older traces of a trace that grows.
#[derive(Default)]
pub struct Growing {
    older: Vec<Older>,
    /// The trace to which they belong.
    newest: Shared<Trace>,
}

struct Older {
    trace: Shared<Trace>,
    /// What it lacks.
    missed: Vec<Rc<Piece>>,
}

/// What an event brings: the tokens from a position on.
struct Piece {
    from: usize,
    more: Trace,
}

impl Piece {
    fn add_to(&self, trace: &mut Trace) {
        trace.truncate(self.from);
        trace.extend(&self.more);
    }
}

impl Growing {
    /// Replaces the tokens of `trace` from position `from` on by those of `more`.
    pub fn append(&mut self, trace: &mut Shared<Trace>, from: usize, more: Trace) {
        if self.newest != *trace {
            // Another text or another model: nothing is known of this trace's past.
            self.older.clear();
        }
        let piece = Rc::new(Piece { from, more });
        let unused = self.older.iter().position(|older| older.trace.is_unshared());
        let grown = match unused.map(|place| self.older.swap_remove(place)) {
            Some(mut older) => {
                older.trace.change(|trace| {
                    older.missed.iter().for_each(|missed| missed.add_to(trace));
                    piece.add_to(trace);
                });
                older.trace
            }
            None => {
                let mut copy = (**trace).clone();
                piece.add_to(&mut copy);
                Shared::new(copy)
            }
        };
        self.older.push(Older { trace: std::mem::replace(trace, grown), missed: Vec::new() });
        self.newest = trace.clone();
        self.older.iter_mut().for_each(|older| older.missed.push(piece.clone()));
        self.older.retain(|older| older.missed.len() <= MOST_MISSED);
        if self.older.len() > MOST {
            self.older.remove(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use moescope::routing::{LayerTrace, Token};

    /// Tokens with these ids and one layer.
    fn trace(ids: &[u32]) -> Trace {
        let token = |&id: &u32| Token { id, text: id.to_string(), ..Token::default() };
        let layer = LayerTrace {
            router_logits: ids.iter().flat_map(|&id| [id as f32, 0.0]).collect(),
            selected: ids.iter().map(|id| id % 2).collect(),
            weights: vec![1.0; ids.len()],
            ..LayerTrace::new(0, 2, 1)
        };
        Trace { tokens: ids.iter().map(token).collect(), layers: vec![layer], ..Trace::default() }
    }

    /// A random number generator (xorshift).
    fn random(state: &mut u32) -> usize {
        *state ^= *state << 13;
        *state ^= *state >> 17;
        *state ^= *state << 5;
        *state as usize
    }

    #[test]
    fn after_any_appends_and_cuts_it_is_the_trace_that_was_sent_whatever_views_show() {
        for seed in 1..40 {
            let (mut state, mut growing) = (seed, Growing::default());
            let (mut newest, mut sent) = (Shared::<Trace>::default(), Vec::<u32>::new());
            let mut views = Vec::new();
            for step in 0..200 {
                if random(&mut state).is_multiple_of(29) {
                    // Another model.
                    (newest, sent) = (Shared::default(), Vec::new());
                }
                let from = sent.len().saturating_sub(random(&mut state) % 3);
                let more: Vec<u32> = (0..random(&mut state) % 4).map(|n| step * 10 + n as u32).collect();
                sent.truncate(from);
                sent.extend(&more);
                growing.append(&mut newest, from, trace(&more));
                assert_eq!(newest.len(), sent.len());
                assert!(sent.is_empty() || *newest == trace(&sent));
                views.push((newest.clone(), (*newest).clone()));
                views.retain(|_| !random(&mut state).is_multiple_of(3));
                assert!(views.iter().all(|(shown, was)| **shown == *was), "what a view shows does not change");
            }
        }
    }

    #[test]
    fn a_token_after_a_long_text_is_added_without_a_copy_of_the_text() {
        let (mut newest, mut growing) = (Shared::new(trace(&[7; 1000])), Growing::default());
        growing.append(&mut newest, 1000, trace(&[8]));
        // The place of the tokens in memory: a copy has another one. Room for more comes in steps.
        let mut places = std::collections::BTreeSet::new();
        for n in 0..200 {
            growing.append(&mut newest, 1001 + n, trace(&[9]));
            places.insert(newest.tokens.as_ptr() as usize);
        }
        assert_eq!(newest.len(), 1201);
        assert!(places.len() <= 6, "{} places: the trace was copied", places.len());
    }
}
