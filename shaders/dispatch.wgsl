// Groups the assignments by expert: counts, a prefix sum, a stable scatter, all in one workgroup; then the
// list of tiles (at most TILE assignments of one expert each) and the indirect arguments that run it.
// Twin: kernels/dispatch.rs
@group(0) @binding(1) var<storage, read> selected: array<u32>;                  // [T * TOP_K]
@group(0) @binding(2) var<storage, read_write> assignments: array<u32>;         // [T * TOP_K]
@group(0) @binding(3) var<storage, read_write> tiles: array<vec4<u32>>;         // (expert, first slot, count, 0)
@group(0) @binding(4) var<storage, read_write> arguments: array<u32>;           // (x, y, z) of up, then of down

override EXPERTS: u32;
override TOP_K: u32;
override TILE: u32;
override UP_WORKGROUPS: u32;      // workgroups that cover the outputs of `up`
override DOWN_WORKGROUPS: u32;    // and of `down`

var<workgroup> counts: array<u32, EXPERTS>;
var<workgroup> slots: array<u32, EXPERTS>;          // where an expert's assignments start
var<workgroup> tile_slots: array<u32, EXPERTS>;     // where its tiles start

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32) {
    let total = step.count * TOP_K;
    for (var expert = lane; expert < EXPERTS; expert += 64u) {
        var count = 0u;
        for (var a = 0u; a < total; a++) {
            count += u32(selected[a] == expert);
        }
        counts[expert] = count;
    }
    workgroupBarrier();
    if (lane == 0u) {
        prefix_sums();
    }
    workgroupBarrier();
    for (var expert = lane; expert < EXPERTS; expert += 64u) {
        var slot = slots[expert];
        for (var a = 0u; a < total; a++) {
            if (selected[a] == expert) {
                assignments[slot] = a;
                slot++;
            }
        }
        let count = counts[expert];
        for (var first = 0u; first < count; first += TILE) {
            let tile = vec4<u32>(expert, slots[expert] + first, min(count - first, TILE), 0u);
            tiles[tile_slots[expert] + first / TILE] = tile;
        }
    }
}

fn prefix_sums() {
    var slot = 0u;
    var tile = 0u;
    for (var expert = 0u; expert < EXPERTS; expert++) {
        slots[expert] = slot;
        tile_slots[expert] = tile;
        slot += counts[expert];
        tile += (counts[expert] + TILE - 1u) / TILE;
    }
    arguments[0] = UP_WORKGROUPS;
    arguments[1] = tile;
    arguments[2] = 1u;
    arguments[3] = DOWN_WORKGROUPS;
    arguments[4] = tile;
    arguments[5] = 1u;
}
