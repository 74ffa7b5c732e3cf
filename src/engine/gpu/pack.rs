//! Packs weights as the shaders read them: in panels, at the file's own width (`shared/panels.wgsl`).

use super::shader::ROWS;
use crate::kernels::blocks::Blocks;
use crate::model::Tensor;
use crate::shape::{Dtype, Matrix};
use std::borrow::Cow;

/// Columns of a matrix that lie together: four.
const GROUP: usize = 4;

/// Number of panels that hold `rows` rows.
pub fn panels(rows: usize) -> usize {
    rows.div_ceil(ROWS)
}

/// Number of fours that hold `n` numbers.
pub fn groups(n: usize) -> usize {
    n.div_ceil(4)
}

/// `n` rounded up to a multiple of four.
pub fn padded(n: usize) -> usize {
    groups(n) * 4
}

/// Stacks matrices of equal width on top of each other, and packs them as one matrix of type `dtype`.
pub fn stack(dtype: Dtype, matrices: &[Matrix<'_>]) -> Vec<u8> {
    let rows = matrices.iter().map(|m| m.rows).sum();
    let mut panels = Panels::new(dtype, rows, matrices[0].cols);
    let mut first = 0;
    for matrix in matrices {
        panels.put_rows(matrix, |row| first + row);
        first += matrix.rows;
    }
    panels.into_bytes()
}

/// Packs queries, keys and values as one matrix. Dimensions `i` and `i + head_dim / 2` of a head, which `qkv` rotates
/// together, are in the same row of two neighbouring panels.
pub fn pairs(dtype: Dtype, matrices: &[Matrix<'_>], head_dim: usize) -> Vec<u8> {
    let half = head_dim / 2;
    let rows: usize = matrices.iter().map(|m| m.rows).sum();
    let mut panels = Panels::new(dtype, in_turn(rows / 2), matrices[0].cols);
    let mut first = 0;
    for matrix in matrices {
        panels.put_rows(matrix, |row| {
            let (head, i) = ((first + row) / head_dim, row % head_dim);
            place_in_turn(head * half + i % half, i / half)
        });
        first += matrix.rows;
    }
    panels.into_bytes()
}

/// Packs two matrices as one, a panel of the first and a panel of the second in turn.
pub fn alternate(dtype: Dtype, pair: &[Matrix<'_>]) -> Vec<u8> {
    let mut panels = Panels::new(dtype, in_turn(pair[0].rows), pair[0].cols);
    for (which, matrix) in pair.iter().enumerate() {
        panels.put_rows(matrix, |row| place_in_turn(row, which));
    }
    panels.into_bytes()
}

/// Number of rows of two matrices, of `rows` rows each, whose panels alternate.
fn in_turn(rows: usize) -> usize {
    2 * rows.next_multiple_of(ROWS)
}

/// The packed row of `row` of the first (0) or the second (1) of two such matrices.
fn place_in_turn(row: usize, which: usize) -> usize {
    (row / ROWS * 2 + which) * ROWS + row % ROWS
}

/// The number format that all tensors have; f32 where they differ.
pub fn common_dtype(tensors: &[&Tensor<'_>]) -> Dtype {
    let first = tensors[0].dtype;
    if tensors.iter().all(|tensor| tensor.dtype == first) { first } else { Dtype::F32 }
}

struct Panels {
    dtype: Dtype,
    groups: usize,
    /// Empty where the numbers are in blocks.
    bytes: Vec<u8>,
    blocks: Option<Blocks>,
}

impl Panels {
    fn new(dtype: Dtype, rows: usize, cols: usize) -> Self {
        let (groups, blocks) = (cols.div_ceil(GROUP), Blocks::zeros(dtype, rows, cols));
        let numbers = if blocks.is_some() { 0 } else { rows.next_multiple_of(ROWS) * groups * GROUP };
        Self { dtype, groups, bytes: vec![0; dtype.bytes_of(numbers)], blocks }
    }

    fn into_bytes(self) -> Vec<u8> {
        self.blocks.map_or(self.bytes, |blocks| bytemuck::cast_slice(blocks.words()).to_vec())
    }

    /// Copies each row of a matrix to the row that `place` returns.
    fn put_rows(&mut self, matrix: &Matrix<'_>, place: impl Fn(usize) -> usize) {
        if let Some(blocks) = &mut self.blocks {
            let rows = matrix.bytes.chunks_exact(self.dtype.bytes_of(matrix.cols));
            rows.enumerate().for_each(|(row, bytes)| blocks.put_row(place(row), bytes));
            return;
        }
        let size = self.dtype.block_bytes();
        let bytes = if matrix.dtype == self.dtype {
            Cow::Borrowed(&*matrix.bytes)
        } else {
            matrix.values().into_iter().flat_map(f32::to_le_bytes).collect()
        };
        for (at, number) in bytes.chunks_exact(size).enumerate() {
            let (row, col) = (place(at / matrix.cols), at % matrix.cols);
            let group = (row / ROWS * self.groups + col / GROUP) * ROWS + row % ROWS;
            let to = (group * GROUP + col % GROUP) * size;
            self.bytes[to..to + size].copy_from_slice(number);
        }
    }
}
