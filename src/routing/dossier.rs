//! Expert dossiers: which tokens each expert of a model gets, counted over texts of known domains.
//!
//! An expert e has `n(e)` assignments over `N` tokens: `n(e, v)` of them on the token id v, and `n(e, d)` in the
//! domain d. Mutual information in bits is `I(X; Y) = sum p(x, y) log2(p(x, y) / (p(x) p(y)))`. X is either "which
//! expert", over a layer's assignments, or "this expert or not", over its tokens. A token id's *specificity* for an
//! expert is its term of that sum, `n(e, v) log2(p(v | e) / p(v))`: it is large for an id that is frequent and that
//! goes to the expert more often than by chance.

use crate::engine::LayerTrace;
use crate::tokenizer::Token;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Specific tokens kept for each expert.
const TOKENS: usize = 30;
/// Example contexts kept for each expert.
const CONTEXTS: usize = 10;
/// Tokens of a context before and after the expert's token.
const AROUND: usize = 12;
/// Rarer token ids are not listed as specific.
const LEAST_COUNT: u32 = 5;

/// The dossiers of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dossier {
    /// Version of this format.
    pub schema: u32,
    /// The model's name.
    pub model: String,
    /// Number of tokens counted.
    pub tokens: u64,
    /// The domains, with the number of tokens of each.
    pub domains: Vec<Domain>,
    /// The routed layers, in order.
    pub layers: Vec<LayerDossier>,
}

/// Texts of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Domain {
    /// Its name.
    pub name: String,
    /// Number of its tokens.
    pub tokens: u64,
}

/// One layer's dossiers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerDossier {
    /// The layer's number.
    pub layer: usize,
    /// Mutual information of "which expert" and the domain, bits.
    pub domain_information: f32,
    /// Mutual information of "which expert" and the token id, bits.
    pub token_information: f32,
    /// The experts, in order.
    pub experts: Vec<ExpertDossier>,
}

/// One expert's dossier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExpertDossier {
    /// The expert's number.
    pub expert: usize,
    /// Its share of the layer's assignments.
    pub load: f32,
    /// Its mean weight where it is selected.
    pub mean_weight: f32,
    /// Its assignments by domain, in the order of [`Dossier::domains`]; sums to 1 where it has any.
    pub domains: Vec<f32>,
    /// Mutual information of "this expert or not" and the domain, bits.
    pub domain_information: f32,
    /// Mutual information of "this expert or not" and the token id, bits.
    pub token_information: f32,
    /// The token ids that are most specific for it.
    pub tokens: Vec<SpecificToken>,
    /// For each expert i, the share of this expert's tokens that also go to expert i, `[E]`; 1 for itself.
    pub with: Vec<f32>,
    /// Contexts of its most specific tokens, at its greatest weight.
    pub contexts: Vec<Context>,
}

/// A token id that is specific for an expert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpecificToken {
    /// The id.
    pub id: u32,
    /// Its text as it is shown.
    pub text: String,
    /// Number of its occurrences that went to the expert.
    pub count: u32,
    /// The share of its occurrences that went to the expert.
    pub share: f32,
    /// `p(v | e) / p(v)`: how many times more often it goes to the expert than by chance.
    pub lift: f32,
}

/// A token in its context.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Context {
    /// The text before the token.
    pub before: String,
    /// The token.
    pub token: String,
    /// The text after it.
    pub after: String,
    /// Number of its domain in [`Dossier::domains`].
    pub domain: usize,
    /// The expert's weight there.
    pub weight: f32,
}

/// Counts traces, from which it makes dossiers.
pub struct Census {
    domains: Vec<Domain>,
    tokens: Vec<(Token, usize)>,
    id_counts: HashMap<u32, u32>,
    layers: Vec<LayerCensus>,
}

struct LayerCensus {
    layer: usize,
    experts: Vec<ExpertCensus>,
}

#[derive(Clone, Default)]
struct ExpertCensus {
    count: u64,
    weight: f64,
    domains: Vec<u64>,
    with: Vec<u64>,
    ids: HashMap<u32, IdCensus>,
}

#[derive(Clone, Copy)]
struct IdCensus {
    count: u32,
    /// The greatest weight, and the index of that token over all texts.
    best: (f32, usize),
}

impl Census {
    /// A census over texts of these domains, with nothing counted yet.
    pub fn new(domains: &[String]) -> Self {
        let domains = domains.iter().map(|name| Domain { name: name.clone(), tokens: 0 }).collect();
        Self { domains, tokens: Vec::new(), id_counts: HashMap::new(), layers: Vec::new() }
    }

    /// Counts a text of the domain with the index `domain`.
    pub fn add(&mut self, domain: usize, tokens: &[Token], layers: &[LayerTrace]) {
        if self.layers.is_empty() {
            let domains = self.domains.len();
            self.layers = layers.iter().map(|layer| LayerCensus::new(layer, domains)).collect();
        }
        let first = self.tokens.len();
        self.domains[domain].tokens += tokens.len() as u64;
        for token in tokens {
            *self.id_counts.entry(token.id).or_default() += 1;
            self.tokens.push((token.clone(), domain));
        }
        for (census, layer) in self.layers.iter_mut().zip(layers) {
            for (position, token) in tokens.iter().enumerate() {
                census.add(domain, first + position, token.id, layer.selected_of(position), layer.weights_of(position));
            }
        }
    }

    /// The dossiers of the tokens counted so far. `show` returns the text of a token id.
    pub fn dossier(&self, model: &str, show: impl Fn(u32) -> String) -> Dossier {
        Dossier {
            schema: 1,
            model: model.to_owned(),
            tokens: self.tokens.len() as u64,
            domains: self.domains.clone(),
            layers: self.layers.iter().map(|layer| self.layer(layer, &show)).collect(),
        }
    }

    fn layer(&self, layer: &LayerCensus, show: &dyn Fn(u32) -> String) -> LayerDossier {
        let by_domain = layer.experts.iter().map(|expert| expert.domains.clone()).collect::<Vec<_>>();
        let mut ids: Vec<u32> = self.id_counts.keys().copied().collect();
        ids.sort_unstable();
        let count_of = |expert: &ExpertCensus, id: &u32| expert.ids.get(id).map_or(0, |n| u64::from(n.count));
        let by_id: Vec<Vec<u64>> =
            layer.experts.iter().map(|expert| ids.iter().map(|id| count_of(expert, id)).collect()).collect();
        let total: u64 = layer.experts.iter().map(|expert| expert.count).sum();
        let domain_totals: Vec<u64> = self.domains.iter().map(|domain| domain.tokens).collect();
        let id_totals: Vec<u64> = ids.iter().map(|id| u64::from(self.id_counts[id])).collect();
        let experts = layer.experts.iter().enumerate().map(|(number, expert)| ExpertDossier {
            expert: number,
            load: ratio(expert.count, total),
            mean_weight: (expert.weight / expert.count.max(1) as f64) as f32,
            domains: expert.domains.iter().map(|&n| ratio(n, expert.count)).collect(),
            domain_information: mutual_information(&[&expert.domains, &rest(&domain_totals, &expert.domains)]),
            token_information: mutual_information(&[&by_id[number], &rest(&id_totals, &by_id[number])]),
            tokens: self.specific(expert, show),
            with: expert.with.iter().map(|&n| ratio(n, expert.count)).collect(),
            contexts: self.contexts(expert),
        });
        LayerDossier {
            layer: layer.layer,
            domain_information: mutual_information(&by_domain.iter().map(Vec::as_slice).collect::<Vec<_>>()),
            token_information: mutual_information(&by_id.iter().map(Vec::as_slice).collect::<Vec<_>>()),
            experts: experts.collect(),
        }
    }

    /// The ids that are specific for an expert, most specific first.
    fn ranked(&self, expert: &ExpertCensus) -> Vec<(u32, IdCensus, f64)> {
        let lift = |id: u32, n: u32| {
            let chance = f64::from(self.id_counts[&id]) / self.tokens.len() as f64;
            f64::from(n) / expert.count as f64 / chance
        };
        let seen = expert.ids.iter().filter(|(_, n)| n.count >= LEAST_COUNT);
        let mut ranked: Vec<_> =
            seen.map(|(&id, &n)| (id, n, lift(id, n.count))).filter(|(.., lift)| *lift > 1.0).collect();
        let specific = |(_, n, lift): &(u32, IdCensus, f64)| f64::from(n.count) * lift.log2();
        ranked.sort_by(|a, b| specific(b).total_cmp(&specific(a)).then(a.0.cmp(&b.0)));
        ranked.truncate(TOKENS);
        ranked
    }

    fn specific(&self, expert: &ExpertCensus, show: &dyn Fn(u32) -> String) -> Vec<SpecificToken> {
        let ranked = self.ranked(expert).into_iter();
        let token = |(id, n, lift): (u32, IdCensus, f64)| SpecificToken {
            id,
            text: show(id),
            count: n.count,
            share: n.count as f32 / self.id_counts[&id] as f32,
            lift: lift as f32,
        };
        ranked.map(token).collect()
    }

    fn contexts(&self, expert: &ExpertCensus) -> Vec<Context> {
        self.ranked(expert).into_iter().take(CONTEXTS).map(|(_, n, _)| self.context(n.best.1, n.best.0)).collect()
    }

    fn context(&self, at: usize, weight: f32) -> Context {
        let domain = self.tokens[at].1;
        let text = |range: std::ops::Range<usize>| {
            self.tokens[range].iter().filter(|t| t.1 == domain).map(|t| t.0.text.as_str()).collect()
        };
        Context {
            before: text(at.saturating_sub(AROUND)..at),
            token: self.tokens[at].0.text.clone(),
            after: text(at + 1..(at + 1 + AROUND).min(self.tokens.len())),
            domain,
            weight,
        }
    }
}

impl LayerCensus {
    fn new(layer: &LayerTrace, domains: usize) -> Self {
        let expert =
            ExpertCensus { domains: vec![0; domains], with: vec![0; layer.experts], ..ExpertCensus::default() };
        Self { layer: layer.layer, experts: vec![expert; layer.experts] }
    }

    fn add(&mut self, domain: usize, at: usize, id: u32, selected: &[u32], weights: &[f32]) {
        for (&number, &weight) in selected.iter().zip(weights) {
            let expert = &mut self.experts[number as usize];
            expert.count += 1;
            expert.weight += f64::from(weight);
            expert.domains[domain] += 1;
            selected.iter().for_each(|&other| expert.with[other as usize] += 1);
            let n = expert.ids.entry(id).or_insert(IdCensus { count: 0, best: (weight, at) });
            n.count += 1;
            if weight > n.best.0 {
                n.best = (weight, at);
            }
        }
    }
}

fn ratio(part: u64, whole: u64) -> f32 {
    if whole == 0 { 0.0 } else { (part as f64 / whole as f64) as f32 }
}

/// For each column, the tokens that did not go to the expert; `all` counts each token once.
fn rest(all: &[u64], read: &[u64]) -> Vec<u64> {
    all.iter().zip(read).map(|(all, read)| all - read).collect()
}

/// Mutual information in bits of row and column in a table of counts.
pub fn mutual_information(table: &[&[u64]]) -> f32 {
    let columns = table.first().map_or(0, |row| row.len());
    let row_totals: Vec<u64> = table.iter().map(|row| row.iter().sum()).collect();
    let column_totals: Vec<u64> = (0..columns).map(|c| table.iter().map(|row| row[c]).sum()).collect();
    let total = row_totals.iter().sum::<u64>() as f64;
    let mut bits = 0.0;
    for (row, &row_total) in table.iter().zip(&row_totals) {
        for (&n, &column_total) in row.iter().zip(&column_totals).filter(|(n, _)| **n > 0) {
            let n = n as f64;
            bits += n / total * (n * total / (row_total as f64 * column_total as f64)).log2();
        }
    }
    bits as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn information_of_a_copy_and_of_chance() {
        assert!((mutual_information(&[&[4, 0], &[0, 4]]) - 1.0).abs() < 1e-6);
        assert_eq!(mutual_information(&[&[2, 2], &[3, 3]]), 0.0);
        assert_eq!(mutual_information(&[&[0, 0], &[0, 0]]), 0.0);
    }

    /// Expert 0 reads domain "a", whose tokens are ids 0 and 1; expert 1 reads domain "b", ids 2 and 3.
    fn census() -> Census {
        let mut census = Census::new(&["a".into(), "b".into()]);
        for domain in 0..2u32 {
            let tokens: Vec<Token> = (0..20)
                .map(|i| domain * 2 + i % 2)
                .map(|id| Token { id, text: format!("{id} "), ..Token::default() })
                .collect();
            let mut layer = LayerTrace::new(3, 2, 1);
            layer.selected = vec![domain; 20];
            layer.weights = (0..20).map(|i| i as f32 / 20.0).collect();
            layer.router_logits = vec![0.0; 40];
            census.add(domain as usize, &tokens, &[layer]);
        }
        census
    }

    #[test]
    fn an_expert_for_each_domain() {
        let dossier = census().dossier("m", |id| id.to_string());
        assert_eq!(dossier.tokens, 40);
        let layer = &dossier.layers[0];
        assert_eq!(layer.layer, 3);
        assert!((layer.domain_information - 1.0).abs() < 1e-6);
        assert!((layer.token_information - 1.0).abs() < 1e-6);
        let expert = &layer.experts[1];
        assert_eq!(
            (expert.load, expert.domains.as_slice(), expert.with.as_slice()),
            (0.5, &[0.0, 1.0][..], &[0.0, 1.0][..])
        );
        assert!((expert.domain_information - 1.0).abs() < 1e-6);
        assert!((expert.mean_weight - 0.475).abs() < 1e-6);
        assert_eq!(expert.tokens.iter().map(|token| token.id).collect::<Vec<_>>(), [2, 3]);
        assert_eq!((expert.tokens[0].count, expert.tokens[0].share, expert.tokens[0].lift), (10, 1.0, 2.0));
    }

    #[test]
    fn contexts_are_where_the_weight_is_greatest_and_stay_in_their_domain() {
        let dossier = census().dossier("m", |id| id.to_string());
        let context = &dossier.layers[0].experts[0].contexts[1];
        assert_eq!((context.token.as_str(), context.domain, context.weight), ("1 ", 0, 0.95));
        assert_eq!(context.before, "1 0 1 0 1 0 1 0 1 0 1 0 ");
        assert_eq!(context.after, "", "what follows is another domain's");
    }
}
