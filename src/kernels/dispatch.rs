//! Groups the assignments by expert: counts, a prefix sum, a stable scatter. Each expert's weights are then read once
//! for all of its tokens. Dropped assignments (weight 0) and empty ones ([`NONE`]) are left out.

use crate::shape::NONE;

/// Writes `assignments`, at most `[T * choices]`: the assignments `t * choices + choice` of expert 0, then those of
/// expert 1 and so on, each expert's in the order of the tokens. Writes `offsets`, `[all experts + 1]`: where each
/// expert's assignments start.
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
    // `offsets[e]` moves from the start of expert e's assignments to their end, which is the start of expert e + 1.
    for (assignment, expert) in kept() {
        let slot = &mut offsets[expert as usize];
        assignments[*slot as usize] = assignment as u32;
        *slot += 1;
    }
    offsets.rotate_right(1);
    offsets[0] = 0;
}

/// Splits each expert's assignments into tiles of at most `tile`, in order: `(expert, first slot, count)`. The shader
/// writes this list, so that no workgroup has to search for its tile.
pub fn tiles(offsets: &[u32], tile: usize) -> Vec<[u32; 3]> {
    let mut tiles = Vec::new();
    for (expert, group) in offsets.windows(2).enumerate() {
        for first in (group[0]..group[1]).step_by(tile) {
            tiles.push([expert as u32, first, (group[1] - first).min(tile as u32)]);
        }
    }
    tiles
}
