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

/// Queries, keys and values as one matrix, its rows in the order in which `qkv` turns them: dimensions `i` and
/// `i + head_dim / 2` of a head are in the same row of two neighbouring panels.
pub fn pairs(matrices: [&Matrix<'_>; 3], head_dim: usize) -> (Dtype, Vec<u8>) {
    let dtype = common_dtype(&matrices);
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
    (dtype, panels.bytes)
}

/// The two matrices of each pair as one, a panel of the first and a panel of the second in turn; the pairs one after the other.
pub fn alternate(pairs: &[[&Matrix<'_>; 2]]) -> (Dtype, Vec<u8>) {
    let dtype = common_dtype(pairs.as_flattened());
    let pack = |pair: &[&Matrix<'_>; 2]| {
        let mut panels = Panels::new(dtype, in_turn(pair[0].rows), pair[0].cols);
        for (which, matrix) in pair.iter().enumerate() {
            panels.put_rows(matrix, |row| place_in_turn(row, which));
        }
        panels.bytes
    };
    (dtype, pairs.iter().flat_map(pack).collect())
}

/// Rows of two matrices of `rows` rows whose panels lie in turn.
fn in_turn(rows: usize) -> usize {
    2 * rows.next_multiple_of(ROWS)
}

/// Where `row` of the first (0) or the second (1) of two such matrices lies.
fn place_in_turn(row: usize, which: usize) -> usize {
    (row / ROWS * 2 + which) * ROWS + row % ROWS
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
        let bytes = if matrix.dtype == self.dtype {
            matrix.bytes.read()
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
