//! A matrix of stored weights in memory.

use super::format::Dtype;
use std::borrow::Cow;

/// A tensor's numbers in memory.
#[derive(Clone)]
pub struct Matrix<'a> {
    /// Outputs.
    pub rows: usize,
    /// Inputs.
    pub cols: usize,
    /// Width of a number.
    pub dtype: Dtype,
    /// Little-endian numbers, `rows * cols` of them, all finite.
    pub bytes: Cow<'a, [u8]>,
}

impl Matrix<'_> {
    /// The numbers as f32, row by row.
    pub fn values(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.rows * self.cols];
        self.dtype.widen(&self.bytes, &mut values);
        values
    }

    /// Gives `take` the numbers of each row as f32, `[cols]`, in order.
    pub fn each_row(&self, mut take: impl FnMut(&[f32])) {
        let mut numbers = vec![0.0; self.cols];
        for row in self.bytes.chunks_exact(self.cols * self.dtype.size()) {
            self.dtype.widen(row, &mut numbers);
            take(&numbers);
        }
    }
}
