//! Products of matrices for WebAssembly, where a vector has four numbers: both matrices are packed into narrow panels,
//! and a tile of the result stays in registers. In browsers with relaxed SIMD a step of it is one instruction.

use std::cell::RefCell;

use wide::f32x4;

/// Rows and columns of a tile.
const MR: usize = 4;
const NR: usize = 8;

/// Rows, columns and inner length of the blocks that are packed at once: they stay in the caches.
const MC: usize = 128;
const NC: usize = 512;
const KC: usize = 256;

/// A matrix to read by its elements' strides.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// The elements.
    pub data: &'a [f32],
    /// From a row to the next.
    pub row_stride: usize,
    /// From a column to the next.
    pub col_stride: usize,
}

thread_local! {
    /// The packed blocks, kept from product to product.
    static PACKED: RefCell<(Vec<f32>, Vec<f32>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

/// `out = keep * out + scale * a b` with `a` of `sizes` rows x inner and `b` of inner x columns. `out` has rows that
/// start `out_stride` elements apart; with `keep == 0` its old contents are ignored.
pub fn product(out: &mut [f32], out_stride: usize, sizes: [usize; 3], keep: f32, scale: f32, a: View<'_>, b: View<'_>) {
    let [rows, inner, cols] = sizes;
    if keep != 1.0 {
        for row in out.chunks_mut(out_stride).take(rows) {
            let row = &mut row[..cols];
            if keep == 0.0 { row.fill(0.0) } else { row.iter_mut().for_each(|x| *x *= keep) }
        }
    }
    PACKED.with_borrow_mut(|(packed_a, packed_b)| {
        packed_a.resize(MC * KC, 0.0);
        packed_b.resize(KC * NC, 0.0);
        for left in (0..cols).step_by(NC) {
            let width = NC.min(cols - left);
            for from in (0..inner).step_by(KC) {
                let depth = KC.min(inner - from);
                pack::<NR>(packed_b, b.data, [left, width, b.col_stride], [from, depth, b.row_stride]);
                for top in (0..rows).step_by(MC) {
                    let height = MC.min(rows - top);
                    pack::<MR>(packed_a, a.data, [top, height, a.row_stride], [from, depth, a.col_stride]);
                    let block = &mut out[top * out_stride + left..];
                    tiles(block, out_stride, [height, depth, width], scale, packed_a, packed_b);
                }
            }
        }
    });
}

/// Packs a block into panels of `N` lines, each panel by its depth: `[first, count, stride]` of the lines, and of the
/// elements along them. Missing lines of the last panel are 0.
fn pack<const N: usize>(packed: &mut [f32], data: &[f32], lines: [usize; 3], along: [usize; 3]) {
    let ([first, count, line_stride], [from, depth, stride]) = (lines, along);
    for (panel, line) in packed.chunks_exact_mut(N * depth).zip((0..count).step_by(N)) {
        let (columns, _) = panel.as_chunks_mut::<N>();
        let start = (first + line) * line_stride + from * stride;
        let whole = line + N <= count;
        if whole && line_stride == 1 {
            for (at, column) in columns.iter_mut().enumerate() {
                column.copy_from_slice(&data[start + at * stride..][..N]);
            }
        } else if whole && stride == 1 {
            let rows: [&[f32]; N] = std::array::from_fn(|n| &data[start + n * line_stride..][..depth]);
            for (at, column) in columns.iter_mut().enumerate() {
                *column = std::array::from_fn(|n| rows[n][at]);
            }
        } else {
            for (at, column) in columns.iter_mut().enumerate() {
                *column = std::array::from_fn(|n| {
                    if line + n < count { data[start + n * line_stride + at * stride] } else { 0.0 }
                });
            }
        }
    }
}

/// Adds `scale` times the product of packed blocks to `out`.
fn tiles(out: &mut [f32], out_stride: usize, sizes: [usize; 3], scale: f32, a: &[f32], b: &[f32]) {
    let [height, depth, width] = sizes;
    let right = b.chunks_exact(NR * depth).zip((0..width).step_by(NR));
    for (b, left) in right {
        let above = a.chunks_exact(MR * depth).zip((0..height).step_by(MR));
        for (a, top) in above {
            let tile = tile(a, b);
            let n = NR.min(width - left);
            for (row, sums) in tile.iter().take(height - top).enumerate() {
                let sums = [sums[0] * f32x4::splat(scale), sums[1] * f32x4::splat(scale)];
                let sums: [[f32; 4]; 2] = sums.map(f32x4::to_array);
                let out = &mut out[(top + row) * out_stride + left..][..n];
                out.iter_mut().zip(sums.as_flattened()).for_each(|(out, sum)| *out += sum);
            }
        }
    }
}

/// A tile: the product of a panel of `a` and one of `b`.
#[inline(always)]
fn tile(a: &[f32], b: &[f32]) -> [[f32x4; 2]; MR] {
    let mut sums = [[f32x4::ZERO; 2]; MR];
    for (a, b) in a.as_chunks::<MR>().0.iter().zip(b.as_chunks::<NR>().0) {
        let (b0, b1) = (f32x4::new([b[0], b[1], b[2], b[3]]), f32x4::new([b[4], b[5], b[6], b[7]]));
        for (sum, a) in sums.iter_mut().zip(a) {
            let a = f32x4::splat(*a);
            *sum = [madd(a, b0, sum[0]), madd(a, b1, sum[1])];
        }
    }
    sums
}

/// `a * b + c`, in two roundings or in one, as the processor does it.
#[cfg(not(all(target_arch = "wasm32", target_feature = "relaxed-simd")))]
#[inline(always)]
fn madd(a: f32x4, b: f32x4, c: f32x4) -> f32x4 {
    a * b + c
}

/// `a * b + c`, in two roundings or in one, as the processor does it.
#[cfg(all(target_arch = "wasm32", target_feature = "relaxed-simd"))]
#[inline(always)]
fn madd(a: f32x4, b: f32x4, c: f32x4) -> f32x4 {
    use core::arch::wasm32::{f32x4_relaxed_madd, v128};
    let [a, b, c] = [a, b, c].map(bytemuck::cast::<f32x4, v128>);
    bytemuck::cast(f32x4_relaxed_madd(a, b, c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::uniform;

    #[test]
    fn products_of_any_size_and_strides_are_those_of_their_definition() {
        for [rows, inner, cols] in [[1, 1, 1], [3, 5, 7], [4, 256, 8], [130, 300, 17], [5, 513, 530], [64, 8, 512]] {
            let random =
                |seed: u64, n: usize| -> Vec<f32> { (0..n as u64).map(|at| uniform(seed, at) as f32 - 0.5).collect() };
            let (a, b) = (random(1, rows * inner), random(2, inner * cols));
            let views = [(inner, 1, cols, 1), (1, rows, cols, 1), (inner, 1, 1, inner), (1, rows, 1, inner)];
            for (ar, ac, br, bc) in views {
                for (keep, scale) in [(0.0, 1.0), (1.0, 2.0), (0.5, 1.0)] {
                    let stride = cols + 3;
                    let mut out = random(3, rows * stride);
                    let old = out.clone();
                    let view = |data, row_stride, col_stride| View { data, row_stride, col_stride };
                    let sizes = [rows, inner, cols];
                    product(&mut out, stride, sizes, keep, scale, view(&a, ar, ac), view(&b, br, bc));
                    for row in 0..rows {
                        for col in 0..stride {
                            let at = row * stride + col;
                            if col >= cols {
                                assert_eq!(out[at], old[at], "the gap between the rows stays");
                                continue;
                            }
                            let terms =
                                (0..inner).map(|k| f64::from(a[row * ar + k * ac]) * f64::from(b[k * br + col * bc]));
                            let exact = f64::from(keep) * f64::from(old[at]) + f64::from(scale) * terms.sum::<f64>();
                            assert!((f64::from(out[at]) - exact).abs() < 1e-4, "{sizes:?} {row} {col}");
                        }
                    }
                }
            }
        }
    }
}
