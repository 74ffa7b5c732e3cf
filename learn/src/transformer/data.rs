//! The order of the training text. It is a pure function of the seed and the same for every model, so a checkpoint
//! does not have to store it.
//!
//! For every replica, a batch has one sequence of every domain, or several of a domain that the configuration repeats.
//! A domain's text is cut into windows of the context's length. In each pass over the text the windows start at other
//! places and come in another order. Some sequences are pieces of several domains in a row, so that a model also sees
//! text that changes from one domain to another.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::random::{hash, uniform};

/// Pieces of a sequence that is made of several domains.
const PIECES: usize = 4;

/// One domain's token ids.
#[derive(Clone, Debug, PartialEq)]
pub struct Stream {
    /// The domain's short name.
    pub name: String,
    /// Ids, a separator before each document.
    pub ids: Vec<u16>,
    /// Bytes of the documents.
    pub bytes: usize,
}

/// Generated text: `domains` streams of `length` ids, the same on every machine, with regularities that a model can
/// learn.
pub fn made_up(domains: usize, length: usize, vocabulary: usize) -> Vec<Stream> {
    let id = |d: usize, i: usize| {
        let place = if i.is_multiple_of(5) { i } else { i % 97 };
        (hash(100 + d as u64, place as u64) % vocabulary as u64) as u16
    };
    let stream =
        |d: usize| Stream { name: format!("d{d}"), ids: (0..length).map(|i| id(d, i)).collect(), bytes: length };
    (0..domains).map(stream).collect()
}

/// A sequence in a replica's part of a batch: the `nth` of the `of` sequences of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot {
    domain: usize,
    nth: usize,
    of: usize,
}

/// The sequences in a replica's part of a batch, domain by domain. `repeat` names domains with more than one sequence.
fn slots(streams: &[Stream], repeat: &BTreeMap<String, usize>) -> Result<Vec<Slot>> {
    for (name, &count) in repeat {
        if !streams.iter().any(|s| &s.name == name) {
            let why = format!("training.repeat names the domain {name}, which the corpus does not have");
            return Err(Error::Input(why));
        }
        if count == 0 {
            return Err(Error::Input(format!("training.repeat.{name} is 0; it must be at least 1")));
        }
    }
    let count = |name: &str| repeat.get(name).copied().unwrap_or(1);
    let of_domain = |(domain, s): (usize, &Stream)| {
        let of = count(&s.name);
        (0..of).map(move |nth| Slot { domain, nth, of })
    };
    Ok(streams.iter().enumerate().flat_map(of_domain).collect())
}

/// The training text and its order.
pub struct Data {
    streams: Arc<Vec<Stream>>,
    slots: Vec<Slot>,
    context: usize,
    mixed: f64,
    seed: u64,
}

impl Data {
    /// `mixed` is the part of the sequences that are made of several domains; `repeat` names the domains that have
    /// several sequences in every part of a batch. Each stream must hold some windows.
    pub fn new(
        streams: Arc<Vec<Stream>>,
        context: usize,
        mixed: f64,
        seed: u64,
        repeat: &BTreeMap<String, usize>,
    ) -> Result<Self> {
        for s in streams.iter() {
            let needed = 3 * context + 1;
            if s.ids.len() < needed {
                let (name, length) = (&s.name, s.ids.len());
                let why = format!("the domain {name} has {length} tokens; a context of {context} needs {needed}");
                return Err(Error::Input(why));
            }
        }
        if streams.is_empty() {
            return Err(Error::Input("there is no domain to train on".into()));
        }
        let slots = slots(&streams, repeat)?;
        Ok(Self { streams, slots, context, mixed, seed })
    }

    /// Sequences in a replica's part of a batch.
    pub fn sequences(&self) -> usize {
        self.slots.len()
    }

    /// A replica's part of a step's batch: inputs and targets, sequences x context. `turn` counts parts from the first
    /// step on: `step * replicas + replica`.
    pub fn part(&self, turn: usize) -> (Vec<u16>, Vec<u16>) {
        let mut inputs = Vec::with_capacity(self.sequences() * self.context);
        let mut targets = Vec::with_capacity(self.sequences() * self.context);
        for (n, &slot) in self.slots.iter().enumerate() {
            let place = (turn * self.sequences() + n) as u64;
            let pieces = if uniform(self.seed ^ 1, place) < self.mixed { PIECES } else { 1 };
            let mut ids = Vec::with_capacity(self.context + 1);
            for piece in 0..pieces {
                let from = if piece == 0 { slot } else { self.pick(place * PIECES as u64 + piece as u64) };
                let at = self.context * piece / pieces;
                let length = self.context * (piece + 1) / pieces - at + usize::from(piece + 1 == pieces);
                let start = self.window(from, turn);
                ids.extend_from_slice(&self.streams[from.domain].ids[start + at..][..length]);
            }
            inputs.extend_from_slice(&ids[..self.context]);
            targets.extend_from_slice(&ids[1..]);
        }
        (inputs, targets)
    }

    fn pick(&self, place: u64) -> Slot {
        self.slots[(hash(self.seed ^ 2, place) % self.sequences() as u64) as usize]
    }

    /// The start of the window for this slot and turn. The map `k -> (a k + b) mod n` with `a` prime to `n` visits
    /// every window once.
    fn window(&self, Slot { domain, nth, of }: Slot, turn: usize) -> usize {
        let turn = turn * of + nth;
        let windows = (self.streams[domain].ids.len() - 1) / self.context - 1;
        let (pass, k) = (turn / windows, turn % windows);
        let draw = |what: u64| hash(self.seed ^ 3, (pass as u64 * 64 + domain as u64) * 4 + what) as usize;
        let mut a = draw(0) % windows;
        while gcd(a, windows) != 1 {
            a = (a + 1) % windows;
        }
        let place = (a * k + draw(1) % windows) % windows;
        place * self.context + draw(2) % self.context
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Domains of consecutive token ids: domain `d` has the ids `d * 1000 + i % 1000`.
    fn counting(domains: usize, length: usize) -> Vec<Stream> {
        let ids = |d: usize| (0..length).map(|i| (d * 1000 + i % 1000) as u16).collect();
        (0..domains).map(|d| Stream { name: format!("d{d}"), ids: ids(d), bytes: length }).collect()
    }

    #[test]
    fn every_window_comes_once_in_a_pass_and_targets_follow_inputs() {
        let data = Data::new(Arc::new(counting(3, 1000)), 16, 0.0, 7, &BTreeMap::new()).unwrap();
        let windows = 999 / 16 - 1;
        let mut starts = std::collections::HashSet::new();
        for turn in 0..windows {
            let (inputs, targets) = data.part(turn);
            starts.insert(inputs[16]);
            assert!(inputs[16..32].iter().zip(&targets[16..32]).all(|(i, t)| i + 1 == *t && i / 1000 == 1));
        }
        assert_eq!(starts.len(), windows);
        assert_ne!(data.part(0), data.part(windows), "another pass, another order");
    }

    #[test]
    fn mixed_sequences_change_their_kind() {
        let data = Data::new(Arc::new(counting(4, 5000)), 32, 1.0, 7, &BTreeMap::new()).unwrap();
        let (inputs, targets) = data.part(3);
        assert_eq!((inputs.len(), targets.len()), (4 * 32, 4 * 32));
        assert_eq!(inputs[1..32], targets[..31]);
        let kinds: std::collections::HashSet<u16> = inputs.iter().take(32).map(|id| id / 1000).collect();
        assert!(kinds.len() > 1);
    }

    #[test]
    fn too_little_text_is_refused() {
        let error = Data::new(Arc::new(counting(1, 40)), 16, 0.0, 7, &BTreeMap::new()).err().unwrap().to_string();
        assert!(error.contains("d0 has 40 tokens"), "{error}");
    }

    #[test]
    fn a_repeated_domain_has_several_sequences_and_visits_every_window_once() {
        let repeat = BTreeMap::from([("d1".to_string(), 3)]);
        let data = Data::new(Arc::new(counting(2, 1000)), 16, 0.0, 7, &repeat).unwrap();
        assert_eq!(data.sequences(), 4);
        let windows = 999 / 16 - 1;
        let mut starts = std::collections::HashSet::new();
        for turn in 0..windows / 3 {
            let (inputs, _) = data.part(turn);
            let kinds: Vec<u16> = inputs.chunks(16).map(|row| row[0] / 1000).collect();
            assert_eq!(kinds, [0, 1, 1, 1]);
            starts.extend(inputs[16..].chunks(16).map(|row| row[0]));
        }
        assert_eq!(starts.len(), windows / 3 * 3);
        let unknown = BTreeMap::from([("latin".to_string(), 2)]);
        let error = Data::new(Arc::new(counting(2, 1000)), 16, 0.0, 7, &unknown).err().unwrap().to_string();
        assert!(error.contains("names the domain latin"), "{error}");
    }
}
