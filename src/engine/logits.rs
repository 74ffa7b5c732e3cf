//! Logits after one token, as a probability distribution over the next token.

use crate::kernels::softmax::normaliser;

/// Logits after a token, `[V]`, with the maximum and the sum that make them probabilities: `exp(logit - max) / sum`.
/// Empty before the first token.
pub struct Logits<'a> {
    logits: &'a [f32],
    max: f32,
    sum: f32,
}

impl<'a> Logits<'a> {
    /// The distribution of one row of [`super::Step::logits`], `[V]`; computes the row's maximum and sum.
    pub fn new(logits: &'a [f32]) -> Self {
        let (max, sum) = normaliser(logits);
        Self { logits, max, sum }
    }

    /// The `count` most probable next tokens with their probabilities, by falling probability, ties by lower id.
    pub fn most_probable(&self, count: usize) -> Vec<(u32, f32)> {
        let logit = |id: u32| self.logits[id as usize];
        let mut best: Vec<u32> = Vec::with_capacity(count + 1);
        for id in 0..self.logits.len() as u32 {
            if best.len() == count && best.last().is_none_or(|&worst| logit(id) <= logit(worst)) {
                continue;
            }
            let place = best.partition_point(|&b| logit(b) >= logit(id));
            best.insert(place, id);
            best.truncate(count);
        }
        best.into_iter().map(|id| (id, (logit(id) - self.max).exp() / self.sum)).collect()
    }

    /// `-log2 p(id)`, in bits; 0 before the first token.
    pub fn surprise(&self, id: u32) -> f32 {
        match self.logits.get(id as usize) {
            Some(logit) => (self.sum.ln() - (logit - self.max)) / std::f32::consts::LN_2,
            None => 0.0,
        }
    }

    /// `-ln p(id)`, in nats; `id` must be in the vocabulary.
    pub fn nats(&self, id: u32) -> f64 {
        f64::from(self.sum.ln()) - f64::from(self.logits[id as usize] - self.max)
    }
}
