//! Inspects one token: what attention and each expert of every layer added to its residual stream.

use super::{CpuEngine, Stage};
use crate::kernels::attention::KvCache;
use crate::kernels::lm_head::lm_head;
use crate::kernels::softmax::softmax_beside;
use crate::shape::{AttentionShape, LayerShape, NONE, VectorName};
use serde::{Deserialize, Serialize};

/// What one expert added to one token.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contribution {
    /// The expert.
    pub expert: u32,
    /// Euclidean norm of its weighted output.
    pub norm: f32,
}

/// A token and its attention weight in one head.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LookedAt {
    /// Its position in the text.
    pub position: u32,
    /// The attention weight, 0 to 1. Those of all tokens sum to 1.
    pub weight: f32,
}

/// The most tokens listed for each head: those with the largest weights.
pub const MOST_LOOKED_AT: usize = 24;

/// What one layer computed for one token.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerView {
    /// The layer's number.
    pub layer: usize,
    /// Euclidean norm of what attention added to the residual stream.
    pub attention: f32,
    /// For each attention head, the tokens with the largest weights, by falling weight, at most [`MOST_LOOKED_AT`].
    pub heads: Vec<Vec<LookedAt>>,
    /// The experts that computed the token, by falling weight.
    pub experts: Vec<Contribution>,
    /// Euclidean norm of the residual stream after the layer.
    pub residual: f32,
    /// Logits of the residual stream after the layer, `[V]`.
    pub logits: Vec<f32>,
}

impl CpuEngine {
    /// Runs one token. Returns what each layer added to the residual stream, and the logits of the residual stream
    /// after each layer.
    pub fn look(&mut self, id: u32) -> Vec<LayerView> {
        let (width, eps) = (self.architecture.hidden, self.architecture.norm_eps);
        let scale = self.architecture.embedding_scale;
        let mut before: Vec<f32> = (0..width).map(|col| scale * self.weights.embed.get(id as usize, col)).collect();
        let residuals: Vec<f32> = self.architecture.layers.iter().map(|layer| layer.residual).collect();
        let (mut views, mut attention) = (Vec::new(), 0.0);
        let width_of = |layer: &LayerShape| layer.attention().map_or(0, AttentionShape::query_width);
        let widths: Vec<usize> = self.architecture.layers.iter().map(width_of).collect();
        let (position, mut queries) = (self.len, Vec::new());
        self.run(&[id], |n, stage, a| {
            let x = &a.x[..width];
            match stage {
                Stage::Attended => {
                    attention = norm_of(x.iter().zip(&before).map(|(now, before)| now - before));
                    queries.push(a.q[..widths[n]].to_vec());
                }
                Stage::Mixed(choices) => {
                    let rows = a.y.chunks_exact(width).zip(&a.route_weights).zip(&a.selected).take(choices);
                    // The row of a dropped assignment in `y` is stale.
                    let experts = rows.filter(|(_, expert)| **expert != NONE).map(|((y, &weight), &expert)| {
                        let weight = residuals[n] * weight;
                        let norm = if weight == 0.0 { 0.0 } else { norm_of(y.iter().map(|y| weight * y)) };
                        Contribution { expert, norm }
                    });
                    let experts = experts.collect();
                    let residual = norm_of(x.iter().copied());
                    views.push((n, attention, experts, residual, x.to_vec()));
                }
            }
            before.copy_from_slice(x);
        });
        let logits = |x: &[f32]| {
            let head = self.weights.head();
            let (mut normed, mut logits) = (vec![0.0; width], vec![0.0; head.rows()]);
            self.weights.norm.run(x, &mut normed, eps);
            lm_head(0, &normed, head, &self.weights.head_bias, self.architecture.logit_scale, &mut logits);
            logits
        };
        let view = |(layer, attention, experts, residual, x): (_, _, _, _, Vec<f32>)| LayerView {
            layer,
            attention,
            heads: self.architecture.layers[layer].attention().map_or(Vec::new(), |shape| {
                let sinks = self.weights.layers[layer].vector(VectorName::Sinks);
                heads(shape, position, &queries[layer], &self.memory[layer].cache, sinks)
            }),
            experts,
            residual,
            logits: logits(&x),
        };
        views.into_iter().map(view).collect()
    }
}

/// What each head looks at from `position`: `softmax(scale * q K^T)` again, as attention.rs has it. `q` is
/// `[heads * head_dim]`; `sinks` are the heads' scores of no position, or none.
fn heads(shape: &AttentionShape, position: usize, q: &[f32], cache: &KvCache, sinks: &[f32]) -> Vec<Vec<LookedAt>> {
    let (dim, group, first) = (shape.head_dim, shape.heads / shape.kv_heads, shape.first_seen(position));
    let head = |(head, q): (usize, &[f32])| {
        let score = |seen: usize| {
            let products = q.iter().enumerate().map(|(i, x)| x * cache.key(head / group, seen, i));
            products.sum::<f32>() * shape.scale()
        };
        let mut weights: Vec<f32> = (first..=position).map(score).collect();
        softmax_beside(&mut weights, sinks.get(head).copied().unwrap_or(f32::NEG_INFINITY));
        let seen = weights.iter().zip(first as u32..).map(|(&weight, position)| LookedAt { position, weight });
        let mut seen: Vec<LookedAt> = seen.collect();
        seen.sort_by(|a, b| b.weight.total_cmp(&a.weight));
        seen.truncate(MOST_LOOKED_AT);
        seen
    };
    q.chunks_exact(dim).enumerate().map(head).collect()
}

/// Euclidean norm.
fn norm_of(numbers: impl Iterator<Item = f32>) -> f32 {
    numbers.map(|x| x * x).sum::<f32>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::LogitsOf;
    use crate::layer::Rows;
    use crate::model::{Model, files};
    use std::path::Path;

    /// Grouped heads, and a window that ends before the first token.
    #[test]
    fn the_weights_of_the_heads_make_what_attention_makes() {
        for fixture in ["gqa", "window"] {
            let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/fixtures").join(fixture);
            let model = Model::new(&files::read_dir(&directory).unwrap()).unwrap();
            let mut engine = CpuEngine::new(&model).unwrap();
            engine.step(&[3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8], LogitsOf::None);
            let views = engine.look(7);
            // The attention output of the last layer is still in the buffer.
            let last = views.len() - 1;
            let shape = engine.architecture.layers[last].attention().unwrap();
            let (dim, group) = (shape.head_dim, shape.heads / shape.kv_heads);
            assert_eq!(views[last].heads.len(), shape.heads);
            for (head, seen) in views[last].heads.iter().enumerate() {
                assert!(seen.iter().all(|looked| looked.position as usize >= shape.first_seen(12)));
                assert!((seen.iter().map(|looked| looked.weight).sum::<f32>() - 1.0).abs() < 1e-5, "{fixture}");
                for i in 0..dim {
                    let value =
                        |looked: &LookedAt| engine.memory[last].cache.value(head / group, looked.position as usize)[i];
                    let mixed: f32 = seen.iter().map(|looked| looked.weight * value(looked)).sum();
                    let made = engine.activations.rows[Rows::Mixed as usize][head * dim + i];
                    assert!((mixed - made).abs() < 1e-5, "{fixture}, head {head}: {mixed} for {made}");
                }
            }
        }
    }
}
