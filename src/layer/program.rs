//! Turns a layer's description into its operations.

use super::fuse::fuse;
use super::operation::{
    CacheSide, Combine, Copy, Ffn, GateRows, HeadProduct, NormOf, NormRows, Operation, Product, Rows, Target,
};
use crate::kernels::copy_heads::Heads;
use crate::shape::{
    Architecture, AttentionShape, HeadNorm, LayerShape, MatrixName, Mixer, StateSpaceShape, VectorName,
};

/// The operations of a layer. They expect the residual stream to be normed for the mixer already, and end with the
/// norm for the next layer or the output.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Program {
    /// The operations up to adding the mixer's output to the residual stream.
    pub mixer: Vec<Operation>,
    /// The operations of the experts.
    pub experts: Vec<Operation>,
}

impl Program {
    /// All of them, in order.
    pub fn operations(&self) -> impl Iterator<Item = &Operation> {
        self.mixer.iter().chain(&self.experts)
    }
}

/// Returns the operations of layer `n`, fused where a kernel exists for several of them.
pub fn program(a: &Architecture, n: usize) -> Program {
    let Program { mixer, experts } = plain(a, n);
    Program { mixer: fuse(mixer, a, n), experts: fuse(experts, a, n) }
}

/// Returns the width of each kind of [`Rows`]: the most numbers per token in any layer.
pub fn widths(a: &Architecture) -> [usize; Rows::COUNT] {
    let mut widths = [0; Rows::COUNT];
    widths[Rows::Normed as usize] = a.hidden;
    let mut hold = |rows: Rows, width: usize| widths[rows as usize] = width.max(widths[rows as usize]);
    for n in 0..a.layers.len() {
        for operation in plain(a, n).operations() {
            match operation {
                Operation::Product(Product { from, to, inputs, outputs, .. }) => {
                    hold(*from, *inputs);
                    if let Target::Rows(to) = to {
                        hold(*to, *outputs);
                    }
                }
                Operation::Copy(Copy { heads, to: CacheSide::Rows(to), to_dim, .. }) => hold(*to, heads.count * to_dim),
                Operation::HeadProduct(HeadProduct { from, row, to, heads, outputs, .. }) => {
                    hold(*from, *row);
                    hold(*to, heads * outputs);
                }
                Operation::Hold => hold(Rows::Held, a.hidden),
                _ => {}
            }
        }
        if let Mixer::StateSpace(shape) = &a.layers[n].mixer {
            hold(Rows::Convolved, shape.channels());
        }
    }
    widths
}

/// Returns the operations of layer `n`, not fused.
pub fn plain(a: &Architecture, n: usize) -> Program {
    let layer = &a.layers[n];
    let mut mixer = match &layer.mixer {
        Mixer::Attention(attention) => attention_operations(a, attention, layer.residual),
        Mixer::StateSpace(shape) => state_space_operations(a, shape, layer.residual),
        Mixer::Convolution(_) => vec![
            product(MatrixName::Convolution, Rows::Normed, Target::Rows(Rows::Projected), a.hidden, 3 * a.hidden),
            Operation::Convolve,
            product(MatrixName::Output, Rows::Mixed, Target::Residual(layer.residual), a.hidden, a.hidden),
        ],
    };
    if layer.post_norms {
        mixer.insert(0, Operation::Hold);
        mixer.push(Operation::Release(VectorName::MixerPostNorm));
    }
    Program { mixer, experts: expert_operations(layer) }
}

fn state_space_operations(a: &Architecture, s: &StateSpaceShape, residual: f32) -> Vec<Operation> {
    let (inner, row) = (s.inner(), s.rows());
    let norm = NormRows {
        rows: Rows::Mixed,
        row: inner,
        offset: 0,
        count: 1,
        width: inner,
        scale: VectorName::GatedNorm,
        eps: a.norm_eps,
    };
    vec![
        product(MatrixName::StateSpace, Rows::Normed, Target::Rows(Rows::Projected), a.hidden, row),
        Operation::ConvolveSilu,
        Operation::Scan,
        Operation::GateRows(GateRows { from: Rows::Projected, row, width: inner, silu: true }),
        Operation::NormRows(norm),
        product(MatrixName::Output, Rows::Mixed, Target::Residual(residual), inner, a.hidden),
    ]
}

fn attention_operations(a: &Architecture, s: &AttentionShape, residual: f32) -> Vec<Operation> {
    let mut operations = match s.latent {
        None => projections(a, s),
        Some(_) => latent_projections(a, s),
    };
    operations.push(Operation::Attend);
    if s.gated {
        let width = s.output_width();
        operations.push(product(MatrixName::OutputGate, Rows::Normed, Target::Rows(Rows::Gates), a.hidden, width));
        operations.push(Operation::GateRows(GateRows { from: Rows::Gates, row: width, width, silu: false }));
    }
    let output = Target::Residual(residual);
    let mut from = Rows::Mixed;
    if let Some(latent) = &s.latent {
        from = Rows::ByHead;
        operations.push(Operation::HeadProduct(HeadProduct {
            matrix: MatrixName::ValueUp,
            from: Rows::Mixed,
            row: s.output_width(),
            stride: latent.rank,
            to: from,
            heads: s.heads,
            inputs: latent.rank,
            outputs: latent.value_dim,
        }));
    }
    operations.push(product(MatrixName::Output, from, output, s.projected_width(), a.hidden));
    operations
}

/// Queries, keys and values in one product, then norms, then rotation and copies to where attention reads them.
fn projections(a: &Architecture, s: &AttentionShape) -> Vec<Operation> {
    let (row, queries, keys) = (s.qkv_rows(), s.query_width(), s.kv_heads * s.head_dim);
    let mut operations = vec![product(MatrixName::Qkv, Rows::Normed, Target::Rows(Rows::Projected), a.hidden, row)];
    if let Some(norm) = s.norm.filter(|_| !s.norm_last) {
        for (offset, all, scale) in [(0, queries, VectorName::QueryNorm), (queries, keys, VectorName::KeyNorm)] {
            let width = if norm == HeadNorm::Row { all } else { s.head_dim };
            let count = all / width;
            let rows = Rows::Projected;
            operations.push(Operation::NormRows(NormRows { rows, row, offset, count, width, scale, eps: a.norm_eps }));
        }
    }
    let head = |offset, count, dim, turns, to| Copy {
        from: Rows::Projected,
        heads: Heads {
            row,
            offset,
            stride: dim,
            count,
            dim,
            turned: if turns { turned(s) } else { (0, 0) },
            interleaved: interleaved(s),
        },
        to,
        at: 0,
        to_dim: dim,
    };
    if s.norm_last {
        let sides = [
            (0, s.heads, Rows::QueryDown, CacheSide::Queries, VectorName::QueryNorm),
            (queries, s.kv_heads, Rows::KeyDown, CacheSide::Keys, VectorName::KeyNorm),
        ];
        for (offset, count, rows, to, scale) in sides {
            let (width, row) = (s.head_dim, count * s.head_dim);
            operations.push(Operation::Copy(head(offset, count, width, true, CacheSide::Rows(rows))));
            let norm = NormRows { rows, row, offset: 0, count, width, scale, eps: a.norm_eps };
            operations.push(Operation::NormRows(norm));
            let Copy { heads, .. } = head(0, count, width, false, to);
            operations.push(Operation::Copy(Copy {
                from: rows,
                heads: Heads { row, ..heads },
                to,
                at: 0,
                to_dim: width,
            }));
        }
    } else {
        operations.extend([
            Operation::Copy(head(0, s.heads, s.head_dim, true, CacheSide::Queries)),
            Operation::Copy(head(queries, s.kv_heads, s.head_dim, true, CacheSide::Keys)),
        ]);
    }
    operations.extend([Operation::Copy(head(queries + keys, s.kv_heads, s.value_dim, false, CacheSide::Values))]);
    operations
}

/// Queries, keys and values of a latent attention.
fn latent_projections(a: &Architecture, s: &AttentionShape) -> Vec<Operation> {
    let Some(latent) = &s.latent else { return Vec::new() };
    let (own, rank, shared) = (latent.own, latent.rank, latent.shared);
    let (stride, row) = (own + shared, s.heads * (own + shared));
    let narrow = |rows, width, scale| {
        Operation::NormRows(NormRows { rows, row: width, offset: 0, count: 1, width, scale, eps: latent.eps })
    };
    let mut operations = Vec::new();
    let (from, inputs) = match latent.query_rank {
        Some(rank) => {
            let down = Target::Rows(Rows::QueryDown);
            operations.push(product(MatrixName::QueryDown, Rows::Normed, down, a.hidden, rank));
            operations.push(narrow(Rows::QueryDown, rank, VectorName::QueryDownNorm));
            (Rows::QueryDown, rank)
        }
        None => (Rows::Normed, a.hidden),
    };
    operations.extend([
        product(MatrixName::Query, from, Target::Rows(Rows::Projected), inputs, row),
        product(MatrixName::KeyDown, Rows::Normed, Target::Rows(Rows::KeyDown), a.hidden, rank),
        narrow(Rows::KeyDown, rank, VectorName::KeyDownNorm),
        product(MatrixName::KeyShared, Rows::Normed, Target::Rows(Rows::KeyShared), a.hidden, shared),
        Operation::HeadProduct(HeadProduct {
            matrix: MatrixName::KeyUp,
            from: Rows::Projected,
            row,
            stride,
            to: Rows::ByHead,
            heads: s.heads,
            inputs: own,
            outputs: rank,
        }),
    ]);
    // The rotary dimensions are counted from a head's first; these begin at `rank`.
    let (first, turning) = turned(s);
    let turned = (first.saturating_sub(rank), turning);
    let interleaved = interleaved(s);
    let plain = |row, count, dim| Heads { row, offset: 0, stride: dim, count, dim, turned: (0, 0), interleaved: false };
    let of_queries = Heads { row, offset: own, stride, count: s.heads, dim: shared, turned, interleaved };
    let of_keys = Heads { turned, interleaved, ..plain(shared, 1, shared) };
    let (dim, narrow) = (s.head_dim, plain(rank, 1, rank));
    let copy = |from, heads, to, at, to_dim| Operation::Copy(Copy { from, heads, to, at, to_dim });
    operations.extend([
        copy(Rows::ByHead, plain(s.heads * rank, s.heads, rank), CacheSide::Queries, 0, dim),
        copy(Rows::Projected, of_queries, CacheSide::Queries, rank, dim),
        copy(Rows::KeyDown, narrow, CacheSide::Keys, 0, dim),
        copy(Rows::KeyShared, of_keys, CacheSide::Keys, rank, dim),
        copy(Rows::KeyDown, narrow, CacheSide::Values, 0, rank),
    ]);
    operations
}

/// The first rotated dimension of a head, and the number of rotated dimensions.
fn turned(s: &AttentionShape) -> (usize, usize) {
    s.rope.as_ref().map_or((0, 0), |rope| (rope.first, rope.dim))
}

fn interleaved(s: &AttentionShape) -> bool {
    s.rope.as_ref().is_some_and(|rope| rope.interleaved)
}

/// The shared expert runs first, so that the routed experts' outputs stay in their buffer for inspection.
fn expert_operations(layer: &LayerShape) -> Vec<Operation> {
    let mut operations = vec![Operation::Norm(NormOf::Experts)];
    if layer.post_norms {
        operations.push(Operation::Hold);
    }
    let ffn = |of| {
        let combine = Operation::Combine(Combine { of, scale: layer.residual, norm: false });
        [Operation::Group(of), Operation::Up(of), Operation::Down(of), combine]
    };
    if let Some(shared) = layer.moe.shared_ffn {
        if shared.gated {
            operations.push(Operation::WeighShared);
        }
        operations.extend(ffn(Ffn::Shared));
    }
    if layer.moe.gate.is_some() {
        operations.push(Operation::Route);
    }
    operations.extend(ffn(Ffn::Routed));
    if layer.post_norms {
        operations.push(Operation::Release(VectorName::ExpertsPostNorm));
    }
    operations.push(Operation::Norm(NormOf::Next));
    operations
}

fn product(matrix: MatrixName, from: Rows, to: Target, inputs: usize, outputs: usize) -> Operation {
    Operation::Product(Product { matrix, from, to, inputs, outputs })
}
