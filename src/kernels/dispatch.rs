//! Groups the assignments by expert: counts, a prefix sum, a stable scatter. Then each expert's weights are read
//! once, however many tokens chose it. Where there is a capacity, assignments over it are dropped here.

use crate::model::MoeShape;

/// Tokens of an expert that are computed together on the GPU.
pub const TILE: usize = 8;

/// What a limit on the experts' assignments needs.
pub struct Capacity<'a> {
    /// The most tokens of a text that an expert takes.
    pub most: usize,
    /// Routed experts of every token of the text, `[context, k]`; those from `start` on are written here.
    pub history: &'a mut [u32],
    /// Which assignments are dropped, `[T, choices]`, written here.
    pub dropped: &'a mut [bool],
}

/// Writes `assignments`, `[T * choices]` at most: the assignments `t * choices + choice` of expert 0, then of expert
/// 1..., each group in the order of the tokens; and `offsets`, `[all experts + 1]`: where each group starts.
/// Dropped ones are in no group, and their weight becomes 0. `start` is the first token's position.
pub fn dispatch(
    start: usize,
    shape: &MoeShape,
    selected: &[u32],
    capacity: Option<Capacity<'_>>,
    route_weights: &mut [f32],
    assignments: &mut [u32],
    offsets: &mut [u32],
) {
    let no_drops: &[bool] = &[];
    let dropped = match capacity {
        None => no_drops,
        Some(capacity) => drop_overflow(start, shape, selected, capacity, route_weights),
    };
    let kept = || selected.iter().enumerate().filter(|(a, _)| !dropped.get(*a).copied().unwrap_or(false));
    offsets.fill(0);
    for (_, &expert) in kept() {
        offsets[expert as usize + 1] += 1;
    }
    for expert in 1..offsets.len() {
        offsets[expert] += offsets[expert - 1];
    }
    // `offsets[e]` walks from the start of group e to its end, which is the start of group e + 1.
    for (assignment, &expert) in kept() {
        let slot = &mut offsets[expert as usize];
        assignments[*slot as usize] = assignment as u32;
        *slot += 1;
    }
    offsets.rotate_right(1);
    offsets[0] = 0;
}

/// Marks the assignments whose expert has had its share of the text, in the text's order.
fn drop_overflow<'a>(
    start: usize,
    shape: &MoeShape,
    selected: &[u32],
    capacity: Capacity<'a>,
    route_weights: &mut [f32],
) -> &'a [bool] {
    let (k, choices) = (shape.top_k, shape.choices());
    let Capacity { most, history, dropped } = capacity;
    for (t, row) in selected.chunks_exact(choices).enumerate() {
        history[(start + t) * k..][..k].copy_from_slice(&row[..k]);
        for (choice, &expert) in row.iter().enumerate() {
            let before = &history[..(start + t) * k];
            let full = choice < k && before.iter().filter(|&&e| e == expert).count() >= most;
            dropped[t * choices + choice] = full;
            if full {
                route_weights[t * choices + choice] = 0.0;
            }
        }
    }
    dropped
}

/// The tiles of at most `tile` assignments of one expert each, in order: `(expert, first slot, count)`.
/// The shader writes this list, so that no workgroup searches for its work.
pub fn tiles(offsets: &[u32], tile: usize) -> Vec<[u32; 3]> {
    let mut tiles = Vec::new();
    for (expert, group) in offsets.windows(2).enumerate() {
        for first in (group[0]..group[1]).step_by(tile) {
            tiles.push([expert as u32, first, (group[1] - first).min(tile as u32)]);
        }
    }
    tiles
}
