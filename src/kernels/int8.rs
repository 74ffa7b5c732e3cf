//! Weights rounded to 8 bits with one quantisation step for each row, and integer products with them: an option that
//! reads a quarter of the bytes. Rows of `x` are rounded to at most 16 bits, each with a step of its own, so that
//! nearly all of the rounding error comes from the weights.
//!
//! Plain form: `y[n] = scale[n] * s * sum_c round(W[n][c] / scale[n]) * round(x[c] / s)`. Integer sums do not depend
//! on their order, so a decode step gives the same bits as a prefill. This rounding of weights is the row-wise absmax
//! quantisation of Dettmers et al. 2022 (LLM.int8()).

use super::panels::{Panels, ROWS};
use crate::shape::Matrix;
use std::cell::Cell;
use wide::{f32x8, i16x8, i32x4};

/// Four columns of a panel, in four vectors of four rows each. The 16-bit words `2r` and `2r + 1` belong to row `r` of
/// the four: their upper bytes are the columns 0 and 1, their lower bytes the columns 2 and 3. One shift of the vector
/// brings them to where `dot` reads them.
type Columns = [i16x8; ROWS / 4];

/// Matrix columns in one packed column.
const TOGETHER: usize = 4;

/// The largest rounded number, of weights and of rows of `x`.
const MOST_WEIGHT: f32 = 127.0;
const MOST_X: f32 = 32_767.0;

/// The largest sum of products that is allowed: the maximum of an `i32`, less what rounding can add.
const MOST_SUM: f32 = 2_147_000_000.0;

/// Tokens of a tile: as many as have sums that fit in the CPU's registers.
const TOKENS: usize = 2;

/// A matrix `[rows, cols]` of weights rounded to 8 bits.
pub struct Int8 {
    cols: usize,
    /// Each packed column holds [`TOGETHER`] columns of the matrix.
    panels: Panels<Columns>,
    /// Quantisation step of each row, `[rows]`.
    scales: Vec<f32>,
}

impl Int8 {
    /// Stacks matrices of equal width on top of each other, rounds them and packs them.
    pub fn stack(matrices: &[Matrix<'_>]) -> Self {
        let (rows, cols) = (matrices.iter().map(|m| m.rows).sum(), matrices[0].cols);
        let mut panels = Panels::<Columns>::zeros(rows, cols.div_ceil(TOGETHER));
        let mut scales = Vec::with_capacity(rows);
        let mut put = |numbers: &[f32]| {
            let (row, scale) = (scales.len(), largest(numbers) / MOST_WEIGHT);
            for (columns, numbers) in panels.panel_mut(row / ROWS).iter_mut().zip(numbers.chunks(TOGETHER)) {
                let bytes: &mut [i8; TOGETHER * ROWS] = bytemuck::cast_mut(columns);
                for (col, number) in numbers.iter().enumerate() {
                    bytes[byte(row % ROWS, col)] =
                        if scale >= f32::MIN_POSITIVE { (number / scale).round() as i8 } else { 0 };
                }
            }
            scales.push(scale);
        };
        matrices.iter().for_each(|matrix| matrix.each_row(&mut put));
        Self { cols, panels, scales }
    }

    /// Number of rows: outputs of a product.
    pub fn rows(&self) -> usize {
        self.scales.len()
    }

    /// Number of columns: inputs of a product.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Size of the packed weights in bytes; one product reads all of them.
    pub fn bytes(&self) -> usize {
        self.panels.bytes() + size_of_val(self.scales.as_slice())
    }

    /// The rounded weight at (`row`, `col`), times its quantisation step.
    pub fn get(&self, row: usize, col: usize) -> f32 {
        let columns = &self.panels.panel(row / ROWS)[col / TOGETHER];
        let bytes: &[i8; TOGETHER * ROWS] = bytemuck::cast_ref(columns);
        f32::from(bytes[byte(row % ROWS, col % TOGETHER)]) * self.scales[row]
    }
}

/// The byte of a weight in [`Columns`], for its row in the panel and its column.
fn byte(row: usize, col: usize) -> usize {
    4 * row + 2 * (col % 2) + usize::from(col < 2)
}

/// Rounded rows of `x`, [`TOGETHER`] numbers at a time, and the quantisation step of each row.
#[derive(Default)]
struct Rounded {
    numbers: Vec<[i16; TOGETHER]>,
    scales: Vec<f32>,
}

thread_local! {
    static ROUNDED: Cell<Rounded> = const { Cell::new(Rounded { numbers: Vec::new(), scales: Vec::new() }) };
}

/// Writes `x W^T` to `y`, `[T, N]`.
pub(super) fn linear(x: &[f32], weights: &Int8, y: &mut [f32]) {
    let (outputs, columns) = (weights.rows(), weights.cols.div_ceil(TOGETHER));
    let mut rounded = ROUNDED.take();
    rounded.round(x, weights.cols);
    for p in 0..outputs.div_ceil(ROWS) {
        let panel = weights.panels.panel(p);
        let scales = &weights.scales[p * ROWS..outputs.min((p + 1) * ROWS)];
        let tiles = rounded.numbers.chunks(TOKENS * columns).zip(rounded.scales.chunks(TOKENS));
        for ((x, of_x), y) in tiles.zip(y.chunks_mut(TOKENS * outputs)) {
            let mut store = |sums: &[[i32; ROWS]]| {
                for ((sums, of_x), y) in sums.iter().zip(of_x).zip(y.chunks_exact_mut(outputs)) {
                    for ((y, &sum), scale) in y[p * ROWS..].iter_mut().zip(sums).zip(scales) {
                        *y = sum as f32 * (scale * of_x);
                    }
                }
            };
            match x.split_at(columns) {
                (x, []) => store(&dots([x], panel)),
                both => store(&dots::<TOKENS>(both.into(), panel)),
            }
        }
    }
    ROUNDED.set(rounded);
}

/// The integer products of `M` rounded rows, each as long as a panel has columns, with the panel's sixteen rows.
#[inline(always)]
fn dots<const M: usize>(x: [&[[i16; TOGETHER]]; M], panel: &[Columns]) -> [[i32; ROWS]; M] {
    let x = x.map(|x| &x[..panel.len()]);
    let mut sums = [[i32x4::ZERO; ROWS / 4]; M];
    for (c, columns) in panel.iter().enumerate() {
        for (part, &both) in columns.iter().enumerate() {
            let (first, second): (i16x8, i16x8) = (both >> 8, (both << 8) >> 8);
            for i in 0..M {
                let [a, b] = bytemuck::cast::<_, [i32; 2]>(x[i][c]).map(|pair| bytemuck::cast(i32x4::splat(pair)));
                sums[i][part] += first.dot(a) + second.dot(b);
            }
        }
    }
    bytemuck::cast(sums)
}

impl Rounded {
    /// Rounds the rows of `x`, `cols` numbers each.
    fn round(&mut self, x: &[f32], cols: usize) {
        self.numbers.clear();
        self.scales.clear();
        for x in x.chunks_exact(cols) {
            let scale = (largest(x) / MOST_X).max(sum_of_sizes(x) * (MOST_WEIGHT / MOST_SUM));
            let inverse = f32x8::splat(if scale >= f32::MIN_POSITIVE { scale.recip() } else { 0.0 });
            for eight in x.chunks(8) {
                let numbers = (f32x8::from(eight) * inverse).round_int().to_array().map(|number| number as i16);
                let fours: [[i16; TOGETHER]; 2] = bytemuck::cast(numbers);
                self.numbers.extend(&fours[..eight.len().div_ceil(TOGETHER)]);
            }
            self.scales.push(scale);
        }
    }
}

/// The largest absolute value of `numbers`.
fn largest(numbers: &[f32]) -> f32 {
    let eights = numbers.chunks(8).map(|eight| f32x8::from(eight).abs());
    eights.fold(f32x8::ZERO, f32x8::max).to_array().into_iter().fold(0.0, f32::max)
}

fn sum_of_sizes(numbers: &[f32]) -> f32 {
    numbers.chunks(8).fold(f32x8::ZERO, |sum, eight| sum + f32x8::from(eight).abs()).reduce_add()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::linear::{linear, linear_add};
    use crate::kernels::stored::Stored;
    use crate::shape::Dtype;
    use std::borrow::Cow;

    fn number(n: usize) -> f32 {
        ((n * 2_654_435_761) as u32 >> 16) as f32 / 65_536.0 - 0.5
    }

    fn matrix(rows: usize, cols: usize) -> Vec<u8> {
        (0..rows * cols).flat_map(|n| (number(n) * (1 + n / cols % 7) as f32).to_le_bytes()).collect()
    }

    #[test]
    fn rounded_weights_are_within_half_a_step() {
        let (rows, cols) = (21, 13);
        let bytes = matrix(rows, cols);
        let wide = Matrix { dtype: Dtype::F32, rows, cols, bytes: Cow::Borrowed(&bytes) };
        let rounded = Int8::stack(&[wide.clone(), wide.clone()]);
        let numbers = wide.values();
        for (row, col) in (0..2 * rows).flat_map(|row| (0..cols).map(move |col| (row, col))) {
            let of_row = &numbers[row % rows * cols..][..cols];
            let half_a_step = largest(of_row) / MOST_WEIGHT / 2.0;
            assert!((rounded.get(row, col) - of_row[col]).abs() <= half_a_step * 1.0001, "{row} {col}");
        }
    }

    #[test]
    fn products_are_those_of_the_rounded_weights_one_token_or_many() {
        for (rows, cols) in [(45, 70), (16, 1), (1, 9), (33, 2048)] {
            let bytes = matrix(rows, cols);
            let weights = Matrix { dtype: Dtype::F32, rows, cols, bytes: Cow::Borrowed(&bytes) };
            let stored = Stored::int8(&[weights]);
            for tokens in [1, 2, 5] {
                let x: Vec<f32> = (0..tokens * cols).map(|n| number(n + 7) * 30.0).collect();
                let mut y = vec![1.0; tokens * rows];
                linear_add(&x, &stored, &mut y);
                for (t, (x, y)) in x.chunks_exact(cols).zip(y.chunks_exact(rows)).enumerate() {
                    let mut alone = vec![0.0; rows];
                    linear(x, &stored, &mut alone);
                    for (row, (y, alone)) in y.iter().zip(alone).enumerate() {
                        let exact: f64 = (0..cols).map(|c| f64::from(x[c]) * f64::from(stored.get(row, c))).sum();
                        let sizes: f64 = (0..cols).map(|c| f64::from((x[c] * stored.get(row, c)).abs())).sum();
                        assert!(
                            (f64::from(alone) - exact).abs() <= 1e-4 * sizes + 1e-9,
                            "{rows} x {cols}, {row}: {alone} {exact}"
                        );
                        assert_eq!(*y, 1.0 + alone, "token {t} of {tokens}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_largest_sums_have_room() {
        let cols = 20_000;
        let bytes: Vec<u8> = std::iter::repeat_n(3.0f32.to_le_bytes(), cols).flatten().collect();
        let weights = Matrix { dtype: Dtype::F32, rows: 1, cols, bytes: Cow::Borrowed(&bytes) };
        let mut y = [0.0];
        linear(&vec![2.0; cols], &Stored::int8(&[weights]), &mut y);
        assert!((y[0] / (6.0 * cols as f32) - 1.0).abs() < 1e-3, "{}", y[0]);
    }
}
