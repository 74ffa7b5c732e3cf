// The tiles of one token, without grouping: choice n is tile n.
@group(0) @binding(2) var<storage, read> selected: array<u32>;          // [CHOICES]
@group(0) @binding(3) var<storage, read> route_weights: array<f32>;     // [CHOICES]

// (expert, first slot, count); only the first `count` rows of the tile are computed.
fn tile_at(n: u32) -> vec3<u32> {
    // Dropped and empty choices have weight 0.
    return vec3<u32>(selected[n], n, u32(route_weights[n] != 0.0));
}

fn assignment_at(slot: u32) -> u32 {
    return slot;
}
