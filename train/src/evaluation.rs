//! Held-out bits per byte of each domain, and the load of each layer's experts.

use crate::data::Stream;
use crate::gate::max_over_mean;
use crate::replica::Replica;

/// A measurement of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// Each domain, in the corpus's order.
    pub domains: Vec<DomainResult>,
    /// Each layer.
    pub layers: Vec<LayerLoad>,
}

/// How well a domain's text is predicted.
#[derive(Clone, Debug, PartialEq)]
pub struct DomainResult {
    /// The domain's short name.
    pub name: String,
    /// Tokens that were predicted.
    pub tokens: usize,
    /// Cross-entropy in nats per token.
    pub nats_per_token: f64,
    /// Bits per byte of text. Separators between documents cost bits but count as no bytes.
    pub bits_per_byte: f64,
}

/// The assignments of a layer, domains x experts.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerLoad {
    /// Assignments of each domain's tokens to each expert, dropped ones too.
    pub counts: Vec<Vec<usize>>,
    /// Of these, how many were dropped because the expert was full.
    pub dropped: usize,
}

impl LayerLoad {
    fn experts(&self) -> usize {
        self.counts.first().map_or(0, Vec::len)
    }

    /// Assignments of each expert.
    pub fn totals(&self) -> Vec<usize> {
        (0..self.experts()).map(|e| self.counts.iter().map(|c| c[e]).sum()).collect()
    }

    /// Part of the assignments that were dropped.
    pub fn dropped_share(&self) -> f64 {
        self.dropped as f64 / self.totals().iter().sum::<usize>().max(1) as f64
    }

    /// Busiest expert's load over the mean.
    pub fn max_over_mean(&self) -> f32 {
        max_over_mean(&self.totals())
    }

    /// Mutual information of expert and domain, in bits: what knowing the expert says about the kind of text.
    pub fn domain_information(&self) -> f64 {
        let all: usize = self.totals().iter().sum();
        let experts = self.totals();
        let mut bits = 0.0;
        for row in &self.counts {
            let domain: usize = row.iter().sum();
            for (&count, &expert) in row.iter().zip(&experts).filter(|(c, _)| **c > 0) {
                bits +=
                    count as f64 / all as f64 * (count as f64 * all as f64 / (domain as f64 * expert as f64)).log2();
            }
        }
        bits
    }

    /// Experts that have over half of their load from two domains.
    pub fn specialists(&self) -> usize {
        let special = |e: &usize| {
            let mut column: Vec<usize> = self.counts.iter().map(|row| row[*e]).collect();
            column.sort_unstable_by(|a, b| b.cmp(a));
            let total: usize = column.iter().sum();
            total > 0 && 2 * column.iter().take(2).sum::<usize>() > total
        };
        (0..self.experts()).filter(special).count()
    }
}

/// One row of a pass: the start of its inputs, and the positions whose predictions count.
struct Window {
    start: usize,
    counted: std::ops::Range<usize>,
}

/// Windows that cover `ids`; each counts only the predictions that the one before did not. A window adds `stride`
/// tokens, with at least `context - stride` tokens before them, except at the text's beginning.
fn windows(length: usize, context: usize, stride: usize) -> Vec<Window> {
    let targets = length.saturating_sub(1);
    let mut windows = Vec::new();
    let mut done = 0;
    while done < targets {
        let start = (done + stride).saturating_sub(context).min(targets.saturating_sub(1));
        let start = if done == 0 { 0 } else { start };
        let end = (start + context).min(targets);
        windows.push(Window { start, counted: done - start..end - start });
        done = end;
    }
    windows
}

/// Measures on the first `limit` tokens of each stream; each window adds `stride` tokens. The replicas run in
/// parallel.
pub fn evaluate(
    replicas: &mut [Replica],
    parameters: &[f32],
    streams: &[Stream],
    limit: usize,
    stride: usize,
) -> Evaluation {
    let (context, sequences) = (replicas[0].context(), replicas[0].sequences());
    let (layers, experts) = (replicas[0].shape().layers, replicas[0].shape().experts);
    let rows: Vec<(usize, Window)> = streams
        .iter()
        .enumerate()
        .flat_map(|(d, s)| windows(s.ids.len().min(limit), context, stride).into_iter().map(move |w| (d, w)))
        .collect();
    let batches: Vec<&[(usize, Window)]> = rows.chunks(sequences).collect();
    let threads = replicas.len();
    let work = |(n, replica): (usize, &mut Replica)| {
        let mut tally = Tally::new(streams.len(), layers, experts);
        for batch in batches.iter().skip(n).step_by(threads) {
            tally.add(replica, parameters, streams, batch);
        }
        tally
    };
    let work = &work;
    let results: Vec<Tally> = std::thread::scope(|scope| {
        let handles: Vec<_> = replicas.iter_mut().enumerate().map(|r| scope.spawn(move || work(r))).collect();
        handles.into_iter().map(|h| h.join().expect("a replica does not panic")).collect()
    });
    let total = results.into_iter().reduce(Tally::join).expect("there is a replica");
    let domains = streams.iter().zip(&total.nats).zip(&total.tokens).map(|((s, &nats), &tokens)| {
        let bytes = s.bytes as f64 * tokens as f64 / (s.ids.len() - 1).max(1) as f64;
        DomainResult {
            name: s.name.clone(),
            tokens,
            nats_per_token: nats / tokens as f64,
            bits_per_byte: nats / std::f64::consts::LN_2 / bytes,
        }
    });
    Evaluation { domains: domains.collect(), layers: total.layers }
}

struct Tally {
    nats: Vec<f64>,
    tokens: Vec<usize>,
    layers: Vec<LayerLoad>,
}

impl Tally {
    fn new(domains: usize, layers: usize, experts: usize) -> Self {
        let load = LayerLoad { counts: vec![vec![0; experts]; domains], dropped: 0 };
        Self { nats: vec![0.0; domains], tokens: vec![0; domains], layers: vec![load; layers] }
    }

    fn add(&mut self, replica: &mut Replica, parameters: &[f32], streams: &[Stream], batch: &[(usize, Window)]) {
        let context = replica.context();
        let mut inputs = vec![0u16; replica.tokens()];
        let mut targets = vec![0u16; replica.tokens()];
        for (row, (domain, window)) in batch.iter().enumerate() {
            let ids = &streams[*domain].ids[window.start..];
            let n = window.counted.end;
            inputs[row * context..][..n].copy_from_slice(&ids[..n]);
            targets[row * context..][..n].copy_from_slice(&ids[1..n + 1]);
        }
        let gate = replica.shape().gate();
        let mut loss = vec![0.0f32; replica.tokens()];
        replica.evaluate(parameters, &inputs, &targets, &mut loss);
        for (row, (domain, window)) in batch.iter().enumerate() {
            for t in window.counted.clone().map(|t| row * context + t) {
                self.nats[*domain] += f64::from(loss[t]);
                self.tokens[*domain] += 1;
                for (load, routing) in self.layers.iter_mut().zip(replica.routing()) {
                    let row = t * gate.choices()..t * gate.choices() + gate.top_k;
                    routing.selected[row.clone()].iter().for_each(|&e| load.counts[*domain][usize::from(e)] += 1);
                    load.dropped += routing.dropped.get(row).map_or(0, |row| row.iter().filter(|&&d| d).count());
                }
            }
        }
    }

    fn join(mut self, other: Self) -> Self {
        self.nats.iter_mut().zip(other.nats).for_each(|(a, b)| *a += b);
        self.tokens.iter_mut().zip(other.tokens).for_each(|(a, b)| *a += b);
        for (a, b) in self.layers.iter_mut().zip(other.layers) {
            a.dropped += b.dropped;
            for (a, b) in a.counts.iter_mut().flatten().zip(b.counts.into_iter().flatten()) {
                *a += b;
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_count_every_target_once() {
        for (length, context, stride) in [(100, 16, 16), (100, 16, 8), (5, 16, 8), (17, 16, 4), (1, 16, 8)] {
            let mut counted = vec![0; length - 1];
            for w in windows(length, context, stride) {
                assert!(w.counted.end <= context && w.start + w.counted.end < length);
                w.counted.for_each(|t| counted[w.start + t] += 1);
            }
            assert!(counted.iter().all(|&c| c == 1), "{length} {context} {stride}: {counted:?}");
        }
    }

    #[test]
    fn information_is_zero_for_even_experts_and_one_bit_for_two_split_domains() {
        let even = LayerLoad { counts: vec![vec![5, 5], vec![5, 5]], dropped: 5 };
        let split = LayerLoad { counts: vec![vec![10, 0], vec![0, 10]], dropped: 0 };
        assert!(even.domain_information().abs() < 1e-12);
        assert!((split.domain_information() - 1.0).abs() < 1e-12);
        assert_eq!((even.max_over_mean(), split.specialists()), (1.0, 2));
        assert_eq!((even.dropped_share(), split.dropped_share()), (0.25, 0.0));
    }
}
