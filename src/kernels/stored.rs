//! Matrices of weights in the layout of the CPU engine: panels of f32, or of the file's own 16-bit numbers. The latter
//! take half the memory and half the memory bandwidth, but must be widened, which costs more than it saves in small
//! models.

use super::blocks::Blocks;
use super::int8::Int8;
use super::pairs::{Pairs, from_bf16, from_f16, moved};
use super::panels::{Column, Panels, ROWS, numbers};
use crate::shape::{Dtype, Matrix};
use wide::f32x8;

/// A matrix of weights, `[rows, cols]`.
pub enum Stored {
    /// Single precision.
    F32(Panels),
    /// Half precision.
    F16(Panels<Pairs>),
    /// bfloat16: the upper halves of single-precision numbers.
    Bf16(Panels<Pairs>),
    /// Rounded to 8 bits.
    Int8(Int8),
    /// Blocks that share scales, as a GGUF file has them.
    Blocks(Blocks),
}

impl Stored {
    /// Stacks matrices of equal width on top of each other, and packs them as f32.
    pub fn wide(matrices: &[Matrix<'_>]) -> Self {
        Self::F32(Panels::stack(matrices))
    }

    /// Stacks and packs matrices of equal width in their own format of 16 bits or of blocks; as f32 where they are not
    /// all of one such format.
    pub fn as_is(matrices: &[Matrix<'_>]) -> Self {
        let dtype = matrices[0].dtype;
        if matrices.iter().any(|m| m.dtype != dtype) {
            return Self::wide(matrices);
        }
        match dtype {
            Dtype::F32 => Self::wide(matrices),
            Dtype::F16 => Self::F16(pairs(matrices)),
            Dtype::Bf16 => Self::Bf16(pairs(matrices)),
            _ => Blocks::stack(matrices).map_or_else(|| Self::wide(matrices), Self::Blocks),
        }
    }

    /// Stacks and packs matrices of equal width, rounded to 8 bits.
    pub fn int8(matrices: &[Matrix<'_>]) -> Self {
        Self::Int8(Int8::stack(matrices))
    }

    /// Number of rows: outputs of a product.
    pub fn rows(&self) -> usize {
        match self {
            Self::F32(panels) => panels.rows(),
            Self::F16(panels) | Self::Bf16(panels) => panels.rows(),
            Self::Int8(weights) => weights.rows(),
            Self::Blocks(weights) => weights.rows(),
        }
    }

    /// Number of columns: inputs of a product.
    pub fn cols(&self) -> usize {
        match self {
            Self::F32(panels) => panels.cols(),
            Self::F16(panels) | Self::Bf16(panels) => panels.cols(),
            Self::Int8(weights) => weights.cols(),
            Self::Blocks(weights) => weights.cols(),
        }
    }

    /// Size of the packed weights in bytes; one product reads all of them.
    pub fn bytes(&self) -> usize {
        match self {
            Self::F32(panels) => panels.bytes(),
            Self::F16(panels) | Self::Bf16(panels) => panels.bytes(),
            Self::Int8(weights) => weights.bytes(),
            Self::Blocks(weights) => weights.bytes(),
        }
    }

    /// The number at (`row`, `col`).
    pub fn get(&self, row: usize, col: usize) -> f32 {
        let column = match self {
            Self::F32(panels) => return panels.get(row, col),
            Self::Int8(weights) => return weights.get(row, col),
            Self::Blocks(weights) => return weights.get(row, col),
            Self::F16(panels) => from_f16(panels.panel(row / ROWS)[col]),
            Self::Bf16(panels) => from_bf16(panels.panel(row / ROWS)[col]),
        };
        numbers(&column)[row % ROWS]
    }
}

fn pairs(matrices: &[Matrix<'_>]) -> Panels<Pairs> {
    let cols = matrices[0].cols;
    let mut panels = Panels::<Pairs>::zeros(matrices.iter().map(|m| m.rows).sum(), cols);
    let mut row = 0;
    for matrix in matrices {
        for bytes in matrix.bytes.chunks_exact(2 * cols) {
            let (word, upper) = (row % ROWS % 8, row % ROWS / 8);
            for (column, number) in panels.panel_mut(row / ROWS).iter_mut().zip(bytes.chunks_exact(2)) {
                let words: &mut [u32; 8] = bytemuck::cast_mut(column);
                words[word] |= u32::from(u16::from_le_bytes([number[0], number[1]])) << (16 * upper);
            }
            row += 1;
        }
    }
    panels
}

/// The products of one row `x`, as long as the panel has columns, with sixteen rows of f16, summed in the order of
/// [`super::linear`].
#[inline(never)] // One copy of it serves all products.
pub(super) fn by_f16(x: &[f32], panel: &[Pairs]) -> Column {
    // The bits of an f16 at the place of an f32's bits are the number times 2^-112. `x` is multiplied by as much of
    // 2^112 as cannot overflow, and the sums by the rest. All factors are powers of two, so the result has the same
    // bits as with widened weights.
    const OF_X: f32 = (1u64 << 63) as f32 * 2.0;
    const OF_SUMS: f32 = (1u64 << 48) as f32;
    by_pairs(x.iter().map(|x| x * OF_X), panel, moved).map(|sum| sum * f32x8::splat(OF_SUMS))
}

/// As [`by_f16`], for bf16.
#[inline(never)]
pub(super) fn by_bf16(x: &[f32], panel: &[Pairs]) -> Column {
    by_pairs(x.iter().copied(), panel, from_bf16)
}

#[inline(always)]
fn by_pairs(x: impl Iterator<Item = f32>, panel: &[Pairs], widen: impl Fn(Pairs) -> Column) -> Column {
    let mut sums = Column::default();
    for (&pairs, x) in panel.iter().zip(x) {
        let (x, weights) = (f32x8::splat(x), widen(pairs));
        for (sum, weights) in sums.iter_mut().zip(weights) {
            *sum = super::madd::madd(x, weights, *sum);
        }
    }
    sums
}

/// Widens a panel of f16 to f32.
#[inline(never)]
pub(super) fn widen_f16<'a>(panel: &[Pairs], wide: &'a mut Vec<Column>) -> &'a [Column] {
    wide.clear();
    wide.extend(panel.iter().map(|&pairs| from_f16(pairs)));
    wide
}

/// As [`widen_f16`], for bf16.
#[inline(never)]
pub(super) fn widen_bf16<'a>(panel: &[Pairs], wide: &'a mut Vec<Column>) -> &'a [Column] {
    wide.clear();
    wide.extend(panel.iter().map(|&pairs| from_bf16(pairs)));
    wide
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Cow;

    /// All 16-bit patterns that are finite numbers.
    fn every(kind: Dtype) -> Vec<u16> {
        let widen = |bits: u16| match kind {
            Dtype::F16 => half::f16::from_bits(bits).to_f32(),
            _ => half::bf16::from_bits(bits).to_f32(),
        };
        (0..=u16::MAX).filter(|&bits| widen(bits).is_finite()).collect()
    }

    #[test]
    fn stored_numbers_are_those_of_the_file() {
        for dtype in [Dtype::F16, Dtype::Bf16] {
            let bits = every(dtype);
            let cols = 64;
            let rows = bits.len() / cols;
            let bytes: Vec<u8> = bits[..rows * cols].iter().flat_map(|bits| bits.to_le_bytes()).collect();
            let matrix = [Matrix { dtype, rows, cols, bytes: Cow::Borrowed(&bytes) }];
            let (stored, wide) = (Stored::as_is(&matrix), Stored::wide(&matrix));
            assert_eq!(2 * stored.bytes(), wide.bytes());
            for (row, col) in (0..rows).flat_map(|row| (0..cols).map(move |col| (row, col))) {
                assert_eq!(stored.get(row, col).to_bits(), wide.get(row, col).to_bits(), "{dtype:?} {row} {col}");
            }
        }
    }

    #[test]
    fn products_have_the_same_bits_as_with_widened_weights() {
        for dtype in [Dtype::F16, Dtype::Bf16] {
            let (rows, cols) = (45, 70);
            let number = |n: usize| ((n * 2_654_435_761) as u32 >> 16) as f32 / 65_536.0 - 0.5;
            let narrow = |x: f32| match dtype {
                Dtype::F16 => half::f16::from_f32(x).to_bits(),
                _ => half::bf16::from_f32(x).to_bits(),
            };
            let bytes: Vec<u8> = (0..rows * cols).flat_map(|n| narrow(number(n) * 0.1).to_le_bytes()).collect();
            let matrix = [Matrix { dtype, rows, cols, bytes: Cow::Borrowed(&bytes) }];
            let (stored, wide) = (Stored::as_is(&matrix), Stored::wide(&matrix));
            for tokens in [1, 2, 5] {
                let x: Vec<f32> = (0..tokens * cols).map(|n| number(n + 7) * 30.0).collect();
                let [mut a, mut b] = [vec![0.0; tokens * rows], vec![0.0; tokens * rows]];
                super::super::linear::linear(&x, &stored, &mut a);
                super::super::linear::linear(&x, &wide, &mut b);
                let bits = |y: &[f32]| y.iter().map(|y| y.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&a), bits(&b), "{dtype:?}, {tokens} tokens");
            }
        }
    }
}
