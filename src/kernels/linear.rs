//! `y = x W^T + b` or `y += m * (x W^T + b)`, a row a token: `x` is `[T, K]`, `W` is `[N, K]`, `y` is `[T, N]`.
//!
//! Plain form: `for t, n { y[t][n] = sum_c x[t][c] * W[n][c] }`. Fast form: a tile of up to 4 tokens by 8 rows, half
//! a panel, or of up to 2 tokens by a whole one, in registers. All tokens take a panel before the next one is read,
//! so that it comes from memory once. Every number is summed in the order of `c`, so one token at a time gives the
//! same bits as many at once.

use super::int8;
use super::madd::madd;
use super::panels::{Column, ROWS, numbers};
use super::stored::{Stored, by_bf16, by_f16, widen_bf16, widen_f16};
use std::cell::Cell;
use wide::f32x8;

thread_local! {
    static WEIGHT_BYTES_READ: Cell<u64> = const { Cell::new(0) };
    /// Scratch for a panel widened to f32.
    static WIDE: Cell<Vec<Column>> = const { Cell::new(Vec::new()) };
    /// Scratch for the product that is added.
    static PRODUCT: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// Bytes of weights that products on this thread have read so far; the embedding's rows and norms, which are no
/// products, are not among them.
pub fn weight_bytes_read() -> u64 {
    WEIGHT_BYTES_READ.get()
}

/// Tokens of a tile: as many sums as the processor has registers for.
pub(super) const TOKENS: usize = 4;

/// Adds `bias`, `[N]` or empty, to each row of `y`, `[T, N]`.
pub fn add_bias(bias: &[f32], y: &mut [f32]) {
    if !bias.is_empty() {
        y.chunks_exact_mut(bias.len()).for_each(|row| row.iter_mut().zip(bias).for_each(|(y, bias)| *y += bias));
    }
}

/// Writes `y = x W^T + bias`, or adds: `y += scale * (x W^T + bias)`. `bias` is `[N]` or empty.
pub fn linear_with(x: &[f32], weights: &Stored, bias: &[f32], add: Option<f32>, y: &mut [f32]) {
    let Some(scale) = add else {
        linear(x, weights, y);
        add_bias(bias, y);
        return;
    };
    let mut product = PRODUCT.take();
    product.resize(y.len(), 0.0);
    linear(x, weights, &mut product);
    add_bias(bias, &mut product);
    y.iter_mut().zip(&product).for_each(|(y, product)| *y += scale * product);
    PRODUCT.set(product);
}

/// Adds: `y += x W^T`.
pub fn linear_add(x: &[f32], weights: &Stored, y: &mut [f32]) {
    linear_with(x, weights, &[], Some(1.0), y);
}

/// Writes `y = x W^T`.
#[inline(never)]
pub fn linear(x: &[f32], weights: &Stored, y: &mut [f32]) {
    WEIGHT_BYTES_READ.set(WEIGHT_BYTES_READ.get() + weights.bytes() as u64);
    let (inputs, outputs) = (weights.cols(), weights.rows());
    let one_token = x.len() == inputs;
    let mut wide = WIDE.take();
    for p in 0..outputs.div_ceil(ROWS) {
        let panel = match weights {
            Stored::F32(panels) => panels.panel(p),
            // For one token the weights are widened in registers, because each is used once.
            Stored::F16(panels) if one_token => {
                store(&[by_f16(x, panels.panel(p))], y, outputs, p);
                continue;
            }
            Stored::Bf16(panels) if one_token => {
                store(&[by_bf16(x, panels.panel(p))], y, outputs, p);
                continue;
            }
            Stored::Blocks(blocks) if one_token => {
                store(&[blocks.by_panel(x, p)], y, outputs, p);
                continue;
            }
            Stored::F16(panels) => widen_f16(panels.panel(p), &mut wide),
            Stored::Bf16(panels) => widen_bf16(panels.panel(p), &mut wide),
            Stored::Blocks(blocks) => blocks.widen_panel(p, &mut wide),
            Stored::Int8(weights) => {
                int8::linear(x, weights, y);
                break;
            }
        };
        each_tile_of(panel, x, y, outputs, p);
    }
    WIDE.set(wide);
}

/// The products of all rows of `x` with panel `p`.
#[inline(always)]
fn each_tile_of(panel: &[Column], x: &[f32], y: &mut [f32], outputs: usize, p: usize) {
    let inputs = panel.len();
    for (x, y) in x.chunks(TOKENS * inputs).zip(y.chunks_mut(TOKENS * outputs)) {
        match x.len() / inputs {
            1 => store(&by_panel(rows::<1>(x, inputs), panel), y, outputs, p),
            2 => store(&by_panel(rows::<2>(x, inputs), panel), y, outputs, p),
            3 => store(&by_halves(rows::<3>(x, inputs), panel), y, outputs, p),
            _ => store(&by_halves(rows::<TOKENS>(x, inputs), panel), y, outputs, p),
        }
    }
}

/// Writes the sums of panel `p` to its rows of `y`, a row of it a token; the last panel may be short.
#[inline(always)]
fn store(sums: &[Column], y: &mut [f32], outputs: usize, p: usize) {
    for (sums, y) in sums.iter().zip(y.chunks_exact_mut(outputs)) {
        for (y, &sum) in y[p * ROWS..].iter_mut().zip(numbers(sums)) {
            *y = sum;
        }
    }
}

/// The products of `M` rows, as long as a panel has columns, with its sixteen rows.
#[inline(always)]
pub(super) fn by_panel<const M: usize>(x: [&[f32]; M], panel: &[Column]) -> [Column; M] {
    let x = x.map(|x| &x[..panel.len()]);
    let mut sums = [Column::default(); M];
    for (c, column) in panel.iter().enumerate() {
        for i in 0..M {
            for (sum, &weights) in sums[i].iter_mut().zip(column) {
                *sum = madd(f32x8::splat(x[i][c]), weights, *sum);
            }
        }
    }
    sums
}

/// As [`by_panel`], in two passes: more rows have room.
#[inline(always)]
pub(super) fn by_halves<const M: usize>(x: [&[f32]; M], panel: &[Column]) -> [Column; M] {
    let x = x.map(|x| &x[..panel.len()]);
    let mut all = [Column::default(); M];
    for half in 0..ROWS / 8 {
        let mut sums = [f32x8::ZERO; M];
        for (c, column) in panel.iter().enumerate() {
            for i in 0..M {
                sums[i] = madd(f32x8::splat(x[i][c]), column[half], sums[i]);
            }
        }
        all.iter_mut().zip(sums).for_each(|(all, sum)| all[half] = sum);
    }
    all
}

/// The rows of a tile, `[M, K]`.
#[inline(always)]
fn rows<const M: usize>(x: &[f32], inputs: usize) -> [&[f32]; M] {
    std::array::from_fn(|i| &x[i * inputs..][..inputs])
}
