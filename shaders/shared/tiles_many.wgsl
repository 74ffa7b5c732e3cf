// The tiles of several tokens, as the kernel `dispatch` grouped them.
@group(0) @binding(2) var<storage, read> assignments: array<u32>;       // [T * CHOICES]
@group(0) @binding(3) var<storage, read> tiles: array<vec4<u32>>;       // (expert, first slot, count, 0)

// (expert, first slot, count); only the first `count` rows of the tile are computed.
fn tile_at(n: u32) -> vec3<u32> {
    return tiles[n].xyz;
}

fn assignment_at(slot: u32) -> u32 {
    return assignments[slot];
}
