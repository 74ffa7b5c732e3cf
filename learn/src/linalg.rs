//! Matrix products and the few element-wise functions that the layers share.
//!
//! Everything is `f32`, row-major and single-threaded. A replica has one thread, and the replicas run in parallel (see
//! [`crate::transformer::replica`]). For matrices this small that is faster than one product spread over several
//! threads.

#[cfg(not(target_arch = "wasm32"))]
use gemm::Parallelism;

/// A matrix to read: `rows` x `cols` elements of a slice, with any strides (in elements).
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

/// A matrix to write. Each row is contiguous, and rows start `row_stride` elements apart.
pub struct MatrixMut<'a> {
    data: &'a mut [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
}

/// A row-major matrix without gaps between its rows.
pub fn matrix(data: &[f32], rows: usize, cols: usize) -> Matrix<'_> {
    strided(data, rows, cols, cols)
}

/// A row-major matrix whose rows start `row_stride` elements apart, for example some columns of a wider matrix.
pub fn strided(data: &[f32], rows: usize, cols: usize, row_stride: usize) -> Matrix<'_> {
    assert!(rows == 0 || (rows - 1) * row_stride + cols <= data.len(), "matrix {rows}x{cols} outside of its data");
    Matrix { data, rows, cols, row_stride, col_stride: 1 }
}

/// The writable counterpart of [`matrix`].
pub fn matrix_mut(data: &mut [f32], rows: usize, cols: usize) -> MatrixMut<'_> {
    strided_mut(data, rows, cols, cols)
}

/// The writable counterpart of [`strided`].
pub fn strided_mut(data: &mut [f32], rows: usize, cols: usize, row_stride: usize) -> MatrixMut<'_> {
    assert!(rows == 0 || (rows - 1) * row_stride + cols <= data.len(), "matrix {rows}x{cols} outside of its data");
    MatrixMut { data, rows, cols, row_stride }
}

impl Matrix<'_> {
    /// The transpose; no data is moved.
    pub fn t(self) -> Self {
        Self { rows: self.cols, cols: self.rows, row_stride: self.col_stride, col_stride: self.row_stride, ..self }
    }
}

/// `out = keep * out + scale * a b`; with `keep == 0` the old contents of `out` are ignored.
pub fn product(out: MatrixMut<'_>, keep: f32, scale: f32, a: Matrix<'_>, b: Matrix<'_>) {
    assert_eq!((out.rows, out.cols, a.cols), (a.rows, b.cols, b.rows), "shapes of a matrix product");
    if out.rows == 0 || out.cols == 0 {
        return;
    }
    multiply(out, keep, scale, a, b);
}

/// As [`product`], of matrices whose shapes go together.
#[cfg(target_arch = "wasm32")]
fn multiply(out: MatrixMut<'_>, keep: f32, scale: f32, a: Matrix<'_>, b: Matrix<'_>) {
    use crate::blocked::{View, product};
    let sizes = [out.rows, a.cols, out.cols];
    let a = View { data: a.data, row_stride: a.row_stride, col_stride: a.col_stride };
    let b = View { data: b.data, row_stride: b.row_stride, col_stride: b.col_stride };
    product(out.data, out.row_stride, sizes, keep, scale, a, b);
}

/// As [`product`], of matrices whose shapes go together.
#[cfg(not(target_arch = "wasm32"))]
fn multiply(out: MatrixMut<'_>, keep: f32, scale: f32, a: Matrix<'_>, b: Matrix<'_>) {
    // SAFETY: the constructors checked that every element lies inside of its slice, and `out` is borrowed
    // exclusively, so it overlaps neither `a` nor `b`.
    unsafe {
        gemm::gemm(
            out.rows,
            out.cols,
            a.cols,
            out.data.as_mut_ptr(),
            1,
            out.row_stride as isize,
            keep != 0.0,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            keep,
            scale,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// A linear map without a bias, `y = x W^T` with `W` of outputs x inputs: forward and backward pass. The number of
/// rows of `x` and `y` follows from the lengths of the slices.
#[derive(Clone, Copy)]
pub struct Linear {
    /// Width of `x`.
    pub inputs: usize,
    /// Width of `y`.
    pub outputs: usize,
}

impl Linear {
    /// `y = keep y + x W^T`.
    pub fn forward(self, x: &[f32], weight: &[f32], keep: f32, y: &mut [f32]) {
        let rows = y.len() / self.outputs;
        let weight = matrix(weight, self.outputs, self.inputs);
        product(matrix_mut(y, rows, self.outputs), keep, 1.0, matrix(x, rows, self.inputs), weight.t());
    }

    /// `dW += dy^T x`.
    pub fn add_to_weight(self, dy: &[f32], x: &[f32], d_weight: &mut [f32]) {
        let rows = dy.len() / self.outputs;
        let d_weight = matrix_mut(d_weight, self.outputs, self.inputs);
        product(d_weight, 1.0, 1.0, matrix(dy, rows, self.outputs).t(), matrix(x, rows, self.inputs));
    }

    /// `dx = keep dx + dy W`.
    pub fn to_input(self, dy: &[f32], weight: &[f32], keep: f32, dx: &mut [f32]) {
        let rows = dx.len() / self.inputs;
        let weight = matrix(weight, self.outputs, self.inputs);
        product(matrix_mut(dx, rows, self.inputs), keep, 1.0, matrix(dy, rows, self.outputs), weight);
    }
}

/// `e^x` for `f32` without branches, so that loops over it become SIMD code; relative error below 3e-7 on [-87, 88],
/// clamped outside. `2^n` comes from the exponent bits, `e^r` for |r| <= ln 2 / 2 from its Taylor polynomial.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to an integer
    let x = x.clamp(-87.0, 88.0);
    let n = (x * std::f32::consts::LOG2_E + ROUND) - ROUND;
    let r = (x - n * 0.693_359_4) + n * 2.121_944_4e-4;
    let p = 1.0 / 720.0;
    let p = p * r + 1.0 / 120.0;
    let p = p * r + 1.0 / 24.0;
    let p = p * r + 1.0 / 6.0;
    let p = p * r + 0.5;
    let p = p * r + 1.0;
    let p = p * r + 1.0;
    let two_n = f32::from_bits((((n as i32) + 127) as u32) << 23);
    p * two_n
}

/// Eight partial sums side by side: a plain `sum()` must add in order and cannot become SIMD code.
const LANES: usize = 16;

/// The inner product of two slices of equal length.
#[inline]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; LANES];
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for i in 0..LANES {
            sums[i] += a[i] * b[i];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

/// `out += scale * x`.
#[inline]
pub fn add_scaled(out: &mut [f32], scale: f32, x: &[f32]) {
    for (o, x) in out.iter_mut().zip(x) {
        *o += scale * x;
    }
}

/// The largest element; negative infinity for an empty slice.
#[inline]
pub fn max(x: &[f32]) -> f32 {
    let mut best = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for i in 0..LANES {
            best[i] = if chunk[i] > best[i] { chunk[i] } else { best[i] };
        }
    }
    best.iter().chain(rest).fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a })
}

/// Replaces every `x` by `e^(scale * x - shift)` and returns the sum of them.
#[inline]
pub fn exp_in_place(x: &mut [f32], scale: f32, shift: f32) -> f32 {
    let mut sums = [0.0f32; LANES];
    let (chunks, rest) = x.as_chunks_mut::<LANES>();
    for chunk in chunks {
        for i in 0..LANES {
            chunk[i] = exp(scale * chunk[i] - shift);
            sums[i] += chunk[i];
        }
    }
    let mut sum = sums.iter().sum::<f32>();
    for x in rest {
        *x = exp(scale * *x - shift);
        sum += *x;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_agrees_with_the_library() {
        for i in -8700..8800 {
            let x = i as f32 / 100.0;
            let (ours, theirs) = (exp(x) as f64, (x as f64).exp());
            assert!((ours / theirs - 1.0).abs() < 3e-7, "exp({x}) = {ours}, not {theirs}");
        }
    }

    #[test]
    fn product_follows_strides_and_transposes() {
        let a: Vec<f32> = (0..12).map(|i| i as f32).collect(); // 3 x 4
        let b: Vec<f32> = (0..8).map(|i| i as f32 - 3.0).collect(); // columns 1..3 of a 2 x 4, used transposed
        let mut out = [1.0; 3 * 5];
        product(strided_mut(&mut out[1..], 3, 2, 5), 1.0, 2.0, strided(&a, 3, 2, 4), strided(&b[1..], 2, 2, 4).t());
        for r in 0..3 {
            for c in 0..2 {
                let plain: f32 = (0..2).map(|i| a[r * 4 + i] * b[1 + c * 4 + i]).sum();
                assert_eq!(out[1 + r * 5 + c], 1.0 + 2.0 * plain);
            }
        }
        assert_eq!((out[0], out[3], out[4]), (1.0, 1.0, 1.0), "the gap between the rows stays");
    }
}
