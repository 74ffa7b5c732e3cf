//! `y = x W^T` or `y += x W^T`, a row a token: `x` is `[T, K]`, `W` is `[N, K]`, `y` is `[T, N]`.
//!
//! Plain form: `for t, n { y[t][n] = sum_c x[t][c] * W[n][c] }`. Fast form: a tile of up to 4 tokens by 8 rows, half a panel,
//! or of up to 2 tokens by a whole one, in registers. All tokens take a panel before the next one is read, so that it
//! comes from memory once. Every number is summed in the order of `c`, so one token at a time gives the same bits as many at
//! once.

use super::madd::madd;
use super::panels::{Column, ROWS, numbers};
use super::stored::{Stored, by_bf16, by_f16};
use std::cell::Cell;
use wide::f32x8;

thread_local! {
    static WEIGHT_BYTES_READ: Cell<u64> = const { Cell::new(0) };
    /// Room for a panel that is widened.
    static WIDE: Cell<Vec<Column>> = const { Cell::new(Vec::new()) };
}

/// Bytes of weights that products on this thread have read so far; the embedding's rows and norms, which are no products, are
/// not among them.
pub fn weight_bytes_read() -> u64 {
    WEIGHT_BYTES_READ.get()
}

/// Tokens of a tile: as many sums as the processor has registers for.
pub(super) const TOKENS: usize = 4;

/// Writes `y = x W^T`.
pub fn linear(x: &[f32], weights: &Stored, y: &mut [f32]) {
    each_tile(x, weights, y, |y, sum| *y = sum);
}

/// Adds: `y += x W^T`.
pub fn linear_add(x: &[f32], weights: &Stored, y: &mut [f32]) {
    each_tile(x, weights, y, |y, sum| *y += sum);
}

fn each_tile(x: &[f32], weights: &Stored, y: &mut [f32], put: impl Fn(&mut f32, f32) + Copy) {
    let (inputs, outputs) = (weights.cols(), weights.rows());
    WEIGHT_BYTES_READ.set(WEIGHT_BYTES_READ.get() + weights.bytes() as u64);
    let mut wide = WIDE.take();
    for p in 0..outputs.div_ceil(ROWS) {
        match weights {
            // Widened in registers, as each number is used once.
            Stored::F16(panels) if x.len() == inputs => store(&[by_f16(x, panels.panel(p))], y, outputs, p, put),
            Stored::Bf16(panels) if x.len() == inputs => store(&[by_bf16(x, panels.panel(p))], y, outputs, p, put),
            _ => each_tile_of(weights.panel(p, &mut wide), x, inputs, y, outputs, p, put),
        }
    }
    WIDE.set(wide);
}

/// The products of all rows of `x` with panel `p`.
#[inline(always)]
fn each_tile_of(
    panel: &[Column],
    x: &[f32],
    inputs: usize,
    y: &mut [f32],
    outputs: usize,
    p: usize,
    put: impl Fn(&mut f32, f32) + Copy,
) {
    for (x, y) in x.chunks(TOKENS * inputs).zip(y.chunks_mut(TOKENS * outputs)) {
        match x.len() / inputs {
            1 => store(&by_panel(rows::<1>(x, inputs), panel), y, outputs, p, put),
            2 => store(&by_panel(rows::<2>(x, inputs), panel), y, outputs, p, put),
            3 => store(&by_halves(rows::<3>(x, inputs), panel), y, outputs, p, put),
            _ => store(&by_halves(rows::<TOKENS>(x, inputs), panel), y, outputs, p, put),
        }
    }
}

/// Writes the sums of panel `p` to its rows of `y`, a row of it a token; the last panel may be short.
#[inline(always)]
fn store(sums: &[Column], y: &mut [f32], outputs: usize, p: usize, put: impl Fn(&mut f32, f32)) {
    for (sums, y) in sums.iter().zip(y.chunks_exact_mut(outputs)) {
        for (y, &sum) in y[p * ROWS..].iter_mut().zip(numbers(sums)) {
            put(y, sum);
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
