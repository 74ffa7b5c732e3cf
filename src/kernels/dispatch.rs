//! Groups the assignments by expert: counts, a prefix sum, a stable scatter. Then each expert's weights are read
//! once, however many tokens chose it. Assignments of weight 0 (dropped ones) and empty ones are left out.

use crate::shape::NONE;

/// Writes `assignments`, `[T * choices]` at most: the assignments `t * choices + choice` of expert 0, then of expert
/// 1..., each group in the order of the tokens; and `offsets`, `[all experts + 1]`: where each group starts.
pub fn dispatch(selected: &[u32], route_weights: &[f32], assignments: &mut [u32], offsets: &mut [u32]) {
    let kept = || {
        let both = selected.iter().zip(route_weights).enumerate();
        both.filter(|(_, (expert, weight))| **expert != NONE && **weight != 0.0).map(|(a, (&expert, _))| (a, expert))
    };
    offsets.fill(0);
    for (_, expert) in kept() {
        offsets[expert as usize + 1] += 1;
    }
    for expert in 1..offsets.len() {
        offsets[expert] += offsets[expert - 1];
    }
    // `offsets[e]` walks from the start of group e to its end, which is the start of group e + 1.
    for (assignment, expert) in kept() {
        let slot = &mut offsets[expert as usize];
        assignments[*slot as usize] = assignment as u32;
        *slot += 1;
    }
    offsets.rotate_right(1);
    offsets[0] = 0;
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
