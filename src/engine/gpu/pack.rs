//! Weights as the shaders read them: panels in the file's own width (`shared/panels.wgsl`).

use super::shader::ROWS;
use crate::model::{Dtype, Matrix};

/// Columns of a group.
const GROUP: usize = 4;

/// Stacks matrices of the same width on top of each other and packs them as one. Where their number widths
/// differ, as f32.
pub fn stack(matrices: &[&Matrix<'_>]) -> (Dtype, Vec<u8>) {
    let dtype = common_dtype(matrices);
    let rows = matrices.iter().map(|m| m.rows).sum();
    let mut panels = Panels::new(dtype, rows, matrices[0].cols);
    let mut first = 0;
    for matrix in matrices {
        panels.put(first, matrix);
        first += matrix.rows;
    }
    (dtype, panels.bytes)
}

/// As [`stack`] of queries, keys and values, with the rows of each head in the order in which `qkv` turns them: dimensions `i` and
/// `i + head_dim / 2` are neighbours.
pub fn pairs(matrices: [&Matrix<'_>; 3], head_dim: usize) -> (Dtype, Vec<u8>) {
    let dtype = common_dtype(&matrices);
    let rows = matrices.iter().map(|m| m.rows).sum();
    let mut panels = Panels::new(dtype, rows, matrices[0].cols);
    let mut first = 0;
    for matrix in matrices {
        panels.put_rows(matrix, |row| {
            let (head, i, half) = (row / head_dim, row % head_dim, head_dim / 2);
            first + head * head_dim + i % half * 2 + i / half
        });
        first += matrix.rows;
    }
    (dtype, panels.bytes)
}

/// Packs each matrix by itself, one after the other.
pub fn sequence(matrices: &[&Matrix<'_>]) -> (Dtype, Vec<u8>) {
    let dtype = common_dtype(matrices);
    let pack = |matrix: &&Matrix<'_>| {
        let mut panels = Panels::new(dtype, matrix.rows, matrix.cols);
        panels.put(0, matrix);
        panels.bytes
    };
    (dtype, matrices.iter().flat_map(pack).collect())
}

fn common_dtype(matrices: &[&Matrix<'_>]) -> Dtype {
    let first = matrices[0].dtype;
    if matrices.iter().all(|matrix| matrix.dtype == first) { first } else { Dtype::F32 }
}

struct Panels {
    dtype: Dtype,
    groups: usize,
    bytes: Vec<u8>,
}

impl Panels {
    fn new(dtype: Dtype, rows: usize, cols: usize) -> Self {
        let groups = cols.div_ceil(GROUP);
        let numbers = rows.next_multiple_of(ROWS) * groups * GROUP;
        Self { dtype, groups, bytes: vec![0; numbers * dtype.size()] }
    }

    /// Puts a matrix into rows `first..`.
    fn put(&mut self, first: usize, matrix: &Matrix<'_>) {
        self.put_rows(matrix, |row| first + row);
    }

    /// Puts each row of a matrix where `place` says.
    fn put_rows(&mut self, matrix: &Matrix<'_>, place: impl Fn(usize) -> usize) {
        let size = self.dtype.size();
        let widened: Vec<u8>;
        let bytes = if matrix.dtype == self.dtype {
            matrix.bytes
        } else {
            widened = matrix.values().flat_map(f32::to_le_bytes).collect();
            &widened
        };
        for (at, number) in bytes.chunks_exact(size).enumerate() {
            let (row, col) = (place(at / matrix.cols), at % matrix.cols);
            let group = (row / ROWS * self.groups + col / GROUP) * ROWS + row % ROWS;
            let to = (group * GROUP + col % GROUP) * size;
            self.bytes[to..to + size].copy_from_slice(number);
        }
    }
}
