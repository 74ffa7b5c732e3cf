//! Copies heads of a product's rows to where attention reads them: queries of this step, keys and values of the text;
//! some of their numbers turn by their position (Su et al. 2021).

/// Which numbers of a row are copied, and how they turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Numbers of a row.
    pub row: usize,
    /// Where the first head begins.
    pub offset: usize,
    /// Numbers from one head to the next; 0 where all heads get the same.
    pub stride: usize,
    /// Heads.
    pub count: usize,
    /// Numbers of a head.
    pub dim: usize,
    /// The first of them that turns, and how many do; (0, 0) for none.
    pub turned: (usize, usize),
    /// Number `2i` turns with `2i + 1`; otherwise `i` with `i + half of those that turn`.
    pub interleaved: bool,
}

/// Gives `put` each number of `x`, `[T, row]`, as (token, head, place in the head, number). `angles`, `[context, turned
/// / 2]`, are those of [`super::angles`]; the first token is at position `start`.
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
