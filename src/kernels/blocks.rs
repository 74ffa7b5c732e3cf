//! Weights in blocks ([`crate::shape::blocks`]) in the layout of both engines: panels of sixteen rows, with the codes
//! of the file in the same number of bits. The GPU reads the same words; `shaders/shared/weights_*.wgsl` are the twins
//! of this file's [`Layout`].
//!
//! A chunk is sixteen rows by the columns of a block: first the words for all of its columns, then the words for each
//! 32 of them. Where a word has two rows, its lower half belongs to row `j` and its upper half to row `j + 8`.
//!
//! - For all columns: an f16 number for each row (the scale), and a second one where the format has an offset. In
//!   formats with blocks of 32 columns, these belong to the 32 columns.
//! - For each 32 columns: two bytes for each row (the small scales), where the format has them. Then words with the
//!   fifth and sixth bits of the codes, one or two for each row. Then the lower four bits of the codes, eight columns
//!   in a word; or all eight bits, four columns in a word.

use super::pairs::{Pairs, from_bf16, from_f16};
use super::panels::{Column, ROWS};
use crate::shape::blocks::{self, Block, MOST_NUMBERS};
use crate::shape::format::with_block;
use crate::shape::{Dtype, Matrix};
use wide::{f32x4, f32x8, i32x4, i32x8};

/// Number of columns whose codes share words.
pub const SPAN: usize = 32;

/// Words for eight rows.
type Words = i32x8;

/// The layout of a chunk's words, in groups of eight words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Columns of a chunk.
    pub columns: usize,
    /// Groups at the start of the chunk, with f16 numbers of all rows.
    pub halves: usize,
    /// Groups of small scales for each 32 columns.
    pub small: usize,
    /// Number of bits of a code above the fourth.
    pub high: usize,
    /// Whether codes have eight bits.
    pub bytes: bool,
}

impl Layout {
    /// The layout of blocks of `dtype`; `None` for single numbers.
    pub const fn of(dtype: Dtype) -> Option<Self> {
        let (columns, halves, small, high, bytes) = match dtype {
            Dtype::F32 | Dtype::F16 | Dtype::Bf16 => return None,
            Dtype::Q8_0 => (32, 1, 0, 0, true),
            Dtype::Q4_0 | Dtype::Mxfp4 => (32, 1, 0, 0, false),
            Dtype::Q4_1 => (32, 2, 0, 0, false),
            Dtype::Q5_0 => (32, 1, 0, 1, false),
            Dtype::Q5_1 => (32, 2, 0, 1, false),
            Dtype::Q4K => (256, 2, 1, 0, false),
            Dtype::Q5K => (256, 2, 1, 1, false),
            Dtype::Q6K => (256, 1, 1, 2, false),
        };
        Some(Self { columns, halves, small, high, bytes })
    }

    /// Number of groups for 32 columns.
    const fn span(self) -> usize {
        self.small + 2 * self.high + if self.bytes { 16 } else { 8 }
    }

    /// Number of groups of a chunk.
    pub const fn groups(self) -> usize {
        self.halves + self.columns / SPAN * self.span()
    }
}

/// A matrix `[rows, cols]` of blocks. Rows beyond the matrix are zero.
pub struct Blocks {
    dtype: Dtype,
    layout: Layout,
    rows: usize,
    cols: usize,
    words: Vec<Words>,
}

impl Blocks {
    /// A matrix of zeros in blocks of `dtype`, with whole blocks in each row; `None` for formats of single numbers.
    pub fn zeros(dtype: Dtype, rows: usize, cols: usize) -> Option<Self> {
        let layout = Layout::of(dtype)?;
        let words = vec![Words::default(); rows.div_ceil(ROWS) * (cols / layout.columns) * layout.groups()];
        Some(Self { dtype, layout, rows, cols, words })
    }

    /// Stacks matrices of equal width and format on top of each other, and packs them; `None` for formats of single
    /// numbers.
    pub fn stack(matrices: &[Matrix<'_>]) -> Option<Self> {
        let first = &matrices[0];
        let mut stacked = Self::zeros(first.dtype, matrices.iter().map(|m| m.rows).sum(), first.cols)?;
        let rows = matrices.iter().flat_map(|matrix| matrix.bytes.chunks_exact(first.dtype.bytes_of(first.cols)));
        rows.enumerate().for_each(|(row, bytes)| stacked.put_row(row, bytes));
        Some(stacked)
    }

    /// Packs a row of the file's blocks; the row must have been zero.
    pub fn put_row(&mut self, row: usize, bytes: &[u8]) {
        with_block!(self.dtype, B => self.put_blocks::<B>(row, bytes), ());
    }

    fn put_blocks<B: Packed>(&mut self, row: usize, bytes: &[u8]) {
        let layout = self.layout;
        let chunks = self.cols / layout.columns;
        let place = Place { layout, row: row % ROWS };
        let panel = &mut self.words[row / ROWS * chunks * layout.groups()..][..chunks * layout.groups()];
        for (chunk, block) in panel.chunks_exact_mut(layout.groups()).zip(bytes.chunks_exact(B::BYTES)) {
            let words: &mut [u32] = bytemuck::cast_slice_mut(chunk);
            let mut codes = [0; MOST_NUMBERS];
            B::codes(block, &mut codes[..B::NUMBERS]);
            place.put_scales(words, self.dtype, block);
            for (span, codes) in codes[..B::NUMBERS].chunks_exact(SPAN).enumerate() {
                place.put_codes(words, span, codes);
            }
        }
    }

    /// The number format.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Number of rows: outputs of a product.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns: inputs of a product.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Size of the packed weights in bytes; one product reads all of them.
    pub fn bytes(&self) -> usize {
        size_of_val(self.words.as_slice())
    }

    /// All words, in the form that a GPU reads.
    pub fn words(&self) -> &[u32] {
        bytemuck::cast_slice(&self.words)
    }

    /// The number at (`row`, `col`), found in the same way as on the GPU.
    pub fn get(&self, row: usize, col: usize) -> f32 {
        with_block!(self.dtype, B => self.number::<B>(row, col), 0.0)
    }

    fn number<B: Packed>(&self, row: usize, col: usize) -> f32 {
        let (layout, groups) = (B::LAYOUT, B::LAYOUT.groups());
        let chunk = row / ROWS * (self.cols / layout.columns) + col / layout.columns;
        let words = &self.words()[8 * chunk * groups..][..8 * groups];
        let (row, span, col) = (row % ROWS, col % layout.columns / SPAN, col % SPAN);
        let half = |group: usize| (words[8 * group + row % 8] >> (row / 8 * 16)) as u16;
        let mut scale = match B::DTYPE {
            Dtype::Mxfp4 => half::bf16::from_bits(half(0)).to_f32(),
            _ => half::f16::from_bits(half(0)).to_f32(),
        };
        let mut offset = if layout.halves == 2 { half::f16::from_bits(half(1)).to_f32() } else { 0.0 };
        let start = layout.halves + span * layout.span();
        if layout.small > 0 {
            let [first, second] = half(start).to_le_bytes();
            if B::DTYPE == Dtype::Q6K {
                scale *= f32::from(if col < SPAN / 2 { first } else { second } as i8);
            } else {
                (scale, offset) = (scale * f32::from(first), -(offset * f32::from(second)));
            }
        }
        let (above, low) = words[8 * (start + layout.small)..].split_at(ROWS * layout.high);
        let code = if layout.bytes {
            low[col / 4 * ROWS + row] >> (col % 4 * 8) & 255
        } else {
            let four = low[col / 8 * ROWS + row] >> (col % 8 * 4) & 15;
            let bits = 32usize.checked_div(layout.high).map_or(0, |columns| {
                let word = above[col / columns * ROWS + row] >> (col % columns * layout.high);
                word & ((1 << layout.high) - 1)
            });
            four | bits << 4
        };
        scale * B::value(code as u8) + offset
    }

    #[inline(always)]
    fn span<B: Packed>(&self, p: usize, span: usize) -> Span<'_> {
        let layout = B::LAYOUT;
        let (groups, spans) = (layout.groups(), layout.columns / SPAN);
        let chunk = &self.words[(p * (self.cols / layout.columns) + span / spans) * groups..][..groups];
        let (halves, rest) = chunk.split_at(layout.halves);
        Span { halves, words: &rest[span % spans * layout.span()..][..layout.span()] }
    }

    /// Widens a whole panel into `wide`.
    #[inline(never)]
    pub(super) fn widen_panel<'a>(&self, p: usize, wide: &'a mut Vec<Column>) -> &'a [Column] {
        wide.resize(self.cols, Column::default());
        with_block!(
            self.dtype,
            B => for (span, columns) in wide.as_chunks_mut().0.iter_mut().enumerate() {
                self.span::<B>(p, span).widen::<B>(columns);
            },
            ()
        );
        wide
    }

    /// The products of one row `x` with the sixteen rows of panel `p`, in the order of [`super::linear`].
    pub(super) fn by_panel(&self, x: &[f32], p: usize) -> Column {
        with_block!(self.dtype, B => self.product::<B>(x, p), Column::default())
    }

    #[inline(never)] // One copy of it for each format.
    fn product<B: Packed>(&self, x: &[f32], p: usize) -> Column {
        let mut sums = Column::default();
        let mut columns = [Column::default(); SPAN];
        for (span, x) in x.as_chunks::<SPAN>().0.iter().enumerate() {
            self.span::<B>(p, span).widen::<B>(&mut columns);
            for (column, &x) in columns.iter().zip(x) {
                for (sum, &weights) in sums.iter_mut().zip(column) {
                    *sum = super::madd::madd(f32x8::splat(x), weights, *sum);
                }
            }
        }
        sums
    }
}

/// A block format with its layout.
trait Packed: Block {
    /// The format.
    const DTYPE: Dtype;
    /// Its layout.
    const LAYOUT: Layout = match Layout::of(Self::DTYPE) {
        Some(layout) => layout,
        None => panic!("every block has a layout"),
    };
}

macro_rules! packed {
    ($($name:ident),*) => {
        $(impl Packed for blocks::$name {
            const DTYPE: Dtype = Dtype::$name;
        })*
    };
}
packed!(Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4K, Q5K, Q6K, Mxfp4);

/// The place of a row in its panel.
#[derive(Clone, Copy)]
struct Place {
    layout: Layout,
    row: usize,
}

impl Place {
    /// Writes 16 bits to one of the groups whose words have two rows.
    fn put_half(self, words: &mut [u32], group: usize, bits: u16) {
        words[8 * group + self.row % 8] |= u32::from(bits) << (self.row / 8 * 16);
    }

    fn put_scales(self, words: &mut [u32], dtype: Dtype, block: &[u8]) {
        let bits = |at: usize| u16::from_le_bytes([block[at], block[at + 1]]);
        let first = match dtype {
            Dtype::Q6K => bits(208),
            Dtype::Mxfp4 => blocks::half_power(block[0]),
            _ => bits(0),
        };
        self.put_half(words, 0, first);
        if self.layout.halves == 2 {
            self.put_half(words, 1, bits(2));
        }
        if self.layout.small > 0 {
            for span in 0..self.layout.columns / SPAN {
                let both = match dtype {
                    Dtype::Q6K => [block[192 + 2 * span], block[193 + 2 * span]],
                    _ => blocks::scale_and_min(&block[4..16], span),
                };
                self.put_half(words, self.layout.halves + span * self.layout.span(), u16::from_le_bytes(both));
            }
        }
    }

    fn put_codes(self, words: &mut [u32], span: usize, codes: &[u8]) {
        let Layout { halves, small, high, bytes, .. } = self.layout;
        let start = 8 * (halves + span * self.layout.span() + small);
        let (above, low) = words[start..].split_at_mut(ROWS * high);
        for (col, &code) in codes.iter().enumerate() {
            let code = u32::from(code);
            if bytes {
                low[col / 4 * ROWS + self.row] |= code << (col % 4 * 8);
                continue;
            }
            low[col / 8 * ROWS + self.row] |= (code & 15) << (col % 8 * 4);
            if let Some(columns) = 32usize.checked_div(high) {
                above[col / columns * ROWS + self.row] |= (code >> 4) << (col % columns * high);
            }
        }
    }
}

/// The words of 32 columns.
struct Span<'a> {
    halves: &'a [Words],
    words: &'a [Words],
}

impl Span<'_> {
    /// Widens all numbers: `scale * value + offset`, as [`Block::widen`] does.
    #[inline(always)]
    fn widen<B: Packed>(&self, columns: &mut [Column; SPAN]) {
        let layout = B::LAYOUT;
        let whole = |group: usize| -> Pairs { self.halves[group] };
        let scale = match B::DTYPE {
            Dtype::Mxfp4 => from_bf16(whole(0)),
            _ => from_f16(whole(0)),
        };
        let (above, low) = self.words[layout.small..].split_at(2 * layout.high);
        // The scales of the first and of the last sixteen columns.
        let mut scales = [scale; 2];
        let mut offset = None;
        if layout.halves == 2 {
            offset = Some(from_f16(whole(1)));
        }
        if layout.small > 0 {
            let small = self.words[0];
            match B::DTYPE {
                Dtype::Q6K => {
                    // Two signed bytes for each row: those of the lower halves and those of the upper halves.
                    let first = [right::<24>(left::<24>(small)), right::<24>(left::<8>(small))];
                    let second = [right::<24>(left::<16>(small)), right::<24>(small)];
                    scales = [first, second].map(|both| times(both.map(floats), scale));
                }
                _ => {
                    let byte = |word: i32x8| floats(word & i32x8::splat(255));
                    scales = [times([byte(small), byte(right::<16>(small))], scale); 2];
                    // The offset that is subtracted.
                    offset = offset.map(|min| {
                        times(times([byte(right::<8>(small)), byte(right::<24>(small))], min), [f32x8::splat(-1.0); 2])
                    });
                }
            }
        }
        let bias = f32x8::splat(-B::value(0));
        for half in 0..2 {
            // The bits above the fourth, for the next columns.
            let mut above_next = i32x8::ZERO;
            for (eight, columns) in columns.as_chunks_mut::<8>().0.iter_mut().enumerate() {
                let scale = scales[eight / 2][half];
                let mut word = low[if layout.bytes { 4 * eight } else { 2 * eight } + half];
                if layout.high > 0 && eight * layout.high % 4 == 0 {
                    above_next = above[eight * layout.high / 4 * 2 + half];
                }
                for (n, column) in columns.iter_mut().enumerate() {
                    let value = if layout.bytes {
                        if n == 4 {
                            word = low[4 * eight + 2 + half];
                        }
                        let code = floats(right::<24>(left::<24>(word)));
                        word = right::<8>(word);
                        code
                    } else {
                        let mut code = word & i32x8::splat(15);
                        word = right::<4>(word);
                        if layout.high == 1 {
                            code |= left::<4>(above_next & i32x8::splat(1));
                            above_next = right::<1>(above_next);
                        } else if layout.high == 2 {
                            code |= left::<4>(above_next & i32x8::splat(3));
                            above_next = right::<2>(above_next);
                        }
                        match B::DTYPE {
                            Dtype::Mxfp4 => microscaled(code),
                            _ => floats(code) - bias,
                        }
                    };
                    column[half] = match offset {
                        Some(offset) => scale * value + offset[half],
                        None => scale * value,
                    };
                }
            }
        }
    }
}

/// Shifts right by `N` bits, keeping the sign. The library's own shift reads its count from memory.
#[inline(always)]
fn right<const N: i32>(words: i32x8) -> i32x8 {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{__m128i, _mm_srai_epi32};
        // SAFETY: every CPU of this architecture has SSE2.
        let shifted = bytemuck::cast::<i32x8, [__m128i; 2]>(words).map(|words| unsafe { _mm_srai_epi32::<N>(words) });
        bytemuck::cast(shifted)
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        words >> N as u32
    }
}

/// Shifts left by `N` bits; see [`right`].
#[inline(always)]
fn left<const N: i32>(words: i32x8) -> i32x8 {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{__m128i, _mm_slli_epi32};
        // SAFETY: every CPU of this architecture has SSE2.
        let shifted = bytemuck::cast::<i32x8, [__m128i; 2]>(words).map(|words| unsafe { _mm_slli_epi32::<N>(words) });
        bytemuck::cast(shifted)
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        words << N as u32
    }
}

/// Converts whole numbers to f32. The library's own conversion is scalar on some targets.
#[inline(always)]
fn floats(numbers: i32x8) -> f32x8 {
    bytemuck::cast(bytemuck::cast::<i32x8, [i32x4; 2]>(numbers).map(f32x4::from_i32x4))
}

#[inline(always)]
fn times(a: Column, b: Column) -> Column {
    [a[0] * b[0], a[1] * b[1]]
}

/// Twice the e2m1 numbers of codes: a sign, and 0, 1, 2, 3, 4, 6, 8 or 12.
#[inline(always)]
fn microscaled(code: i32x8) -> f32x8 {
    let size = code & i32x8::splat(7);
    let (twice, four) = (left::<1>(size) - i32x8::splat(4), left::<2>(size) - i32x8::splat(16));
    let twice: i32x8 = bytemuck::cast(floats(size.max(twice).max(four)));
    bytemuck::cast(twice | left::<28>(code & i32x8::splat(8)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::linear::linear;
    use crate::kernels::stored::Stored;
    use std::borrow::Cow;

    /// Random blocks whose scales are finite and small.
    pub fn random(dtype: Dtype, rows: usize, cols: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut bytes: Vec<u8> = (0..dtype.bytes_of(rows * cols))
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            })
            .collect();
        for block in bytes.chunks_exact_mut(dtype.block_bytes()) {
            let small = |bits: &mut u8| *bits = *bits & 0x80 | 0x20 | *bits & 3;
            match dtype {
                Dtype::Q6K => small(&mut block[209]),
                Dtype::Mxfp4 => block[0] = 118 + block[0] % 6,
                _ => {
                    small(&mut block[1]);
                    if Layout::of(dtype).unwrap().halves == 2 {
                        small(&mut block[3]);
                    }
                }
            }
        }
        bytes
    }

    fn formats() -> impl Iterator<Item = Dtype> {
        Dtype::ALL.into_iter().filter(|dtype| dtype.is_block())
    }

    #[test]
    fn packed_numbers_are_those_of_the_file() {
        for dtype in formats() {
            let (rows, cols) = (37, 512);
            let bytes = random(dtype, rows, cols);
            let matrix = Matrix { rows, cols, dtype, bytes: Cow::Borrowed(&bytes) };
            let expected = matrix.values();
            let packed = Blocks::stack(&[matrix]).unwrap();
            let mut panel = Vec::new();
            for (row, expected) in expected.chunks_exact(cols).enumerate() {
                let found: Vec<f32> = (0..cols).map(|col| packed.get(row, col)).collect();
                assert_eq!(found, expected, "{dtype:?}, row {row}");
                let panel = packed.widen_panel(row / ROWS, &mut panel);
                let found: Vec<f32> =
                    panel.iter().map(|column| super::super::panels::numbers(column)[row % ROWS]).collect();
                assert_eq!(found, expected, "{dtype:?}, row {row} of a widened panel");
            }
        }
    }

    #[test]
    fn as_many_bytes_as_the_file_has_or_a_few_more() {
        for dtype in formats() {
            let (packed, file) = (Blocks::zeros(dtype, 64, 512).unwrap().bytes(), dtype.bytes_of(64 * 512));
            assert!(packed >= file && packed as f32 <= file as f32 * 1.06, "{dtype:?}: {packed}, {file} in the file");
        }
    }

    #[test]
    fn products_have_the_same_bits_as_with_widened_weights() {
        for dtype in formats() {
            let (rows, cols) = (45, 512);
            let bytes = random(dtype, rows, cols);
            let matrix = [Matrix { rows, cols, dtype, bytes: Cow::Borrowed(&bytes) }];
            let (stored, wide) = (Stored::as_is(&matrix), Stored::wide(&matrix));
            for tokens in [1, 2, 5] {
                let x: Vec<f32> = (0..tokens * cols).map(|n| ((n * 37 + 11) % 101) as f32 / 50.0 - 1.0).collect();
                let [mut a, mut b] = [vec![0.0; tokens * rows], vec![0.0; tokens * rows]];
                linear(&x, &stored, &mut a);
                linear(&x, &wide, &mut b);
                let bits = |y: &[f32]| y.iter().map(|y| y.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&a), bits(&b), "{dtype:?}, {tokens} tokens");
            }
        }
    }
}
