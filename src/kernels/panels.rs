//! Matrices in the layout of the CPU engine: panels of sixteen rows, read as one sequential stream. Weights are
//! [`super::stored`].

use crate::shape::Matrix;
use wide::f32x8;

/// Rows of a panel. A column of it is one cache line, and sixteen independent sums hide the latency of an addition.
pub const ROWS: usize = 16;

/// A column of a panel.
pub type Column = [f32x8; ROWS / 8];

/// A matrix `[rows, cols]` in panels: `panels[p * cols + c]` holds column `c` of rows `16p .. 16p + 16`. A product
/// reads memory in order and needs no horizontal sums. Rows beyond the matrix are zero.
#[derive(Clone, Debug, Default)]
pub struct Panels<C = Column> {
    rows: usize,
    cols: usize,
    panels: Vec<C>,
}

impl<C: Copy + Default> Panels<C> {
    /// A matrix of zeros.
    pub fn zeros(rows: usize, cols: usize) -> Self {
        Self { rows, cols, panels: vec![C::default(); rows.div_ceil(ROWS) * cols] }
    }

    /// Adds rows of zeros until there are `rows`.
    pub fn grow(&mut self, rows: usize) {
        if rows > self.rows {
            self.rows = rows;
            let columns = rows.div_ceil(ROWS) * self.cols;
            self.panels.reserve_exact(columns.saturating_sub(self.panels.len()));
            self.panels.resize(columns, C::default());
        }
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
        size_of_val(self.panels.as_slice())
    }

    /// The columns of panel `p`, `[cols]`.
    pub fn panel(&self, p: usize) -> &[C] {
        &self.panels[p * self.cols..][..self.cols]
    }

    pub(super) fn panel_mut(&mut self, p: usize) -> &mut [C] {
        &mut self.panels[p * self.cols..][..self.cols]
    }
}

impl Panels {
    /// Stacks matrices of equal width on top of each other, and packs them as f32.
    pub fn stack(matrices: &[Matrix<'_>]) -> Self {
        let cols = matrices[0].cols;
        let mut stacked = Self::zeros(matrices.iter().map(|m| m.rows).sum(), cols);
        let mut row = 0;
        for matrix in matrices {
            matrix.each_row(|numbers| {
                stacked.set_row(row, numbers);
                row += 1;
            });
        }
        stacked
    }

    /// Packs row-major `values`, `[rows, cols]`.
    pub fn from_rows(rows: usize, cols: usize, values: &[f32]) -> Self {
        let mut packed = Self::zeros(rows, cols);
        values[..rows * cols].chunks_exact(cols).enumerate().for_each(|(row, numbers)| packed.set_row(row, numbers));
        packed
    }

    /// The number at (`row`, `col`).
    pub fn get(&self, row: usize, col: usize) -> f32 {
        numbers(&self.panel(row / ROWS)[col])[row % ROWS]
    }

    /// Copies the first `rows` rows (and up to 15 more) from a matrix of the same shape.
    pub fn copy_rows(&mut self, other: &Self, rows: usize) {
        let end = rows.div_ceil(ROWS) * self.cols;
        self.panels[..end].copy_from_slice(&other.panels[..end]);
    }

    fn set_row(&mut self, row: usize, numbers: &[f32]) {
        for (column, &number) in self.panel_mut(row / ROWS).iter_mut().zip(numbers) {
            let column: &mut [f32; ROWS] = bytemuck::cast_mut(column);
            column[row % ROWS] = number;
        }
    }

    /// Sets the number at (`row`, `col`).
    pub fn set(&mut self, row: usize, col: usize, value: f32) {
        let column: &mut [f32; ROWS] = bytemuck::cast_mut(&mut self.panels[row / ROWS * self.cols + col]);
        column[row % ROWS] = value;
    }
}

/// The numbers of a column, row by row.
pub fn numbers(column: &Column) -> &[f32; ROWS] {
    bytemuck::cast_ref(column)
}
