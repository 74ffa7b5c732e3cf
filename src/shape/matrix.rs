//! A matrix of weights in memory, in the file's number format.

use super::format::Dtype;
use std::borrow::Cow;

/// The numbers of a tensor in memory.
#[derive(Clone)]
pub struct Matrix<'a> {
    /// Rows: outputs of a product.
    pub rows: usize,
    /// Columns: inputs of a product.
    pub cols: usize,
    /// The number format; each row is a whole number of blocks.
    pub dtype: Dtype,
    /// `rows * cols` little-endian numbers. All are finite, except in rows of embeddings that are never used.
    pub bytes: Cow<'a, [u8]>,
}

impl Matrix<'_> {
    /// The rows that contain a NaN or an infinite number.
    pub fn rows_not_finite(&self) -> Vec<u32> {
        let (row, mut found, mut from) = (self.dtype.bytes_of(self.cols), Vec::new(), 0);
        while let Some(at) = self.dtype.first_not_finite(&self.bytes[from * row..]) {
            from += at / self.cols;
            found.push(from as u32);
            from += 1;
        }
        found
    }

    /// The numbers as f32, row by row.
    pub fn values(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.rows * self.cols];
        self.dtype.widen(&self.bytes, &mut values);
        values
    }

    /// Calls `take` with the numbers of each row as f32, `[cols]`, in order.
    pub fn each_row(&self, mut take: impl FnMut(&[f32])) {
        let mut numbers = vec![0.0; self.cols];
        for row in self.bytes.chunks_exact(self.dtype.bytes_of(self.cols)) {
            self.dtype.widen(row, &mut numbers);
            take(&numbers);
        }
    }
}
