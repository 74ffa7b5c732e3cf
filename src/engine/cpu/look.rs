//! Inspects one token: what attention and each expert of every layer added to its residual stream.

use super::{CpuEngine, Stage};
use crate::kernels::lm_head::lm_head;
use crate::kernels::rms_norm::rms_norm;
use crate::shape::NONE;
use serde::{Deserialize, Serialize};

/// What one expert added to one token.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contribution {
    /// The expert.
    pub expert: u32,
    /// Euclidean norm of its weighted output.
    pub norm: f32,
}

/// What one layer did to one token.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerView {
    /// The layer's number.
    pub layer: usize,
    /// Euclidean norm of what attention added to the residual stream.
    pub attention: f32,
    /// The experts of the token, by falling weight.
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
        let mut before: Vec<f32> = (0..width).map(|col| self.weights.embed.get(id as usize, col)).collect();
        let (mut views, mut attention) = (Vec::new(), 0.0);
        self.run(&[id], |n, stage, a| {
            let x = &a.x[..width];
            match stage {
                Stage::Attended => attention = norm_of(x.iter().zip(&before).map(|(now, before)| now - before)),
                Stage::Mixed(choices) => {
                    let rows = a.y.chunks_exact(width).zip(&a.route_weights).zip(&a.selected).take(choices);
                    // The row of a dropped assignment in `y` holds an old value.
                    let experts = rows.filter(|(_, expert)| **expert != NONE).map(|((y, &weight), &expert)| {
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
            rms_norm(x, &self.weights.norm, &mut normed, eps);
            lm_head(0, &normed, head, &mut logits);
            logits
        };
        let view = |(layer, attention, experts, residual, x): (_, _, _, _, Vec<f32>)| LayerView {
            layer,
            attention,
            experts,
            residual,
            logits: logits(&x),
        };
        views.into_iter().map(view).collect()
    }
}

/// Euclidean norm.
fn norm_of(numbers: impl Iterator<Item = f32>) -> f32 {
    numbers.map(|x| x * x).sum::<f32>().sqrt()
}
