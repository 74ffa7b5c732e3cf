// The tiles of one token need no grouping: its choice n is tile n.
@group(0) @binding(2) var<storage, read> selected: array<u32>;          // [CHOICES]
@group(0) @binding(3) var<storage, read> route_weights: array<f32>;     // [CHOICES]

// (expert, first slot, count); no more than `count` rows of it are computed.
fn tile_at(n: u32) -> vec3<u32> {
    // Dropped ones have weight 0, empty ones too.
    return vec3<u32>(selected[n], n, u32(route_weights[n] != 0.0));
}

fn assignment_at(slot: u32) -> u32 {
    return slot;
}
