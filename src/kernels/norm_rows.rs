//! RMSNorm of parts of rows, in place: of each head, of all heads together, or of a narrow row.

/// Norms `count` parts of `scale.len()` numbers of each row of `x`, `[T, row]`, the first from number `offset` on.
pub fn norm_rows(x: &mut [f32], scale: &[f32], row: usize, offset: usize, count: usize, eps: f32) {
    let width = scale.len();
    for row in x.chunks_exact_mut(row) {
        for part in row[offset..offset + count * width].chunks_exact_mut(width) {
            let mean_square = super::rms_norm::sum_of_squares(part) / width as f32;
            let factor = 1.0 / (mean_square + eps).sqrt();
            part.iter_mut().zip(scale).for_each(|(x, scale)| *x = *x * factor * scale);
        }
    }
}
