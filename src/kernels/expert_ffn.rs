//! The experts: SwiGLU (Shazeer 2020), `w2(silu(w1 x) * w3 x)`, or a variant of it, expert by expert over the tokens
//! that chose it, in two passes: [`up`] to the expert's inner width, [`down`] again.

use super::linear::{add_bias, linear};
use super::softmax::{clamped_times, silu_times};
use super::stored::Stored;
use crate::shape::Activation;
use std::rc::Rc;

/// Weights of one expert.
pub struct Expert {
    /// `w1` above `w3`: `[2F, D]`.
    pub up: Stored,
    /// `w2`: `[D, F]`.
    pub down: Stored,
    /// Biases of `up`, `[2F]` or none.
    pub up_bias: Vec<f32>,
    /// Biases of `down`, `[D]` or none.
    pub down_bias: Vec<f32>,
}

impl Expert {
    /// Bytes of its weights as they are packed.
    pub fn bytes(&self) -> u64 {
        (self.up.bytes() + self.down.bytes() + 4 * (self.up_bias.len() + self.down_bias.len())) as u64
    }
}

/// A place for an expert. Assignments of an expert that is absent are left out.
pub trait Place {
    /// The expert.
    fn expert(&self) -> Option<&Expert>;
}

impl Place for Expert {
    fn expert(&self) -> Option<&Expert> {
        Some(self)
    }
}

impl Place for Option<Rc<Expert>> {
    fn expert(&self) -> Option<&Expert> {
        self.as_deref()
    }
}

/// Scratch of both passes: rows gathered by expert, and the products.
#[derive(Default)]
pub struct Scratch {
    gathered: Vec<f32>,
    product: Vec<f32>,
}

/// `hidden[a] = activation(w1 x[a / choices], w3 x[a / choices])` for every assignment `a` that was not dropped. `x` is
/// `[T, D]`, `hidden` is `[T * choices, F]`; `assignments`, `[T * choices]`, and `offsets` are those of
/// [`super::dispatch`].
pub fn up(
    x: &[f32],
    assignments: &[u32],
    offsets: &[u32],
    experts: &[impl Place],
    activation: Activation,
    hidden: &mut [f32],
    scratch: &mut Scratch,
) {
    let Some(first) = experts.iter().find_map(Place::expert) else { return };
    let choices = assignments.len() / (x.len() / first.up.cols());
    let weights = experts.iter().map(|place| place.expert().map(|expert| (&expert.up, expert.up_bias.as_slice())));
    each_expert(x, choices, assignments, offsets, weights, scratch, |assignment, product| {
        let (gate, up) = product.split_at(product.len() / 2);
        let row = &mut hidden[assignment * gate.len()..][..gate.len()];
        match activation {
            Activation::SwiGlu => silu_times(gate, up, row),
            Activation::Clamped { alpha, limit } => clamped_times(gate, up, alpha, limit, row),
        }
    });
}

/// `y[a] = w2 hidden[a]` for every assignment `a` that was not dropped. `hidden` is `[T * choices, F]`, `y` is
/// `[T * choices, D]`.
pub fn down(
    hidden: &[f32],
    assignments: &[u32],
    offsets: &[u32],
    experts: &[impl Place],
    y: &mut [f32],
    scratch: &mut Scratch,
) {
    let weights = experts.iter().map(|place| place.expert().map(|expert| (&expert.down, expert.down_bias.as_slice())));
    each_expert(hidden, 1, assignments, offsets, weights, scratch, |assignment, product| {
        y[assignment * product.len()..][..product.len()].copy_from_slice(product);
    });
}

/// Gathers the input rows `assignment / share` of each expert's group, multiplies them by its weights
/// and hands each product to `put`.
fn each_expert<'a>(
    input: &[f32],
    share: usize,
    assignments: &[u32],
    offsets: &[u32],
    weights: impl Iterator<Item = Option<(&'a Stored, &'a [f32])>>,
    scratch: &mut Scratch,
    mut put: impl FnMut(usize, &[f32]),
) {
    for (group, weights) in offsets.windows(2).zip(weights) {
        let Some((weights, bias)) = weights else { continue };
        let group = &assignments[group[0] as usize..group[1] as usize];
        if group.is_empty() {
            continue;
        }
        scratch.gathered.clear();
        for &assignment in group {
            let row = assignment as usize / share;
            scratch.gathered.extend_from_slice(&input[row * weights.cols()..][..weights.cols()]);
        }
        scratch.product.resize(group.len() * weights.rows(), 0.0);
        linear(&scratch.gathered, weights, &mut scratch.product);
        add_bias(bias, &mut scratch.product);
        for (&assignment, product) in group.iter().zip(scratch.product.chunks_exact(weights.rows())) {
            put(assignment as usize, product);
        }
    }
}
