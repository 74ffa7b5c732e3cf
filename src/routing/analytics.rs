//! What else follows from a trace: how sure the router was, the paths of tokens through the layers, and which tokens
//! each expert handles. Pure functions; the page draws what they return.

use super::dossier::Dossier;
use super::trace::Trace;
use crate::engine::LayerTrace;
use crate::kernels::softmax::softmax;
use std::collections::HashMap;

/// How unsure the router was about one token: `-sum p ln p / ln E`, from 0 (certain) to 1 (no preference).
pub fn router_entropy(layer: &LayerTrace, position: usize) -> f32 {
    if layer.experts < 2 {
        return 0.0;
    }
    let entropy: f32 = layer.probabilities_of(position).iter().filter(|p| **p > 0.0).map(|p| -p * p.ln()).sum();
    (entropy / (layer.experts as f32).ln()).clamp(0.0, 1.0)
}

/// The path of one token: its first expert in each routed layer, where it has an expert.
pub fn path(trace: &Trace, position: usize) -> Vec<Option<u32>> {
    trace.layers.iter().map(|layer| layer.selected_of(position).first().copied()).collect()
}

/// The positions of the other tokens with the same path as the token at `position`.
pub fn same_path(trace: &Trace, position: usize) -> Vec<usize> {
    let wanted = path(trace, position);
    (0..trace.len()).filter(|&other| other != position && path(trace, other) == wanted).collect()
}

/// Number of different paths of the tokens.
pub fn path_count(trace: &Trace) -> usize {
    (0..trace.len()).map(|position| path(trace, position)).collect::<std::collections::HashSet<_>>().len()
}

/// The flow from an expert of one layer to an expert of the next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Flow {
    /// Expert in the earlier layer.
    pub from: u32,
    /// Expert in the later layer.
    pub to: u32,
    /// Assignments that take this way, over all tokens.
    pub all: f32,
    /// Assignments that take this way, over the chosen tokens only.
    pub chosen: f32,
}

/// The flows between the routed layers `index` and `index + 1` (indices into `trace.layers`), largest first.
///
/// A token has `k` assignments in each layer. Each assignment is split evenly over the token's `k` assignments of the
/// next layer, so that the flow into an expert is the number of its assignments.
pub fn flows(trace: &Trace, index: usize, chosen: impl Fn(usize) -> bool) -> Vec<Flow> {
    let (here, next) = (&trace.layers[index], &trace.layers[index + 1]);
    let mut sums = HashMap::<(u32, u32), (f32, f32)>::new();
    for position in 0..trace.len() {
        let is_chosen = chosen(position);
        let part = 1.0 / next.selected_of(position).len().max(1) as f32;
        for &from in here.selected_of(position) {
            for &to in next.selected_of(position) {
                let sum = sums.entry((from, to)).or_default();
                sum.0 += part;
                sum.1 += if is_chosen { part } else { 0.0 };
            }
        }
    }
    let mut flows: Vec<Flow> =
        sums.into_iter().map(|((from, to), (all, chosen))| Flow { from, to, all, chosen }).collect();
    flows.sort_by(|a, b| b.all.total_cmp(&a.all).then((a.from, a.to).cmp(&(b.from, b.to))));
    flows
}

/// One token id that an expert handles.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The token's id.
    pub id: u32,
    /// Number of its occurrences that the expert handled.
    pub read: usize,
    /// Number of its occurrences in the text.
    pub of: usize,
    /// Position of the first occurrence that the expert handled.
    pub first: usize,
}

/// What one expert handled over a text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reader {
    /// Tokens for which it is one of the selected experts.
    pub read: usize,
    /// Tokens for which it is the first of the selected experts.
    pub first: usize,
    /// Its mean weight over the tokens that it handled; 0 where there are none.
    pub mean_weight: f32,
    /// The token ids that it handled, by falling count, then by falling share of their occurrences.
    pub readings: Vec<Reading>,
    /// The experts that were selected together with it, and for how many tokens; by falling number of tokens.
    pub partners: Vec<(u32, usize)>,
    /// Positions of the tokens that it handled.
    pub positions: Vec<usize>,
}

/// Counts the tokens that `expert` of `layer` handled. `ids` are the tokens' ids, one for each row of the layer.
pub fn reader(layer: &LayerTrace, ids: &[u32], expert: u32) -> Reader {
    let mut reader = Reader::default();
    let mut kinds = HashMap::<u32, Reading>::new();
    let mut partners = HashMap::<u32, usize>::new();
    let mut weight = 0.0;
    for (position, &id) in ids.iter().enumerate().take(layer.tokens()) {
        let kind = kinds.entry(id).or_insert(Reading { id, read: 0, of: 0, first: position });
        kind.of += 1;
        let selected = layer.selected_of(position);
        let Some(rank) = selected.iter().position(|&e| e == expert) else { continue };
        if kind.read == 0 {
            kind.first = position;
        }
        kind.read += 1;
        reader.read += 1;
        reader.first += usize::from(rank == 0);
        weight += layer.weights_of(position)[rank];
        reader.positions.push(position);
        for &partner in selected.iter().filter(|&&e| e != expert) {
            *partners.entry(partner).or_default() += 1;
        }
    }
    reader.mean_weight = if reader.read > 0 { weight / reader.read as f32 } else { 0.0 };
    reader.readings = kinds.into_values().filter(|kind| kind.read > 0).collect();
    // Order: larger `read` first; then larger `read / of`, compared as fractions; then order of the text.
    reader
        .readings
        .sort_by(|a, b| b.read.cmp(&a.read).then((b.read * a.of).cmp(&(a.read * b.of))).then(a.first.cmp(&b.first)));
    reader.partners = partners.into_iter().collect();
    reader.partners.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    reader
}

/// The experts of a layer that got no token.
pub fn never_fired(layer: &LayerTrace) -> Vec<u32> {
    let mut fired = vec![false; layer.experts];
    layer.assignments().for_each(|expert| fired[expert as usize] = true);
    (0..layer.experts as u32).filter(|&expert| !fired[expert as usize]).collect()
}

/// `max_over_mean` of the balance after each `step` tokens of the text: does the load even out as the text grows? The
/// last entry is that of the whole text.
pub fn history(layer: &LayerTrace, step: usize) -> Vec<f32> {
    let mut counts = vec![0usize; layer.experts];
    let mut history = Vec::new();
    let total = layer.tokens();
    for position in 0..total {
        layer.selected_of(position).iter().for_each(|&expert| counts[expert as usize] += 1);
        let tokens = position + 1;
        if tokens % step.max(1) == 0 || tokens == total {
            let max = *counts.iter().max().unwrap_or(&0) as f32;
            let assignments = counts.iter().sum::<usize>().max(1);
            history.push(max * layer.experts as f32 / assignments as f32);
        }
    }
    history
}

/// Which tokens contain a part of an occurrence of `text`, `[T]`, ignoring ASCII case. All are false where `text` is
/// empty or does not occur.
pub fn find(trace: &Trace, text: &str) -> Vec<bool> {
    let mut found = vec![false; trace.len()];
    if text.is_empty() {
        return found;
    }
    let whole: String = trace.tokens.iter().map(|token| token.text.as_str()).collect();
    let (whole, wanted) = (whole.to_ascii_lowercase(), text.to_ascii_lowercase());
    let ends: Vec<usize> = trace
        .tokens
        .iter()
        .scan(0, |end, token| {
            *end += token.text.len();
            Some(*end)
        })
        .collect();
    for (start, _) in whole.match_indices(&wanted) {
        let first = ends.partition_point(|&end| end <= start);
        let last = ends.partition_point(|&end| end < start + wanted.len());
        found[first..=last].fill(true);
    }
    found
}

/// Tokens before and after a token that also count for its domain guess.
const NEIGHBOURS: usize = 3;

/// Guesses the kind of text at `position` from the chosen experts alone: the most probable domain, and its
/// probability. It is naive Bayes over the selected experts of the token and its neighbours in all layers. Each expert
/// counts with its weight; `dossier` has its share of each domain.
pub fn domain_guess(trace: &Trace, dossier: &Dossier, position: usize) -> Option<(usize, f32)> {
    let mut scores = vec![0.0f32; dossier.domains.len()];
    let around = position.saturating_sub(NEIGHBOURS)..(position + NEIGHBOURS + 1).min(trace.len());
    for layer in &trace.layers {
        let Some(known) = dossier.layers.iter().find(|known| known.layer == layer.layer) else { continue };
        for neighbour in around.clone() {
            for (&expert, &weight) in layer.selected_of(neighbour).iter().zip(layer.weights_of(neighbour)) {
                let Some(expert) = known.experts.get(expert as usize) else { continue };
                for (score, &share) in scores.iter_mut().zip(&expert.domains) {
                    *score += weight * share.max(1e-4).ln();
                }
            }
        }
    }
    softmax(&mut scores);
    scores.into_iter().enumerate().max_by(|a, b| a.1.total_cmp(&b.1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::{Token, balance};

    /// Two layers, three experts, two choices, four tokens (two of them the same word).
    fn trace() -> Trace {
        let layer = |number, selected: [u32; 8]| LayerTrace {
            layer: number,
            experts: 3,
            top_k: 2,
            router_logits: vec![0.0; 12],
            selected: selected.to_vec(),
            weights: [0.75, 0.25].repeat(4),
            ..LayerTrace::default()
        };
        let tokens = [7, 8, 7, 9].map(|id| Token { id, text: format!("t{id}"), ..Token::default() }).to_vec();
        let layers = vec![layer(0, [0, 1, 0, 1, 0, 1, 1, 0]), layer(1, [1, 2, 2, 1, 1, 2, 1, 2])];
        Trace { tokens, layers, ..Trace::default() }
    }

    #[test]
    fn the_router_is_undecided_where_all_scores_are_equal() {
        let mut layer = trace().layers[0].clone();
        assert!((router_entropy(&layer, 0) - 1.0).abs() < 1e-6);
        layer.router_logits[..3].copy_from_slice(&[50.0, 0.0, 0.0]);
        assert!(router_entropy(&layer, 0) < 1e-6);
    }

    #[test]
    fn paths_are_compared_whole() {
        let trace = trace();
        assert_eq!(path(&trace, 3), [Some(1), Some(1)]);
        assert_eq!(same_path(&trace, 0), [2]);
        assert_eq!(same_path(&trace, 3), [] as [usize; 0]);
        assert_eq!(path_count(&trace), 3);
    }

    #[test]
    fn what_enters_an_expert_is_what_it_holds() {
        let trace = trace();
        let flows = flows(&trace, 0, |position| position == 3);
        for expert in 0..3 {
            let out: f32 = flows.iter().filter(|f| f.from == expert).map(|f| f.all).sum();
            let into: f32 = flows.iter().filter(|f| f.to == expert).map(|f| f.all).sum();
            let assignments = |layer: usize| balance(&trace.layers[layer]).load[expert as usize] * 8.0;
            assert!((out - assignments(0)).abs() < 1e-5);
            assert!((into - assignments(1)).abs() < 1e-5);
        }
        assert!((flows.iter().map(|f| f.chosen).sum::<f32>() - 2.0).abs() < 1e-6, "one token, two assignments");
    }

    #[test]
    fn a_reader_counts_tokens_firsts_and_partners() {
        let trace = trace();
        let ids: Vec<u32> = trace.tokens.iter().map(|t| t.id).collect();
        let reader = reader(&trace.layers[0], &ids, 0);
        assert_eq!((reader.read, reader.first), (4, 3));
        assert!((reader.mean_weight - (0.75 * 3.0 + 0.25) / 4.0).abs() < 1e-6);
        assert_eq!(reader.readings[0], Reading { id: 7, read: 2, of: 2, first: 0 });
        assert_eq!(reader.partners, [(1, 4)]);
        assert_eq!(reader.positions, [0, 1, 2, 3]);
    }

    #[test]
    fn a_text_is_found_over_the_edges_of_tokens() {
        let trace = trace();
        assert_eq!(find(&trace, "T8"), [false, true, false, false]);
        assert_eq!(find(&trace, "7t8t"), [true, true, true, false]);
        assert_eq!(find(&trace, ""), [false; 4]);
        assert_eq!(find(&trace, "nowhere"), [false; 4]);
        assert_eq!(find(&Trace::default(), "x"), [] as [bool; 0]);
    }

    #[test]
    fn the_guess_is_the_domain_that_the_experts_read() {
        use crate::routing::dossier::{Domain, ExpertDossier, LayerDossier};
        let reads = |expert: usize, domains: [f32; 2]| ExpertDossier {
            expert,
            load: 0.5,
            mean_weight: 0.5,
            domains: domains.to_vec(),
            domain_information: 0.0,
            token_information: 0.0,
            tokens: Vec::new(),
            with: Vec::new(),
            contexts: Vec::new(),
        };
        let experts = vec![reads(0, [0.9, 0.1]), reads(1, [0.8, 0.2]), reads(2, [0.1, 0.9])];
        let layers = vec![LayerDossier { layer: 0, domain_information: 0.0, token_information: 0.0, experts }];
        let domains = ["prose", "code"].map(|name| Domain { name: name.into(), tokens: 1 }).to_vec();
        let dossier = Dossier { schema: 1, model: "m".into(), tokens: 2, domains, layers };
        let (domain, share) = domain_guess(&trace(), &dossier, 0).expect("there are domains");
        assert_eq!(domain, 0);
        assert!(share > 0.9, "{share}");
    }

    #[test]
    fn an_expert_without_tokens_is_named() {
        assert_eq!(never_fired(&trace().layers[0]), [2]);
        assert_eq!(never_fired(&LayerTrace::new(0, 2, 1)), [0, 1]);
    }

    #[test]
    fn history_ends_at_the_whole_text() {
        let layer = &trace().layers[0];
        let history = history(layer, 3);
        assert_eq!(history.len(), 2);
        assert!((history[1] - balance(layer).max_over_mean).abs() < 1e-6);
        assert!(super::history(&LayerTrace::new(0, 2, 1), 4).is_empty());
    }
}
