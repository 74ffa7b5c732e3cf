//! Copies heads of a product's rows to where attention reads them: queries of this step, keys and values of the text;
//! some of their numbers are rotated by the position (Su et al. 2021).

/// The numbers of a row that are copied, and how they are rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Numbers of a row.
    pub row: usize,
    /// The first number of the first head.
    pub offset: usize,
    /// Numbers from one head to the next; 0 where all heads get the same numbers.
    pub stride: usize,
    /// Heads.
    pub count: usize,
    /// Numbers of a head.
    pub dim: usize,
    /// The first rotated number of a head, and how many are rotated; (0, 0) for none.
    pub turned: (usize, usize),
    /// Whether the rotated pairs are `2i` and `2i + 1`; otherwise they are `i` and `i + turned.1 / 2`.
    pub interleaved: bool,
}

/// Calls `put` with each number of `x`, `[T, row]`, as (token, head, index in the head, number). `angles`,
/// `[context, turned.1 / 2]`, are those of [`super::angles`]; the first token is at position `start`.
pub fn copy_heads(
    start: usize,
    heads: &Heads,
    x: &[f32],
    angles: &[[f32; 2]],
    mut put: impl FnMut(usize, usize, usize, f32),
) {
    let (first, turned) = heads.turned;
    let half = turned / 2;
    for (t, row) in x.chunks_exact(heads.row).enumerate() {
        let angles = if half > 0 { &angles[(start + t) * half..][..half] } else { &[] };
        for head in 0..heads.count {
            let numbers = &row[heads.offset + head * heads.stride..][..heads.dim];
            for (i, &x) in numbers.iter().enumerate().filter(|(i, _)| !(first..first + turned).contains(i)) {
                put(t, head, i, x);
            }
            for (pair, [cos, sin]) in angles.iter().enumerate() {
                let (low, high) = match heads.interleaved {
                    true => (first + 2 * pair, first + 2 * pair + 1),
                    false => (first + pair, first + pair + half),
                };
                let (a, b) = (numbers[low], numbers[high]);
                put(t, head, low, a * cos - b * sin);
                put(t, head, high, b * cos + a * sin);
            }
        }
    }
}
