//! A layer that is a mixture: `z = sum_i g_i(x) relu(W_i x + b_i)`, the gate `g` a softmax over a network with one
//! hidden layer of tanh units.

use crate::affine::{Affine, softmax_rows, softmax_rows_gradient};
use crate::columns::tanh;
use crate::linalg::{add_scaled, dot};
use crate::random::hash;

/// The sizes of a layer. Its parameters are the gate's two maps and then the experts'.
#[derive(Clone, Copy, Debug)]
pub struct MixtureLayer {
    /// Width of `x`.
    pub inputs: usize,
    /// Width of an expert's output.
    pub outputs: usize,
    /// How many experts.
    pub experts: usize,
    /// Hidden units of the gate.
    pub gate_hidden: usize,
}

/// What a pass keeps for the backward pass.
#[derive(Clone, Debug, Default)]
pub struct LayerState {
    hidden: Vec<f32>,
    /// The gate's shares, rows x experts.
    pub shares: Vec<f32>,
    /// What each expert gives, experts x rows x outputs.
    out: Vec<f32>,
    /// The layer's output, rows x outputs.
    pub z: Vec<f32>,
}

impl MixtureLayer {
    fn gate(self) -> [Affine; 2] {
        let first = Affine { inputs: self.inputs, outputs: self.gate_hidden };
        [first, Affine { inputs: self.gate_hidden, outputs: self.experts }]
    }

    fn expert(self) -> Affine {
        Affine { inputs: self.inputs, outputs: self.outputs }
    }

    /// How many parameters.
    pub fn parameters(self) -> usize {
        let [a, b] = self.gate();
        a.parameters() + b.parameters() + self.experts * self.expert().parameters()
    }

    /// Where the parameters of the second map of the gate and of the experts begin.
    fn starts(self) -> [usize; 2] {
        let [a, b] = self.gate();
        [a.parameters(), a.parameters() + b.parameters()]
    }

    /// Random parameters.
    pub fn initial(self, seed: u64, parameters: &mut [f32]) {
        let [second, experts] = self.starts();
        let [a, b] = self.gate();
        a.initial(1.0, hash(seed, 0), &mut parameters[..second]);
        b.initial(1.0, hash(seed, 1), &mut parameters[second..experts]);
        let each = parameters[experts..].chunks_exact_mut(self.expert().parameters());
        each.enumerate().for_each(|(e, p)| self.expert().initial(1.4, hash(seed, 2 + e as u64), p));
    }

    /// One pass over rows of `x`. Experts that are not `open` take no part.
    pub fn forward(self, parameters: &[f32], x: &[f32], open: &[bool], state: &mut LayerState) {
        let rows = x.len() / self.inputs;
        let ([second, experts], [a, b]) = (self.starts(), self.gate());
        state.hidden.resize(rows * self.gate_hidden, 0.0);
        state.shares.resize(rows * self.experts, 0.0);
        state.out.resize(self.experts * rows * self.outputs, 0.0);
        state.z.resize(rows * self.outputs, 0.0);
        a.forward(&parameters[..second], x, &mut state.hidden);
        state.hidden.iter_mut().for_each(|h| *h = tanh(*h));
        b.forward(&parameters[second..experts], &state.hidden, &mut state.shares);
        for row in state.shares.chunks_exact_mut(self.experts) {
            row.iter_mut().zip(open).filter(|(_, open)| !**open).for_each(|(l, _)| *l = -1e30);
        }
        softmax_rows(&mut state.shares, self.experts);
        state.z.fill(0.0);
        let each = parameters[experts..].chunks_exact(self.expert().parameters());
        for (e, (p, out)) in each.zip(state.out.chunks_exact_mut(rows * self.outputs)).enumerate() {
            self.expert().forward(p, x, out);
            out.iter_mut().for_each(|o| *o = o.max(0.0));
            for (i, (z, out)) in state.z.chunks_exact_mut(self.outputs).zip(out.chunks_exact(self.outputs)).enumerate()
            {
                add_scaled(z, state.shares[i * self.experts + e], out);
            }
        }
    }

    /// Adds to the gradient from that of `z`, and to that of `x` where there is room for it.
    pub fn backward(
        self,
        parameters: &[f32],
        x: &[f32],
        state: &LayerState,
        dz: &[f32],
        mut dx: Option<&mut [f32]>,
        gradient: &mut [f32],
    ) {
        let rows = x.len() / self.inputs;
        let ([second, experts], [a, b]) = (self.starts(), self.gate());
        let mut d_shares = vec![0.0; rows * self.experts];
        let mut d_out = vec![0.0; rows * self.outputs];
        let size = self.expert().parameters();
        for e in 0..self.experts {
            let out = &state.out[e * rows * self.outputs..][..rows * self.outputs];
            for i in 0..rows {
                let at = i * self.outputs..(i + 1) * self.outputs;
                d_shares[i * self.experts + e] = dot(&dz[at.clone()], &out[at.clone()]);
                let share = state.shares[i * self.experts + e];
                for k in at {
                    d_out[k] = if out[k] > 0.0 { share * dz[k] } else { 0.0 };
                }
            }
            let at = experts + e * size..experts + (e + 1) * size;
            self.expert().backward(x, &d_out, &mut gradient[at.clone()]);
            if let Some(dx) = &mut dx {
                self.expert().backward_input(&parameters[at], &d_out, dx);
            }
        }
        softmax_rows_gradient(&state.shares, self.experts, &mut d_shares);
        b.backward(&state.hidden, &d_shares, &mut gradient[second..experts]);
        let mut d_hidden = vec![0.0; rows * self.gate_hidden];
        b.backward_input(&parameters[second..experts], &d_shares, &mut d_hidden);
        d_hidden.iter_mut().zip(&state.hidden).for_each(|(d, h)| *d *= 1.0 - h * h);
        a.backward(x, &d_hidden, &mut gradient[..second]);
        if let Some(dx) = dx {
            a.backward_input(&parameters[..second], &d_hidden, dx);
        }
    }
}
